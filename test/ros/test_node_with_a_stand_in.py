"""What the node asks of its Segmenter, and what it does when that fails."""

from __future__ import annotations

import queue
import threading
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: the node's tests need ROS 2")

import rclpy
from ros_harness import TIMEOUT_S, next_domain, street

from contextnet_ros.files import UserError
from contextnet_ros.inference import SegmentedFrame
from contextnet_ros.labels import CAMVID
from contextnet_ros.network import WeightHeader
from contextnet_ros.ros import node as node_module

pytestmark = pytest.mark.ros


class StandIn:
    """Answers with zeros, records what it was asked for, fails or waits when told to."""

    header = WeightHeader(table=CAMVID)
    device = "nowhere"
    precision = "none"
    network_size = "frame"
    overlay_opacity = 0.5

    def __init__(self):
        self.asked = []
        self.warmed_up = []
        self.fail_next = None
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def __call__(self, image, outputs):
        self.asked.append(outputs)
        self.may_go_on.wait(TIMEOUT_S)
        if self.fail_next is not None:
            error, self.fail_next = self.fail_next, None
            raise error
        overlay = np.zeros_like(image) if "overlay" in outputs else None
        return SegmentedFrame(np.zeros(image.shape[:2], np.uint8), overlay)

    def warm_up(self, height, width):
        self.warmed_up.append((height, width))

    def describe(self):
        return "a stand-in"

    def memory_bytes(self):
        return 0


@pytest.fixture
def stand_in(monkeypatch):
    segmenter = StandIn()
    loader = SimpleNamespace(load=lambda *_arguments, **_options: segmenter)
    monkeypatch.setattr(node_module, "Segmenter", loader)
    return segmenter


@pytest.fixture
def served(stand_in, open_peer):
    """A node served by a thread of this process, and its peer; stopped at the end."""
    domain = next_domain()
    peer = open_peer(domain)
    rclpy.init(domain_id=domain)
    stop = SimpleNamespace(requested=False, wake=queue.SimpleQueue())
    node = node_module.SegmentNode(stop)
    thread = threading.Thread(target=node.serve)
    thread.start()

    def end():
        stop.requested = True
        stop.wake.put(None)
        stand_in.may_go_on.set()
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()

    yield SimpleNamespace(peer=peer.wait_for_node(), end=end)
    end()
    rclpy.shutdown()


@pytest.mark.usefixtures("served")
def test_it_warms_up_with_the_configured_size_before_it_subscribes(stand_in):
    assert stand_in.warmed_up == [(1024, 2048)]
    assert stand_in.asked == []


def test_the_overlay_is_computed_only_while_somebody_subscribes(stand_in, served):
    peer = served.peer
    message = peer.message(street(96, 160))
    peer.ask(message)
    assert set(stand_in.asked) == {("label",)}
    peer.watch_overlay(True)
    stand_in.asked.clear()
    peer.ask(message)
    assert set(stand_in.asked) == {("label", "overlay")}
    peer.watch_overlay(False)
    peer.spin_for(1.0)
    stand_in.asked.clear()
    peer.ask(message)
    assert set(stand_in.asked) == {("label",)}


def test_a_frame_that_fails_is_bad_and_the_next_one_is_answered(stand_in, served):
    peer = served.peer
    errors = [RuntimeError("out of\nmemory"), MemoryError(), ValueError("x")]
    for number, error in enumerate(errors):
        stand_in.fail_next = error
        peer.send(peer.message(street(96, 160), frame_id="fails"))
        peer.spin_until(lambda: stand_in.fail_next is None)
        label = peer.ask(peer.message(street(96, 160), frame_id=f"next {number}"))
        assert label.header.frame_id == f"next {number}"
    counts = peer.wait_for_counts(lambda counts: counts["published"] >= len(errors))
    assert counts["bad_segmentation"] == counts["bad"] == len(errors)
    assert "fails" not in {label.header.frame_id for label in peer.labels}


def test_the_frame_in_hand_is_answered_before_it_ends(stand_in, served):
    peer = served.peer
    stand_in.may_go_on.clear()
    peer.send(peer.message(street(96, 160), frame_id="in hand"))
    peer.spin_until(lambda: bool(stand_in.asked))
    served.end()
    peer.spin_until(lambda: bool(peer.labels))
    assert peer.labels[0].header.frame_id == "in hand"


def test_a_warm_up_that_fails_is_one_line_with_the_remedy(stand_in, monkeypatch):
    def fail(_height, _width):
        raise RuntimeError("CUDA out of memory\nmore")

    monkeypatch.setattr(stand_in, "warm_up", fail)
    rclpy.init(domain_id=next_domain())
    try:
        node = node_module.SegmentNode(SimpleNamespace(requested=False, wake=queue.SimpleQueue()))
        with pytest.raises(UserError, match=r"2048 x 1024 pixels failed.*out of memory.*warm_up_"):
            node.serve()
    finally:
        rclpy.shutdown()
