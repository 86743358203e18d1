"""ROS 2: the node, its messages and diagnostics, the bag tools; only here rclpy is imported."""
