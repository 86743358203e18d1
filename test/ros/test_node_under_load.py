"""The node when frames come faster than it can hold, over DDS."""

from __future__ import annotations

import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: the node's tests need ROS 2")

from ros_harness import frame_counts, next_domain, street, to_array

from contextnet_ros.inference import Segmenter
from contextnet_ros.ros import compat

pytestmark = pytest.mark.ros

SIZE = (512, 1024)
BURST = 120


def fates(counts):
    return counts["superseded"] + counts["bad"] + counts["published"] + counts["pending"]


def test_a_burst_leaves_memory_flat_every_frame_counted_and_the_newest_answered(
    start_node, open_peer, weights
):
    domain = next_domain()
    node = start_node(domain, warm_up_height=SIZE[0], warm_up_width=SIZE[1])
    peer = open_peer(domain)
    node.wait_ready()
    peer.wait_for_node()
    frame = peer.message(street(*SIZE))
    seconds = []
    for _ in range(3):
        start = time.monotonic()
        peer.ask(frame)
        seconds.append(time.monotonic() - start)
    # Buffers of DDS reach their full size in the first frames.
    for _ in range(20):
        peer.send(frame)
        peer.spin_for(0.01)
    settled = peer.wait_for_counts(lambda counts: counts["pending"] == 0)
    memory_before = node.resident_bytes()

    peer.diagnostics.clear()
    peer.labels.clear()
    pause_s = min(seconds) / 10
    for number in range(BURST):
        frame.header.frame_id = f"burst {number}"
        peer.send(frame)
        peer.spin_for(pause_s)
    last = street(*SIZE, seed=9)
    answer = peer.ask(peer.message(last, frame_id="the newest"))
    snapshots = [frame_counts(status) for status in peer.diagnostics]
    end = peer.wait_for_counts(lambda counts: counts["pending"] == 0)

    np.testing.assert_array_equal(
        to_array(answer),
        Segmenter.load(weights, device="cpu", num_threads=1)(last).label,
    )
    for counts in [*snapshots, end]:
        assert counts["received"] == fates(counts)
    assert end["bad"] == 0
    assert end["superseded"] > settled["superseded"]
    assert end["published"] - settled["published"] < BURST / 2
    if compat.HAS_MESSAGE_INFO:
        assert end["received"] + end["not_taken"] == peer.sent
    # The burst's frames together are 180 MiB.
    assert node.resident_bytes() - memory_before < 50 * 2**20
    frames = peer.diagnostics[-1]["segmenter: frames"]
    assert float(frames["latency_ms_p50"]) > 0


def test_labels_come_in_the_order_of_the_frames(start_node, open_peer):
    domain = next_domain()
    node = start_node(domain)
    peer = open_peer(domain)
    node.wait_ready()
    peer.wait_for_node()
    for number in range(40):
        peer.send(peer.message(street(96, 160), frame_id=f"{number:03d}"))
        peer.spin_for(0.02)
    peer.spin_until(lambda: peer.labels[-1].header.frame_id == "039")
    order = [label.header.frame_id for label in peer.labels]
    assert order == sorted(set(order))
