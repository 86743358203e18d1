"""Topics, settings and faults of the node around a stand-in network, over DDS."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: the node's tests need ROS 2")

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_harness import street, to_array
from sensor_msgs.msg import CompressedImage, Image
from stand_in import StandIn
from std_msgs.msg import String
from std_srvs.srv import SetBool

from contextnet_ros.inference.overlay import OverlayBlender
from contextnet_ros.labels import CAMVID
from contextnet_ros.ros import class_topics, image_msg

pytestmark = pytest.mark.ros
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.fixture(scope="module")
def network(load_stand_in):
    return load_stand_in(StandIn())


@pytest.fixture(scope="module")
def served(network, make_served):
    served = make_served(network)
    served.peer.wait_for_node()
    return served


@pytest.fixture
def peer(served):
    return served.peer


@pytest.fixture
def plain(peer):
    """Puts the settings back that a test changes."""
    yield
    results = peer.set_parameters(min_confidence=0.0, overlay_classes=["all"], max_rate_hz=0.0)
    assert all(result.successful for result in results)


@pytest.mark.usefixtures("served")
def test_the_classes_are_told_to_whoever_comes_later(peer):
    heard = []
    peer.node.create_subscription(String, "/segmenter/classes", heard.append, LATCHED)
    peer.spin_until(lambda: bool(heard))
    said = json.loads(heard[0].data)
    assert said["unlabelled"] == 255
    assert [one["name"] for one in said["classes"]] == list(CAMVID.names)
    assert said["classes"][3] == {"id": 3, "name": "road", "color": "#804080"}


def test_the_classes_are_read_only_parameters_too(peer, served):
    parameter = served.node.parameter
    assert parameter("class_table") == "camvid"
    assert tuple(parameter("class_names")) == CAMVID.names
    assert parameter("class_colors")[3] == "#804080"
    (result,) = peer.set_parameters(class_names=["a"])
    assert not result.successful
    assert "read-only" in result.reason


def test_label_info_is_published_where_vision_msgs_is_installed(peer):
    messages = pytest.importorskip("vision_msgs.msg", reason="vision_msgs is not installed")
    heard = []
    kind = messages.LabelInfo
    peer.node.create_subscription(kind, "/segmenter/label_info", heard.append, LATCHED)
    peer.spin_until(lambda: bool(heard))
    named = {one.class_id: one.class_name for one in heard[0].class_map}
    assert named == {**dict(enumerate(CAMVID.names)), 255: "UNLABELED"}


class Record:
    """Keeps what a message is made of."""

    def __init__(self, **fields):
        self.__dict__.update(fields)


class Messages:
    LabelInfo = VisionClass = Record


def test_label_info_names_every_number_of_the_label_and_the_threshold():
    message = class_topics.label_info(Messages, CAMVID, 0.25)
    named = {one.class_id: one.class_name for one in message.class_map}
    assert named == {**dict(enumerate(CAMVID.names)), 255: "UNLABELED"}
    assert message.threshold == 0.25


def test_confidence_and_overlays_come_to_who_subscribes_and_are_computed_for_no_one_else(
    peer, network, served
):
    frame = peer.message(street(64, 96))
    peer.ask(frame)
    assert network.asked[-1] == ("label",)
    confidences = peer.collect(Image, "/segmenter/confidence")
    peer.ask(frame, lambda: confidences)
    assert network.asked[-1] == ("label", "confidence")
    assert confidences[0].encoding == "mono8"
    assert confidences[0].header == frame.header
    np.testing.assert_array_equal(to_array(confidences[0]), street(64, 96)[..., 1])
    files = peer.collect(CompressedImage, "/segmenter/overlay/compressed")
    peer.ask(frame, lambda: files)
    assert network.asked[-1] == ("label", "confidence", "overlay")
    assert files[0].header == frame.header
    assert files[0].format == "bgr8; jpeg compressed bgr8"
    # The stand-in's overlay is black.
    np.testing.assert_array_equal(image_msg.decode_compressed(files[0]), np.zeros((64, 96, 3)))
    peer.drop("/segmenter/confidence")
    peer.drop("/segmenter/overlay/compressed")
    (camera,) = served.node.cameras
    peer.spin_until(lambda: not camera.wanted())
    peer.ask(frame)
    assert network.asked[-1] == ("label",)


@pytest.mark.usefixtures("plain")
def test_settings_change_between_two_frames_label_and_overlay_alike(peer):
    image = street(64, 96, seed=2)
    image[..., 0] %= CAMVID.num_classes
    frame = peer.message(image)
    results = peer.set_parameters(min_confidence=0.5, overlay_classes=["road", "car", "sky"])
    assert all(result.successful for result in results)
    peer.watch_overlay(True)
    label = to_array(peer.ask(frame, lambda: peer.overlays))
    expected = np.where(image[..., 1] < 127.5, 255, image[..., 0])
    assert 0.1 < (expected == 255).mean() < 0.9
    np.testing.assert_array_equal(label, expected)
    hidden = ~np.isin(expected, [CAMVID.names.index(name) for name in ("road", "car", "sky")])
    blended = OverlayBlender(CAMVID, 0.5)(image, np.where(hidden, 255, expected).astype(np.uint8))
    np.testing.assert_array_equal(to_array(peer.overlays[0], 3), blended)
    peer.watch_overlay(False)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"overlay_classes": ["unicorn"]}, "'unicorn' is not among the classes of camvid"),
        ({"overlay_classes": ["all", "car"]}, "alone"),
        ({"min_confidence": 1.5}, "1.5"),
        ({"max_rate_hz": -1.0}, "-1.0"),
        ({"jpeg_quality": 0}, "0"),
        ({"cameras": ["a"]}, "read-only"),
        ({"image_transport": "compressed"}, "read-only"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_reason_and_the_old_one_kept(
    peer, served, changes, said
):
    before = {name: served.node.parameter(name) for name in changes}
    (result,) = peer.set_parameters(**changes)
    assert not result.successful
    assert said in result.reason
    assert {name: served.node.parameter(name) for name in changes} == before


def test_of_settings_given_together_all_are_taken_or_none(peer, served):
    result = peer.set_parameters_together(overlay_opacity=0.75, overlay_classes=["unicorn"])
    assert not result.successful
    assert "unicorn" in result.reason
    assert served.node.parameter("overlay_opacity") == 0.5
    assert peer.set_parameters_together(overlay_opacity=0.75, jpeg_quality=50).successful
    assert served.node.parameter("overlay_opacity") == 0.75
    assert peer.set_parameters_together(overlay_opacity=0.5, jpeg_quality=80).successful


@pytest.mark.usefixtures("plain")
def test_a_rate_limit_lets_the_newest_through_and_counts_the_others(peer):
    peer.set_parameters(max_rate_hz=4.0)
    before = peer.wait_for_counts(lambda counts: counts["pending"] == 0)
    peer.labels.clear()
    for number in range(40):
        peer.send(peer.message(street(32, 48), frame_id=f"{number:02d}"))
        peer.spin_for(0.025)
    peer.spin_until(lambda: peer.labels and peer.labels[-1].header.frame_id == "39")
    after = peer.wait_for_counts(lambda counts: counts["pending"] == 0)
    taken = {key: after[key] - before.get(key, 0) for key in after}
    assert taken["received"] == taken["superseded"] + taken["published"]
    # A busy machine takes longer than the second that the frames are meant to.
    assert taken["superseded"] > taken["published"]


def test_odd_stamps_are_passed_through_and_leave_the_statistics_alone(peer):
    now = peer.node.get_clock().now().to_msg()
    stamps = [(0, 0), (now.sec + 3600, 5), (1, 7), (now.sec - 3 * 365 * 86400, 0)]
    odd = peer.wait_for_counts(lambda _: True)["odd_stamps"]
    for sec, nanosec in stamps:
        frame = peer.message(street(16, 24), frame_id=f"stamp {sec}")
        frame.header.stamp.sec, frame.header.stamp.nanosec = sec, nanosec
        assert peer.ask(frame).header == frame.header
    frame = peer.message(street(16, 24), frame_id="now")
    frame.header.stamp = peer.node.get_clock().now().to_msg()
    peer.ask(frame)
    peer.wait_for_counts(lambda counts: counts["odd_stamps"] >= odd + len(stamps))
    values = peer.diagnostics[-1]["segmenter: frames"]
    assert 0 <= float(values["stamp_latency_ms_p99"]) < 60_000


def test_disabled_it_takes_no_frames_and_enabled_it_goes_on_without_loading(peer, network):
    warmed_up = len(network.warmed_up)
    response = peer.call(SetBool, "enable", SetBool.Request(data=False))
    assert response.success
    assert "disabled" in response.message
    status = peer.wait_for_status("segmenter: frames", "disabled by ~/enable")
    assert status.level == DiagnosticStatus.OK
    asked = len(network.asked)
    peer.send(peer.message(street(16, 24)))
    peer.spin_for(0.3)
    assert len(network.asked) == asked
    assert peer.camera.get_subscription_count() == 0
    assert peer.call(SetBool, "enable", SetBool.Request(data=True)).success
    peer.wait_for_node()
    assert peer.ask(peer.message(street(16, 24), frame_id="enabled"))
    assert len(network.warmed_up) == warmed_up


def test_a_camera_that_stops_ends_and_comes_back_is_told_and_answered(peer):
    peer.ask(peer.message(street(16, 24), frame_id="before"))
    status = peer.wait_for_status("segmenter: frames", "no frame came on /image for")
    assert status.level == DiagnosticStatus.WARN
    peer.close_camera()
    status = peer.wait_for_status("segmenter: frames", "nobody publishes /image")
    assert status.level == DiagnosticStatus.WARN
    peer.open_camera(QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT))
    peer.wait_for_node()
    assert peer.ask(peer.message(street(16, 24), frame_id="after"))
    counts = peer.wait_for_counts(lambda counts: counts["pending"] == 0)
    assert counts["publishers"] == 1


def test_a_reader_whose_qos_does_not_fit_is_named_with_both_policies(peer):
    late = peer.node.create_subscription(Image, "/segmenter/label", lambda _: None, LATCHED)
    text = "durability: offered volatile, requested transient_local"
    status = peer.wait_for_status("segmenter: frames", text)
    assert status.level == DiagnosticStatus.WARN
    assert "/peer" in status.message
    peer.node.destroy_subscription(late)
