"""The node, its camera and its readers in processes that come, go and die, over DDS."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: the node's tests need ROS 2")

from ros_harness import Peer, frame_counts, next_domain, street, to_array

from contextnet_ros.inference import Segmenter

pytestmark = pytest.mark.ros

SIZE = (96, 160)
HZ = 20


@pytest.fixture(scope="module")
def start_camera():
    cameras = []

    def start(domain):
        command = [sys.executable, str(Path(__file__).parent / "camera_process.py")]
        cameras.append(
            subprocess.Popen(
                [*command, str(HZ), *map(str, SIZE)],
                env={**os.environ, "ROS_DOMAIN_ID": str(domain)},
                stderr=subprocess.DEVNULL,
            )
        )
        return cameras[-1]

    yield start
    for camera in cameras:
        camera.kill()
        camera.wait()


def fates(counts):
    return counts["superseded"] + counts["bad"] + counts["published"] + counts["pending"]


class Road:
    """A node that is configured by hand, a reader of it, and a camera that goes on and on."""

    def __init__(self, node, peer, start_camera, domain):
        self.node, self.peer, self.domain = node, peer, domain
        self.start_camera = lambda: start_camera(domain)

    def labels(self, number):
        """The next few labels."""
        self.peer.labels.clear()
        self.peer.spin_until(lambda: len(self.peer.labels) >= number)
        return self.peer.labels


@pytest.fixture(scope="module")
def road(start_node, open_peer, start_camera):
    domain = next_domain()
    node = start_node(domain, autostart="false", warm_up_height=1024, warm_up_width=2048)
    peer = open_peer(domain)
    peer.close_camera()
    node.wait_for_line("autostart is false")
    road = Road(node, peer, start_camera, domain)
    assert peer.change_state("configure")
    assert peer.change_state("activate")
    road.camera = road.start_camera()
    return road


@pytest.fixture(scope="module")
def expected(weights):
    return Segmenter.load(weights, device="cpu", num_threads=1)(street(*SIZE)).label


def test_parameters_and_readers_change_under_load_and_labels_go_on(road, expected):
    peer = road.peer
    for label in road.labels(10):
        np.testing.assert_array_equal(to_array(label), expected)
    for step in range(5):
        assert peer.set_parameters(min_confidence=step / 5)[0].successful
        assert not peer.set_parameters(min_confidence=-1.0)[0].successful
        road.labels(1)
    assert peer.set_parameters(min_confidence=1.0)[0].successful
    peer.spin_until(lambda: (to_array(peer.labels[-1]) == 255).mean() > 0.9)
    assert peer.set_parameters(min_confidence=0.0)[0].successful

    first, second = others = [Peer(road.domain), Peer(road.domain)]
    for other in others:
        other.watch_overlay(True)
        other.spin_until(lambda other=other: len(other.overlays) > 3)
    first.close()
    second.overlays.clear()
    second.spin_until(lambda: len(second.overlays) > 3)
    assert peer.node.count_publishers("/segmenter/overlay") == 1
    second.close()
    road.labels(3)


def test_a_camera_that_dies_and_comes_back_and_every_transition_under_load(road, expected):
    peer = road.peer
    for _ in range(2):
        assert peer.change_state("deactivate")
        peer.spin_for(0.2)
        assert peer.change_state("activate")
        road.labels(3)

    road.camera.kill()
    peer.wait_for_status("segmenter: frames", "/image")
    road.start_camera()
    for label in road.labels(10)[-3:]:
        np.testing.assert_array_equal(to_array(label), expected)

    for status in peer.diagnostics:
        counts = frame_counts(status)
        assert counts["received"] == fates(counts)
        assert counts["bad"] == 0
    assert peer.change_state("deactivate")
    assert peer.change_state("cleanup")
    counts = peer.wait_for_counts(lambda _: True)
    assert counts["received"] == fates(counts)
    assert counts["pending"] == 0
    # What it took is given back, but for libraries that it loaded first: cleanups leave it where
    # the first one did.
    freed_bytes = road.node.resident_bytes()
    for _ in range(7):
        assert peer.change_state("configure")
        loaded_bytes = road.node.resident_bytes()
        assert peer.change_state("cleanup")
        left_bytes = road.node.resident_bytes()
        assert left_bytes - freed_bytes < 10 * 2**20
        assert loaded_bytes - left_bytes > 20 * 2**20
    assert road.node.stop() == 0
    assert "Traceback" not in road.node.output
