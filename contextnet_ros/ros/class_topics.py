"""What the label's numbers mean, for whoever reads them: parameters and latched topics.

`~/classes` is a std_msgs/String of JSON: {"table", "unlabelled", "classes": [{"id", "name",
"color": "#rrggbb"}, ...]}. `~/label_info` is a vision_msgs/LabelInfo where that package is
installed. The read-only parameters are class_table, class_names and class_colors.
"""

from __future__ import annotations

import json
import os
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node
from std_msgs.msg import String

from contextnet_ros.files import UserError
from contextnet_ros.labels import IGNORE_ID, ClassTable
from contextnet_ros.ros import qos

_PARAMETERS = {
    "class_table": "Name of the table of classes, from the weight file.",
    "class_names": "Names of the classes by their number in ~/label, from the weight file.",
    "class_colors": "Colours of the classes in ~/overlay, as #rrggbb, from the weight file.",
}


class ClassTopics:
    """Says the table at once, and ~/label_info's threshold again when it changes."""

    def __init__(self, node: Node, table: ClassTable) -> None:
        self._node = node
        self._table = table
        self._threshold: float | None = None
        _declare(node, table)
        self._classes = qos.create(node.create_publisher, String, "~/classes", qos.latched())
        self._classes.publish(String(data=json.dumps(class_list(table))))
        messages = vision_messages()
        self._messages = messages
        self._label_info = messages and qos.create(
            node.create_publisher, messages.LabelInfo, "~/label_info", qos.latched()
        )

    def follow(self, min_confidence: float) -> None:
        """Publish ~/label_info if its threshold is not this already."""
        if self._label_info is not None and min_confidence != self._threshold:
            self._threshold = min_confidence
            message = label_info(self._messages, self._table, min_confidence)
            message.header.stamp = self._node.get_clock().now().to_msg()
            self._label_info.publish(message)

    def close(self) -> None:
        for publisher in (self._classes, self._label_info):
            if publisher is not None:
                self._node.destroy_publisher(publisher)


def class_list(table: ClassTable) -> dict[str, Any]:
    """What ~/classes says, as data."""
    return {
        "table": table.name,
        "unlabelled": IGNORE_ID,
        "classes": [
            {"id": number, "name": name, "color": color}
            for number, (name, color) in enumerate(zip(table.names, _colors(table), strict=True))
        ],
    }


def vision_messages() -> Any:
    """The module vision_msgs.msg, or None where it isn't installed or has no LabelInfo yet."""
    try:
        import vision_msgs.msg
    except ImportError:
        return None
    return vision_msgs.msg if hasattr(vision_msgs.msg, "LabelInfo") else None


def without_label_info() -> str:
    """One line on what is missing without vision_msgs; nothing where it is there."""
    if vision_messages() is not None:
        return ""
    distribution = os.environ.get("ROS_DISTRO", "DISTRO")
    return (
        "~/label_info is not published, since vision_msgs is not installed "
        f"(apt install ros-{distribution}-vision-msgs); ~/classes says the same"
    )


def label_info(messages: Any, table: ClassTable, threshold: float) -> Any:
    """A LabelInfo of the classes and, under the greatest number as it is defined, UNLABELED."""
    named = [*enumerate(table.names), (IGNORE_ID, "UNLABELED")]
    return messages.LabelInfo(
        class_map=[messages.VisionClass(class_id=n, class_name=name) for n, name in named],
        threshold=threshold,
    )


def _colors(table: ClassTable) -> list[str]:
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in table.palette]


def _declare(node: Node, table: ClassTable) -> None:
    values = (table.name, list(table.names), _colors(table))
    for (name, description), value in zip(_PARAMETERS.items(), values, strict=True):
        if node.has_parameter(name):
            if node.get_parameter(name).value != value:
                raise UserError(
                    f"the model's classes changed to {table.name} since the node started, in which "
                    f"{name} is read-only: restart the node"
                )
            continue
        descriptor = ParameterDescriptor(name=name, description=description, read_only=True)
        node.declare_parameter(name, value, descriptor, ignore_override=True)
