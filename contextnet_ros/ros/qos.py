"""Quality of service: what each topic asks for, and why two sides of one don't meet."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from rclpy.duration import Duration
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    LivelinessPolicy,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
)
from rclpy.qos_overriding_options import InvalidQosOverridesError, QoSOverridingOptions

from contextnet_ros.files import UserError, one_line

_OVERRIDABLE = (
    QoSPolicyKind.HISTORY,
    QoSPolicyKind.DEPTH,
    QoSPolicyKind.RELIABILITY,
    QoSPolicyKind.DURABILITY,
    QoSPolicyKind.DEADLINE,
    QoSPolicyKind.LIVELINESS,
    QoSPolicyKind.LIVELINESS_LEASE_DURATION,
)


# Each call makes its own, since rclpy writes the overrides into the profile it is given.
def sensor_data() -> QoSProfile:
    """For images that come in."""
    return QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


def newest() -> QoSProfile:
    """For images that go out: reliable, and a slow reader gets the latest, not a backlog."""
    return QoSProfile(depth=1)


def latched() -> QoSProfile:
    """For what is said once, and to whoever comes later."""
    return QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def overriding() -> QoSOverridingOptions:
    """Let the standard parameters `qos_overrides.TOPIC...` change a topic's policies."""
    return QoSOverridingOptions(_OVERRIDABLE)


def create(make: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call one of a node's `create_*`; raises UserError for an override that can't be."""
    try:
        return make(*arguments, qos_overriding_options=overriding(), **options)
    except (
        RuntimeError,
        ValueError,
        InvalidQosOverridesError,
        InvalidParameterTypeException,
        InvalidParameterValueException,
    ) as error:
        # rcl appends where in its sources it failed.
        cause = one_line(error).partition(", at /")[0]
        raise UserError(
            f"qos_overrides of {arguments[1]}: {cause}: see segment.yaml for what can be given"
        ) from error


def differences(offered: QoSProfile, requested: QoSProfile) -> list[str]:
    """Each policy that keeps a publisher from a subscription, with both sides' values."""
    found = []

    def unequal(policy: str, publisher: str, subscription: str) -> None:
        found.append(f"{policy}: offered {publisher}, requested {subscription}")

    best_effort, reliable = ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE
    if offered.reliability == best_effort and requested.reliability == reliable:
        unequal("reliability", "best_effort", "reliable")
    volatile, latching = DurabilityPolicy.VOLATILE, DurabilityPolicy.TRANSIENT_LOCAL
    if offered.durability == volatile and requested.durability == latching:
        unequal("durability", "volatile", "transient_local")
    automatic, manual = LivelinessPolicy.AUTOMATIC, LivelinessPolicy.MANUAL_BY_TOPIC
    if offered.liveliness == automatic and requested.liveliness == manual:
        unequal("liveliness", "automatic", "manual_by_topic")
    for policy in ("deadline", "liveliness_lease_duration"):
        given_s, wanted_s = (_seconds(getattr(side, policy)) for side in (offered, requested))
        if given_s > wanted_s:
            unequal(policy, f"{given_s:g} s", f"{wanted_s:g} s")
    return found


def _seconds(duration: Duration) -> float:
    # That there is none is said by 0, or by a number of centuries.
    return duration.nanoseconds / 1e9 if 0 < duration.nanoseconds < 10**18 else math.inf


def publisher_faults(node: Node, topic: str, message_type: str, requested: QoSProfile) -> list[str]:
    """Why publishers of a topic can't reach this node's subscription, one line each."""
    found = []
    for info in node.get_publishers_info_by_topic(topic):
        who = _who(info)
        if info.topic_type != message_type:
            found.append(
                f"{who} publishes {topic} as {info.topic_type}, not as {message_type}: set "
                "image_transport to what it sends, or remap image"
            )
            continue
        unmet = differences(info.qos_profile, requested)
        if unmet:
            found.append(
                f"QoS of {who} and of this subscription to {topic} don't fit ({'; '.join(unmet)}): "
                f"set qos_overrides.{topic}.subscription to what is offered"
            )
    return found


def topics_of(node: Node, message_type: str, most: int = 5) -> list[str]:
    """Topics on which other nodes publish messages of a type, by name, at most so many."""
    return [
        topic
        for topic, types in sorted(node.get_topic_names_and_types())
        if message_type in types
        and any(
            info.node_name != node.get_name() for info in node.get_publishers_info_by_topic(topic)
        )
    ][:most]


def fitting_publishers(node: Node, topic: str, message_type: str, requested: QoSProfile) -> int:
    """How many publishers of a topic can reach this node's subscription."""
    return sum(
        info.topic_type == message_type and not differences(info.qos_profile, requested)
        for info in node.get_publishers_info_by_topic(topic)
    )


def subscriber_faults(node: Node, topic: str, offered: QoSProfile) -> list[str]:
    """Why subscriptions to a topic can't get what this node publishes, one line each."""
    found = []
    for info in node.get_subscriptions_info_by_topic(topic):
        unmet = differences(offered, info.qos_profile)
        if unmet:
            found.append(
                f"QoS of {_who(info)} and of this publisher of {topic} don't fit "
                f"({'; '.join(unmet)}): set qos_overrides.{topic}.publisher to what is requested"
            )
    return found


def _who(info: Any) -> str:
    return f"{info.node_namespace.rstrip('/')}/{info.node_name}"


def type_name(message_type: Any) -> str:
    """`sensor_msgs/msg/Image` of its class."""
    package, kind = message_type.__module__.split(".")[:2]
    return f"{package}/{kind}/{message_type.__name__}"
