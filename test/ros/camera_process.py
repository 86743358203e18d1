"""A camera in a process of its own: the same image again and again, numbered in its frame id.

python camera_process.py HZ HEIGHT WIDTH
"""

from __future__ import annotations

import sys

import rclpy
from rclpy.qos import qos_profile_sensor_data
from ros_harness import street
from sensor_msgs.msg import Image


def main() -> None:
    hz, height, width = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    rclpy.init()
    node = rclpy.create_node("camera")
    publisher = node.create_publisher(Image, "/image", qos_profile_sensor_data)
    message = Image(height=height, width=width, encoding="bgr8", step=3 * width)
    message.data.frombytes(street(height, width))
    sent = 0

    def publish() -> None:
        nonlocal sent
        sent += 1
        message.header.frame_id = str(sent)
        message.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(message)

    node.create_timer(1 / hz, publish)
    rclpy.spin(node)


if __name__ == "__main__":
    main()
