"""What the node asks of its Segmenter, and what it does when that fails."""

from __future__ import annotations

import re
from array import array

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: the node's tests need ROS 2")

from diagnostic_msgs.msg import DiagnosticStatus
from ros_harness import TIMEOUT_S, street
from sensor_msgs.msg import CompressedImage

from contextnet_ros.files import UserError
from contextnet_ros.inference import DeviceError

pytestmark = pytest.mark.ros


@pytest.fixture
def served(stand_in, serve_node):
    """A node served by a thread of this process, and its peer; stopped at the end."""
    return serve_node(stand_in)


@pytest.mark.usefixtures("served")
def test_it_warms_up_with_the_configured_size_before_it_subscribes(stand_in):
    assert stand_in.warmed_up == [(1024, 2048)]
    assert stand_in.asked == []


def test_what_is_missing_for_a_faster_backend_is_a_warning_at_the_start(
    stand_in, serve_node, capfd
):
    stand_in.note = "plain operators; pip install triton"
    serve_node(stand_in)
    (line,) = [line for line in capfd.readouterr().err.splitlines() if stand_in.note in line]
    assert line.startswith("[WARN]")


def test_bad_frames_are_warned_of_at_once_then_each_period_and_none_is_left_at_the_end(
    stand_in, serve_node, capfd
):
    served = serve_node(stand_in, log_period_s="3600.0")

    def send_bad(count):
        for _ in range(count):
            message = served.peer.message(street(16, 24))
            message.encoding = "32FC7"
            served.peer.send(message)

    def warned():
        told.append(capfd.readouterr().err)
        lines = [line for line in "".join(told).splitlines() if "bad frames; the last" in line]
        return [int(line.split("]: ")[1].split()[0]) for line in lines]

    told = []
    send_bad(1)
    served.peer.spin_until(lambda: warned() == [1])
    send_bad(3)
    served.peer.wait_for_counts(lambda counts: counts["bad"] == 4)
    reports = len(served.peer.statuses)
    served.peer.spin_until(lambda: len(served.peer.statuses) > reports + 1)
    assert warned() == [1]
    served.end()
    assert warned() == [1, 3]


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


def test_nothing_answered_because_every_frame_fails_is_an_error_in_the_diagnostics(
    stand_in, served, monkeypatch
):
    def fail(_image, _outputs):
        raise RuntimeError("no kernel image")

    monkeypatch.setattr(type(stand_in), "__call__", lambda _self, *a: fail(*a))
    peer = served.peer
    peer.send(peer.message(street(96, 160)))
    status = peer.wait_for_status("segmenter: frames", "no kernel image")
    assert status.level == DiagnosticStatus.ERROR


def test_a_device_that_fails_ends_the_node_with_one_line_and_an_error_status(stand_in, served):
    peer = served.peer
    stand_in.fail_next = DeviceError("unspecified launch failure\nmore")
    peer.send(peer.message(street(96, 160)))
    status = peer.wait_for_status("segmenter: model", "unspecified launch failure")
    assert status.level == DiagnosticStatus.ERROR
    served.thread.join(TIMEOUT_S)
    assert isinstance(served.failure, UserError)
    assert "nowhere failed: unspecified launch failure" in str(served.failure)
    assert "\n" not in str(served.failure)
    (counts,) = [camera.newest.counts() for camera in served.node.cameras]
    assert counts.bad_reasons == {"device": 1}
    assert counts.pending == 0


def test_the_frame_in_hand_is_answered_before_it_ends(stand_in, served):
    peer = served.peer
    stand_in.may_go_on.clear()
    peer.send(peer.message(street(96, 160), frame_id="in hand"))
    peer.spin_until(lambda: bool(stand_in.asked))
    served.end()
    peer.spin_until(lambda: bool(peer.labels))
    assert peer.labels[0].header.frame_id == "in hand"


def test_a_warm_up_that_fails_is_one_line_with_the_remedy(stand_in, serve_node, monkeypatch):
    def fail(_height, _width):
        raise RuntimeError("CUDA out of memory\nmore")

    monkeypatch.setattr(stand_in, "warm_up", fail)
    served = serve_node(stand_in, waits=False)
    served.thread.join(TIMEOUT_S)
    assert isinstance(served.failure, UserError)
    assert re.search(r"2048 x 1024 pixels failed.*out of memory.*warm_up_", str(served.failure))
    assert "\n" not in str(served.failure)


def test_a_frame_that_no_jpeg_holds_is_warned_of_and_the_next_is_answered(served, capfd):
    peer = served.peer
    pictures = peer.collect(CompressedImage, "/segmenter/overlay/compressed")
    message = peer.message(street(16, 24))
    message.height, message.width, message.step = 70000, 1, 3
    message.data = array("B", bytes(3 * 70000))
    assert peer.ask(message).height == 70000
    assert peer.ask(peer.message(street(16, 24)))
    peer.spin_until(lambda: pictures)
    assert "no JPEG holds 1 x 70000 pixels" in capfd.readouterr().err
    assert served.failure is None


def test_another_log_period_holds_at_once(stand_in, serve_node, capfd):
    served = serve_node(stand_in, log_period_s="3600.0")
    assert served.peer.ask(served.peer.message(street(16, 24)))
    assert served.peer.set_parameters(log_period_s=1.0)[0].successful
    told = []

    def says_rates():
        told.append(capfd.readouterr().err)
        return "labels/s out" in "".join(told)

    served.peer.spin_until(says_rates)


def test_latency_is_told_in_milliseconds(stand_in, served):
    peer = served.peer
    stand_in.may_go_on.clear()
    peer.send(peer.message(street(96, 160)))
    peer.spin_until(lambda: bool(stand_in.asked))
    peer.spin_for(0.3)
    stand_in.may_go_on.set()
    peer.wait_for_counts(lambda counts: counts["published"] > 0)
    frames = peer.diagnostics[-1]["segmenter: frames"]
    assert 300 <= float(frames["latency_ms_p50"]) <= float(frames["latency_ms_p99"])
