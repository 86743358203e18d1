"""The managed node: what each transition loads, frees, starts and stops."""

from __future__ import annotations

import gc
import time
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: the node's tests need ROS 2")

from diagnostic_msgs.msg import DiagnosticStatus
from ros_harness import TIMEOUT_S, street, to_array
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from stand_in import StandIn

from contextnet_ros.files import UserError
from contextnet_ros.ros import camera, compat
from contextnet_ros.ros.camera import jpeg

pytestmark = pytest.mark.ros


@pytest.fixture
def loader(monkeypatch):
    """Loads a new stand-in each time; `alive` tells which of them are not freed."""
    made = []

    def load(*_arguments, **_options):
        if loader.fail_next is not None:
            error, loader.fail_next = loader.fail_next, None
            raise error
        segmenter = StandIn()
        made.append(weakref.ref(segmenter))
        return segmenter

    def alive():
        gc.collect()
        return [segmenter() is not None for segmenter in made]

    loader = SimpleNamespace(load=load, alive=alive, fail_next=None, may_go_on=StandIn().may_go_on)
    monkeypatch.setattr("contextnet_ros.ros.node.Segmenter", loader)
    return loader


def test_every_transition_does_what_it_says(loader, serve_node):
    served = serve_node(loader, waits=False, autostart="false")
    peer = served.peer
    assert peer.state() == "unconfigured"
    assert loader.alive() == []
    assert peer.wait_for_status("segmenter: model", "unconfigured").level == b"\0"
    assert not peer.change_state("activate")

    assert peer.change_state("configure")
    assert peer.state() == "inactive"
    assert loader.alive() == [True]
    assert peer.node.count_publishers("/segmenter/label") == 1
    assert peer.camera.get_subscription_count() == 0

    for cycle in range(2):
        assert peer.change_state("activate")
        peer.wait_for_node()
        image = street(16, 24, seed=cycle)
        label = peer.ask(peer.message(image, frame_id=f"cycle {cycle}"))
        np.testing.assert_array_equal(to_array(label), image[..., 0])
        assert peer.change_state("deactivate")
        peer.spin_until(lambda: peer.camera.get_subscription_count() == 0)
    assert loader.alive() == [True]

    assert peer.change_state("cleanup")
    assert peer.state() == "unconfigured"
    assert loader.alive() == [False]
    peer.spin_until(lambda: peer.node.count_publishers("/segmenter/label") == 0)

    assert peer.change_state("configure")
    assert loader.alive() == [False, True]
    assert peer.change_state("activate")
    peer.wait_for_node()
    assert peer.ask(peer.message(street(16, 24), frame_id="loaded again"))
    assert peer.change_state("shutdown")
    assert peer.state() == "finalized"
    peer.wait_for_status("segmenter: model", "finalized, no network is loaded")
    assert loader.alive() == [False, False]
    served.end()
    assert served.failure is None


def test_what_fails_to_load_leaves_it_unconfigured_and_may_be_tried_again(loader, serve_node):
    peer = serve_node(loader, waits=False, autostart="false").peer
    loader.fail_next = UserError("no such file: give its path")
    assert not peer.change_state("configure")
    assert peer.state() == "unconfigured"
    status = peer.wait_for_status("segmenter: model", "configure failed: no such file")
    assert status.level == DiagnosticStatus.ERROR
    loader.fail_next = ValueError("a mistake of ours")
    assert not peer.change_state("configure")
    assert peer.change_state("configure")
    assert peer.state() == "inactive"
    assert peer.wait_for_status("segmenter: model", "a stand-in").level == DiagnosticStatus.OK


def test_what_fails_to_load_at_the_start_ends_it(loader, serve_node):
    loader.fail_next = UserError("no such file: give its path")
    served = serve_node(loader, waits=False)
    served.thread.join(TIMEOUT_S)
    assert str(served.failure) == "no such file: give its path"


