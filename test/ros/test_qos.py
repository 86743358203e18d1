"""Which policies keep two sides apart, told as ROS itself tells it."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: the node's tests need ROS 2")

from rclpy.duration import Duration, Infinite
from rclpy.qos import (
    DurabilityPolicy,
    LivelinessPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from sensor_msgs.msg import CompressedImage, Image

from contextnet_ros.ros import qos

pytestmark = pytest.mark.ros

POLICIES = {
    "reliability": (ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT),
    "durability": (DurabilityPolicy.VOLATILE, DurabilityPolicy.TRANSIENT_LOCAL),
    "liveliness": (LivelinessPolicy.AUTOMATIC, LivelinessPolicy.MANUAL_BY_TOPIC),
    "deadline": (Infinite, Duration(seconds=1), Duration(seconds=2)),
    "liveliness_lease_duration": (Infinite, Duration(seconds=1), Duration(seconds=2)),
}


@pytest.mark.parametrize("policy", POLICIES)
def test_each_policy_is_judged_as_ros_judges_it(policy):
    judged = set()
    for offered, requested in itertools.product(POLICIES[policy], repeat=2):
        publisher = QoSProfile(depth=1, **{policy: offered})
        subscription = QoSProfile(depth=1, **{policy: requested})
        fits = qos_check_compatible(publisher, subscription)[0] != QoSCompatibility.ERROR
        found = qos.differences(publisher, subscription)
        assert (found == []) == fits, (offered, requested, found)
        assert all(one.startswith(f"{policy}: offered ") for one in found)
        judged.add(fits)
    assert judged == {True, False}


def test_the_node_takes_every_reliability_and_offers_every_reader_what_it_wants():
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    for publisher in (best_effort, QoSProfile(depth=1), qos.latched()):
        assert qos.differences(publisher, qos.sensor_data()) == []
    for subscription in (best_effort, QoSProfile(depth=1)):
        assert qos.differences(qos.newest(), subscription) == []


class Graph:
    """The part of a node that tells of other nodes' endpoints."""

    def __init__(self, topic_type, profile):
        self.info = SimpleNamespace(
            node_namespace="/car", node_name="driver", topic_type=topic_type, qos_profile=profile
        )

    def get_publishers_info_by_topic(self, _topic):
        return [self.info]

    get_subscriptions_info_by_topic = get_publishers_info_by_topic


def test_a_publisher_that_does_not_fit_is_named_with_both_policies_and_the_remedy():
    graph = Graph(qos.type_name(Image), qos.sensor_data())
    (line,) = qos.publisher_faults(graph, "/image", qos.type_name(Image), QoSProfile(depth=1))
    for text in ("/car/driver", "reliability: offered best_effort, requested reliable"):
        assert text in line
    assert "qos_overrides./image.subscription" in line
    assert qos.publisher_faults(graph, "/image", qos.type_name(Image), qos.sensor_data()) == []


def test_only_publishers_of_the_type_and_with_qos_that_fits_are_counted():
    kind = qos.type_name(Image)
    graph = Graph(kind, qos.sensor_data())
    assert qos.fitting_publishers(graph, "/image", kind, qos.sensor_data()) == 1
    assert qos.fitting_publishers(graph, "/image", kind, QoSProfile(depth=1)) == 0
    assert qos.fitting_publishers(graph, "/image", "other/msg/Kind", qos.sensor_data()) == 0


def test_a_publisher_of_another_type_is_named():
    graph = Graph(qos.type_name(CompressedImage), qos.sensor_data())
    (line,) = qos.publisher_faults(graph, "/image", qos.type_name(Image), qos.sensor_data())
    assert "as sensor_msgs/msg/CompressedImage, not as sensor_msgs/msg/Image" in line
    assert "image_transport" in line


def test_a_reader_that_does_not_fit_is_named_with_both_policies_and_the_remedy():
    graph = Graph(qos.type_name(Image), qos.latched())
    (line,) = qos.subscriber_faults(graph, "/segmenter/label", qos.newest())
    assert "durability: offered volatile, requested transient_local" in line
    assert "qos_overrides./segmenter/label.publisher" in line
