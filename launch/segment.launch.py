"""Start the segmentation node on a camera topic.

ros2 launch contextnet_ros segment.launch.py image:=/camera/image_raw
ros2 launch contextnet_ros segment.launch.py image:=/camera/image_raw rviz:=true
ros2 launch contextnet_ros segment.launch.py --show-args
"""

import os
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

CONFIG = Path(__file__).resolve().parents[1] / "config"

# Kilted and later read the first, Humble and Jazzy the second.
DDS_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")

ARGUMENTS = (
    DeclareLaunchArgument(
        "image",
        default_value="image",
        description="Topic of the camera images (sensor_msgs/Image), as /camera/image_raw.",
    ),
    DeclareLaunchArgument(
        "model",
        default_value="",
        description="Weights: default, another name in models/, or the path of a .safetensors "
        "file. Empty: as params_file says.",
    ),
    DeclareLaunchArgument(
        "device",
        default_value="",
        description="Where the network runs: auto, cpu, cuda or cuda:N. "
        "Empty: as params_file says.",
    ),
    DeclareLaunchArgument(
        "params_file",
        default_value=str(CONFIG / "segment.yaml"),
        description="YAML file with the node's parameters.",
    ),
    DeclareLaunchArgument(
        "namespace",
        default_value="",
        description="Namespace of the node: with front, labels are on /front/segmenter/label.",
    ),
    DeclareLaunchArgument(
        "rviz",
        default_value="false",
        choices=["true", "false"],
        description="Whether to start RViz with the camera, the overlay and the label.",
    ),
    DeclareLaunchArgument(
        "dds_profile",
        default_value=str(CONFIG / "dds" / "fastdds.xml"),
        description="Fast DDS profile for large images, used unless "
        f"{' or '.join(DDS_VARIABLES)} is set already; the camera's process needs it too. "
        "none: Fast DDS's own settings.",
    ),
)


def set_dds_profile(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Set both variables of the profile, unless the user has set one or wants none."""
    profile = LaunchConfiguration("dds_profile").perform(context)
    if profile in ("", "none") or any(map(context.environment.get, DDS_VARIABLES)):
        return []
    if not Path(profile).is_file():
        raise FileNotFoundError(f"dds_profile:={profile} does not exist: give its path, or none")
    return [SetEnvironmentVariable(name, profile) for name in DDS_VARIABLES]


def start_segmenter(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The node, with the arguments that were given over the parameter file."""
    params_file = LaunchConfiguration("params_file").perform(context)
    if not Path(params_file).is_file():
        # launch_ros only warns, and the node would run with its defaults.
        raise FileNotFoundError(f"params_file:={params_file} does not exist: give its path")
    given = {name: LaunchConfiguration(name).perform(context) for name in ("model", "device")}
    return [
        Node(
            package="contextnet_ros",
            executable="segment_node",
            namespace=LaunchConfiguration("namespace"),
            parameters=[
                params_file,
                {n: ParameterValue(value, value_type=str) for n, value in given.items() if value},
            ],
            remappings=[("image", LaunchConfiguration("image"))],
            output="screen",
            emulate_tty=True,
        )
    ]


def start_rviz(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """RViz, its three fixed topics mapped to those of this launch."""
    try:
        get_package_prefix("rviz2")
    except PackageNotFoundError as error:
        raise RuntimeError(
            "rviz:=true needs RViz 2, which is not installed: "
            f"apt install ros-{os.environ.get('ROS_DISTRO', 'DISTRO')}-rviz2"
        ) from error
    namespace = LaunchConfiguration("namespace").perform(context).strip("/")
    image = LaunchConfiguration("image").perform(context)
    prefix = f"/{namespace}" if namespace else ""
    return [
        Node(
            package="rviz2",
            executable="rviz2",
            arguments=["-d", str(CONFIG / "segment.rviz")],
            remappings=[
                ("/image", image if image.startswith("/") else f"{prefix}/{image}"),
                ("/segmenter/overlay", f"{prefix}/segmenter/overlay"),
                ("/segmenter/label", f"{prefix}/segmenter/label"),
            ],
            output="screen",
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """Arguments, DDS profile, RViz, node."""
    return LaunchDescription(
        [
            *ARGUMENTS,
            OpaqueFunction(function=set_dds_profile),
            # What may fail comes before the node, which launch would leave running.
            OpaqueFunction(function=start_rviz, condition=IfCondition(LaunchConfiguration("rviz"))),
            OpaqueFunction(function=start_segmenter),
        ]
    )