def test_deactivated_under_load_it_answers_what_came_and_then_nothing(stand_in, serve_node):
    served = serve_node(stand_in)
    peer = served.peer
    (only,) = served.node.cameras
    for _ in range(3):
        stand_in.may_go_on.clear()
        while only.newest.counts().pending < 2:
            peer.send(peer.message(street(16, 24)))
            peer.spin_for(0.01)
        stand_in.may_go_on.set()
        assert peer.change_state("deactivate")
        counts = only.newest.counts()
        assert counts.pending == 0
        assert counts.received == counts.superseded + counts.published
        for _ in range(5):
            peer.send(peer.message(street(16, 24)))
            peer.spin_for(0.01)
        assert only.newest.counts() == counts
        assert peer.change_state("activate")
        peer.wait_for_node()
        assert peer.ask(peer.message(street(16, 24), frame_id="active again"))
    # The 15 that nobody listened to are not among them.
    assert only.newest.counts().not_taken < 5


@pytest.mark.parametrize("transition", ["shutdown", "deactivate"])
def test_what_is_watched_of_the_last_frame_still_comes_when_it_ends(
    stand_in, serve_node, monkeypatch, transition
):
    served = serve_node(stand_in)
    peer = served.peer
    watched = [
        peer.collect(Image, "/segmenter/overlay"),
        peer.collect(CompressedImage, "/segmenter/overlay/compressed"),
    ]

    def slow_jpeg(*arguments):
        # The label is out by now; the transition comes in between.
        time.sleep(0.5)
        return jpeg(*arguments)

    monkeypatch.setattr(camera, "jpeg", slow_jpeg)
    assert peer.ask(peer.message(street(16, 24)))
    assert peer.change_state(transition)
    if transition == "deactivate":
        assert peer.change_state("cleanup")
    peer.spin_until(lambda: all(watched))
    served.end()
    assert served.failure is None


def test_the_rate_limit_does_not_hold_up_a_deactivation(stand_in, serve_node):
    served = serve_node(stand_in, max_rate_hz=0.001)
    peer = served.peer
    (only,) = served.node.cameras
    while only.newest.counts().pending == 0:
        peer.send(peer.message(street(16, 24)))
        peer.spin_for(0.05)
    assert peer.change_state("deactivate")
    assert only.newest.counts().pending == 0


def test_without_matched_events_readers_and_publishers_are_asked_for(
    stand_in, serve_node, monkeypatch
):
    monkeypatch.setattr(compat, "HAS_MATCHED_EVENTS", False)
    served = serve_node(stand_in)
    peer = served.peer
    confidences = peer.collect(Image, "/segmenter/confidence")
    peer.ask(peer.message(street(16, 24)), lambda: confidences)
    peer.drop("/segmenter/confidence")
    (only,) = served.node.cameras
    peer.spin_until(lambda: not only.wanted())
    peer.ask(peer.message(street(16, 24)))
    assert stand_in.asked[-1] == ("label",)
    assert peer.wait_for_counts(lambda _: True)["publishers"] == 1
    peer.close_camera()
    peer.node.create_publisher(CompressedImage, "/image", 1)
    peer.wait_for_counts(lambda counts: counts["publishers"] == 0)


def test_simulated_time_standing_still_or_running_stamps_are_measured_by_it(stand_in, serve_node):
    peer = serve_node(stand_in, use_sim_time="true").peer
    frame = peer.message(street(16, 24), frame_id="before the clock")
    assert peer.ask(frame).header == frame.header
    peer.wait_for_counts(lambda counts: counts["odd_stamps"] == 1)
    clock = peer.node.create_publisher(Clock, "/clock", 10)
    peer.spin_until(lambda: clock.get_subscription_count() > 0)
    now = Clock()
    now.clock.sec = 500
    clock.publish(now)
    peer.spin_until(lambda: bool(peer.arrays) and peer.arrays[-1].header.stamp.sec == 500)
    frame = peer.message(street(16, 24), frame_id="half a second ago")
    frame.header.stamp.sec, frame.header.stamp.nanosec = 499, 500_000_000
    peer.ask(frame)
    peer.wait_for_counts(lambda counts: counts["published"] == 2)
    values = peer.diagnostics[-1]["segmenter: frames"]
    assert float(values["stamp_latency_ms_p50"]) == 500.0
    assert values["odd_stamps"] == "1"
