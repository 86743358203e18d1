"""`~/timings`: when each published frame passed which point in the node, while somebody subscribes.

A std_msgs/String of JSON for each label: `stamp_ns` (header stamp), `marks_ns` (the monotonic
clock, which all processes of a machine share, at each of `MARKS`) and `stages_ms` (what the
Segmenter says of its stages). One of several cameras has its own, `~/NAME/timings`. For the bag
benchmark and for whoever looks where time goes; no contract of the node.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rclpy.node import Node

MARKS = ("arrived", "taken", "decoded", "segmented", "filled")
"""In a frame's order: its message came; its turn came; it is BGR; it has a label; the label's
message is filled, and is published next."""


class FrameTimes:
    """The marks of one frame."""

    def __init__(self, arrived_s: float) -> None:
        self.marks_ns = {"arrived": round(arrived_s * 1e9)}

    def mark(self, name: str) -> None:
        """The frame passes `name`, of MARKS, now."""
        self.marks_ns[name] = time.monotonic_ns()


class TimingsPublisher:
    """Publishes the times of frames while somebody subscribes."""

    def __init__(self, node: Node, topic: str) -> None:
        # Who reads timings needs no ROS, so that this module imports without it.
        from rclpy.qos import QoSProfile
        from std_msgs.msg import String

        self._node = node
        self._message_type = String
        self._publisher = node.create_publisher(String, topic, QoSProfile(depth=100))

    def close(self) -> None:
        self._node.destroy_publisher(self._publisher)

    def publish(self, header: Any, times: FrameTimes, stages_ms: dict[str, float]) -> None:
        """Tell of one frame whose label was published; `header` is its std_msgs/Header."""
        if self._publisher.get_subscription_count() == 0:
            return
        stamp_ns = header.stamp.sec * 1_000_000_000 + header.stamp.nanosec
        told = {"stamp_ns": stamp_ns, "marks_ns": times.marks_ns, "stages_ms": stages_ms}
        self._publisher.publish(self._message_type(data=json.dumps(told)))
