"""Cameras of every kind at the node around a stand-in network, over DDS."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: the node's tests need ROS 2")

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from ros_harness import frame_counts, street, to_array
from sensor_msgs.msg import CompressedImage, Image

pytestmark = pytest.mark.ros


def test_a_publisher_whose_qos_does_not_fit_is_named_with_both_policies(stand_in, serve_node):
    override = "qos_overrides./image.subscription.reliability:=reliable"
    served = serve_node(stand_in, "-p", override, waits=False)
    status = served.peer.wait_for_status(
        "segmenter: frames", "reliability: offered best_effort, requested reliable"
    )
    assert status.level == DiagnosticStatus.WARN
    assert "nobody publishes /image that fits" in status.message
    served.peer.close_camera()
    served.peer.open_camera(QoSProfile(depth=5))
    served.peer.wait_for_node()
    assert served.peer.ask(served.peer.message(street(16, 24)))


def test_where_nobody_publishes_topics_that_could_be_mapped_to_are_named(stand_in, serve_node):
    served = serve_node(stand_in, waits=False, image_transport="compressed")
    served.peer.node.create_publisher(CompressedImage, "/cam/image/compressed", 5)
    for name in ("/cam/image/compressedDepth", "/usb_cam/image_jpeg"):
        served.peer.node.create_publisher(CompressedImage, name, 5)
    served.peer.node.create_publisher(Image, "/other/image", 5)
    status = served.peer.wait_for_status("segmenter: frames", "image_jpeg")
    assert status.level == DiagnosticStatus.WARN
    assert status.message == (
        "nobody publishes /image/compressed: for images that are there, remap image:=/cam/image "
        "or image/compressed:=/usb_cam/image_jpeg"
    )


def test_several_cameras_share_one_network_and_none_starves(stand_in, serve_node):
    loads = len(stand_in.warmed_up)
    names = ["front", "left", "right"]
    served = serve_node(stand_in, waits=False, cameras="[front, left, right]")
    peer = served.peer
    cameras = {name: peer.node.create_publisher(Image, f"/{name}/image", 5) for name in names}
    labels = {name: peer.collect(Image, f"/segmenter/{name}/label") for name in names}
    peer.spin_until(lambda: all(cam.get_subscription_count() for cam in cameras.values()))
    assert len(stand_in.warmed_up) == loads + 1
    stand_in.may_go_on.clear()
    # One camera sends ten times as much as the others, which all wait at once.
    frames = {}
    for number in range(30):
        for place, name in enumerate(names):
            if name != "front" and number % 10:
                continue
            frame = peer.message(street(16, 24, seed=place), frame_id=f"{name} {number}")
            cameras[name].publish(frame)
            frames[name] = frame
            peer.spin_for(0.01)
    asked = len(stand_in.asked)
    stand_in.may_go_on.set()
    peer.spin_until(lambda: all(labels.values()))
    peer.spin_until(lambda: labels["front"][-1].header == frames["front"].header)
    # What was in hand, then each camera's newest in turn.
    assert len(stand_in.asked) - asked <= 3
    for place, name in enumerate(names):
        answer = labels[name][-1]
        assert answer.header == frames[name].header
        np.testing.assert_array_equal(to_array(answer), street(16, 24, seed=place)[..., 0])
    peer.wait_for_counts(lambda counts: counts["pending"] == 0)
    total = frame_counts(peer.diagnostics[-1])
    each = [frame_counts(peer.diagnostics[-1], f"frames of {name}") for name in names]
    for counts in [total, *each]:
        fates = ("superseded", "bad", "published", "pending")
        assert counts["received"] == sum(counts[fate] for fate in fates)
    for key in ("received", "superseded", "bad", "published", "pending", "not_taken"):
        assert total[key] == sum(counts[key] for counts in each)
    assert each[0]["superseded"] > 10


def test_topics_are_mapped_once_also_where_two_cameras_change_places(stand_in, serve_node):
    swapped = ("-r", "left/image:=/right/image", "-r", "right/image:=/left/image")
    served = serve_node(stand_in, *swapped, waits=False, cameras="[left, right]")
    peer = served.peer
    assert [camera.topic for camera in served.node.cameras] == ["/right/image", "/left/image"]
    for name, other in (("left", "right"), ("right", "left")):
        labels = peer.collect(Image, f"/segmenter/{name}/label")
        camera = peer.node.create_publisher(Image, f"/{other}/image", 5)
        peer.spin_until(lambda camera=camera: camera.get_subscription_count() > 0)
        frame = peer.message(street(16, 24), frame_id=f"seen as {name}")
        camera.publish(frame)
        peer.spin_until(lambda labels=labels: bool(labels))
        assert labels[0].header == frame.header


def test_a_deadline_that_is_not_offered_is_named_and_can_be_given_up(stand_in, serve_node):
    override = "qos_overrides./image.subscription.deadline:=50000000"
    peer = serve_node(stand_in, "-p", override, waits=False).peer
    peer.wait_for_status("segmenter: frames", "deadline: offered inf s, requested 0.05 s")


def test_compressed_input_is_answered_and_what_is_cut_off_is_counted(stand_in, serve_node):
    served = serve_node(
        stand_in,
        "-r",
        "image:=/camera/image_raw",
        waits=False,
        image_transport="compressed",
    )
    peer = served.peer
    topic = "/camera/image_raw/compressed"
    camera = peer.node.create_publisher(CompressedImage, topic, qos_profile_sensor_data)
    peer.spin_until(lambda: camera.get_subscription_count() > 0)
    peer.spin_until(lambda: peer.node.count_publishers("/segmenter/label") > 0)
    peer.spin_for(0.5)
    image = street(48, 64, seed=4)
    for suffix, name in ((".png", "png"), (".jpg", "jpeg"), (".png", "")):
        file = cv2.imencode(suffix, image)[1]
        message = CompressedImage(format=name)
        message.header.frame_id = f"format {name!r}"
        message.data.frombytes(file.tobytes())
        cut = CompressedImage(format=name)
        cut.data.frombytes(file.tobytes()[: len(file) * 2 // 3])
        peer.labels.clear()
        camera.publish(cut)
        camera.publish(message)
        peer.spin_until(lambda: bool(peer.labels))
        assert peer.labels[0].header == message.header
        decoded = cv2.imdecode(file, cv2.IMREAD_COLOR)
        np.testing.assert_array_equal(to_array(peer.labels[0]), decoded[..., 0])
    counts = peer.wait_for_counts(lambda counts: counts["pending"] == 0)
    assert counts["bad"] == 3
    assert counts["received"] == counts["published"] + counts["bad"] + counts["superseded"]
