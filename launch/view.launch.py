"""Show a camera, its overlay and its label in RViz; the node runs elsewhere.

ros2 launch contextnet_ros view.launch.py image:=/camera/image_raw
ros2 launch contextnet_ros view.launch.py camera:=front image:=/front/image_raw
ros2 launch contextnet_ros view.launch.py --show-args
"""

import os
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from contextnet_ros.ros.dds_profiles import profile_variables

CONFIG = Path(__file__).resolve().parents[1] / "config"
OUTPUTS = ("overlay", "label", "confidence")

ARGUMENTS = (
    DeclareLaunchArgument(
        "image", default_value="image", description="Topic of the camera images."
    ),
    DeclareLaunchArgument(
        "camera",
        default_value="",
        description="Which of the node's `cameras` to show; empty: its only one.",
    ),
    DeclareLaunchArgument(
        "namespace", default_value="", description="Namespace of the segmentation node."
    ),
    DeclareLaunchArgument(
        "config",
        default_value=str(CONFIG / "segment.rviz"),
        description="RViz's displays.",
    ),
    DeclareLaunchArgument(
        "use_sim_time",
        default_value="false",
        choices=["true", "false"],
        description="Whether time comes from /clock.",
    ),
    DeclareLaunchArgument(
        "dds_profile",
        default_value="auto",
        description="Settings for large images, as in segment.launch.py.",
    ),
)


def start_rviz(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """RViz, its fixed topics mapped to those of the node."""
    try:
        get_package_prefix("rviz2")
    except PackageNotFoundError as error:
        raise RuntimeError(
            "RViz 2 is not installed: "
            f"apt install ros-{os.environ.get('ROS_DISTRO', 'DISTRO')}-rviz2"
        ) from error
    arguments = {
        argument.name: LaunchConfiguration(argument.name).perform(context) for argument in ARGUMENTS
    }
    namespace = arguments["namespace"].strip("/")
    prefix = f"/{namespace}" if namespace else ""
    image = arguments["image"]
    camera = f"/{arguments['camera']}" if arguments["camera"] else ""
    outputs = [(f"/segmenter/{name}", f"{prefix}/segmenter{camera}/{name}") for name in OUTPUTS]
    variables = profile_variables(arguments["dds_profile"], context.environment)
    return [
        *(SetEnvironmentVariable(name, value) for name, value in variables.items()),
        Node(
            package="rviz2",
            executable="rviz2",
            arguments=["-d", arguments["config"]],
            parameters=[{"use_sim_time": arguments["use_sim_time"] == "true"}],
            remappings=[
                ("/image", image if image.startswith("/") else f"{prefix}/{image}"),
                *outputs,
            ],
            output="screen",
        ),
    ]


def generate_launch_description() -> LaunchDescription:
    """Arguments, RViz."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start_rviz)])
