"""The least that a node could do: take an image, publish a mono8 image of its size.

    python -m contextnet_ros.ros.relay --ros-args -r image:=/camera/image_raw

What `make bench-node` holds segment_node against. It answers on the same topics, and tells its
counts once a second, so that the same session measures both; nothing else is in it.
"""

from __future__ import annotations

import sys
from typing import Any


def main() -> int:
    """Relay until interrupted; returns the exit code."""
    import rclpy
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
    from rclpy.executors import ExternalShutdownException
    from rclpy.qos import QoSProfile, qos_profile_sensor_data
    from sensor_msgs.msg import Image

    rclpy.init(args=sys.argv)
    node = rclpy.create_node("segmenter")
    labels = node.create_publisher(Image, "~/label", QoSProfile(depth=1))
    diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
    counts = {"received": 0, "superseded": 0, "bad": 0, "published": 0, "pending": 0}
    blank = {"pixels": b""}

    def relay(message: Any) -> None:
        counts["received"] += 1
        size = message.height * message.width
        if len(blank["pixels"]) != size:
            blank["pixels"] = bytes(size)
        label = Image(header=message.header, height=message.height, width=message.width)
        label.encoding = "mono8"
        label.step = message.width
        label.data.frombytes(blank["pixels"])
        labels.publish(label)
        counts["published"] += 1

    def report() -> None:
        pairs = [KeyValue(key=key, value=str(value)) for key, value in counts.items()]
        status = DiagnosticStatus(name="segmenter: frames", values=pairs)
        diagnostics.publish(DiagnosticArray(status=[status]))

    node.create_timer(1.0, report)
    node.create_subscription(Image, "image", relay, qos_profile_sensor_data)
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
