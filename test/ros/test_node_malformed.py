"""Malformed messages between good ones, at the node in a process of its own, over DDS."""

from __future__ import annotations

import cv2
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: the node's tests need ROS 2")

from rclpy.qos import QoSProfile
from ros_harness import next_domain, street
from sensor_msgs.msg import CompressedImage, Image

pytestmark = pytest.mark.ros

HUNDRED = 100
# Reliable, and with room for all: what is sent once comes.
QOS = QoSProfile(depth=2 * HUNDRED)


def reliable(topic):
    policies = {"reliability": "reliable", "depth": QOS.depth}
    prefix = f"qos_overrides.{topic}.subscription"
    return [word for key, value in policies.items() for word in ("-p", f"{prefix}.{key}:={value}")]


class Way:
    """A node, its reader and a camera of raw or compressed images."""

    def __init__(self, start_node, open_peer, topic, kind, **parameters):
        domain = next_domain()
        node = start_node(domain, *reliable(topic), **parameters)
        self.peer = open_peer(domain)
        self.peer.close_camera()
        self.camera = self.peer.node.create_publisher(kind, topic, QOS)
        node.wait_ready()
        self.peer.spin_until(lambda: self.camera.get_subscription_count() > 0)
        self.peer.spin_until(lambda: self.peer.node.count_publishers("/segmenter/label") > 0)
        self.peer.spin_for(0.5)

    def check(self, good, spoil, reason):
        """A hundred spoilt messages in tens, each followed by a good one that is answered."""
        peer = self.peer
        before = peer.wait_for_counts(lambda counts: counts["pending"] == 0)
        for number in range(10):
            for _ in range(HUNDRED // 10):
                bad = good("bad")
                spoil(bad)
                self.camera.publish(bad)
            peer.labels.clear()
            message = good(f"{reason} {number}")
            self.camera.publish(message)
            peer.spin_until(lambda: bool(peer.labels))
            assert [label.header for label in peer.labels] == [message.header]
        after = peer.wait_for_counts(lambda counts: counts["published"] - before["published"] == 10)
        found = {key: after[key] - before.get(key, 0) for key in after}
        assert found["received"] == HUNDRED + 10
        assert found["bad"] == found[f"bad_{reason}"]
        assert found["not_taken"] == 0
        if reason == "conversion":
            # Found only when it is decoded; one that waits for that may be superseded.
            assert found["bad"] + found["superseded"] == HUNDRED
        else:
            assert (found["bad"], found["superseded"]) == (HUNDRED, 0)


@pytest.fixture(scope="module")
def raw(start_node, open_peer):
    return Way(start_node, open_peer, "/image", Image)


@pytest.fixture(scope="module")
def compressed(start_node, open_peer):
    topic = "/image/compressed"
    return Way(start_node, open_peer, topic, CompressedImage, image_transport="compressed")


def set_field(name, value):
    return lambda message: setattr(message, name, value)


def cut(share):
    def spoil(message):
        message.data = message.data[: int(len(message.data) * share)]

    return spoil


def put(start, data):
    def spoil(message):
        message.data[start : start + len(data)] = type(message.data)("B", data)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (cut(0.99), "short_data"),
        (cut(0), "short_data"),
        (set_field("height", 0), "zero_size"),
        (set_field("width", 0), "zero_size"),
        (set_field("height", 2**31), "short_data"),
        (set_field("step", 71), "small_step"),
        (set_field("encoding", "yuv9"), "unknown_encoding"),
        (set_field("encoding", ""), "unknown_encoding"),
    ],
)
def test_a_hundred_malformed_images_are_counted_and_every_good_one_answered(raw, spoil, reason):
    raw.check(lambda name: raw.peer.message(street(16, 24), frame_id=name), spoil, reason)


@pytest.mark.parametrize(
    ("suffix", "spoil", "reason"),
    [
        (".jpg", cut(0.6), "short_data"),
        (".png", cut(0.6), "short_data"),
        (".jpg", cut(0), "short_data"),
        (".jpg", put(0, b"GIF89a"), "unknown_encoding"),
        (".png", put(16, b"\0\0\0\0\0\0\0\0"), "conversion"),
    ],
)
def test_a_hundred_malformed_files_are_counted_and_every_good_one_answered(
    compressed, suffix, spoil, reason
):
    file = cv2.imencode(suffix, street(48, 64))[1].tobytes()

    def good(name):
        message = CompressedImage(format="")
        message.header.frame_id = name
        message.data.frombytes(file)
        return message

    compressed.check(good, spoil, reason)
