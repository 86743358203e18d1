"""Start the segmentation node on one camera topic, or on several.

ros2 launch contextnet_ros segment.launch.py image:=/camera/image_raw
ros2 launch contextnet_ros segment.launch.py image:=/camera/image_raw rviz:=true
ros2 launch contextnet_ros segment.launch.py cameras:=front,left image:=/{camera}/image_raw
ros2 launch contextnet_ros segment.launch.py --show-args
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
    SetEnvironmentVariable,
)
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from contextnet_ros.ros.dds_profiles import profile_variables

HERE = Path(__file__).resolve().parent
CAMERA = "{camera}"

ARGUMENTS = (
    DeclareLaunchArgument(
        "image",
        default_value="",
        description="Topic of the camera images (sensor_msgs/Image), as /camera/image_raw. With "
        f"`cameras`, {CAMERA} in it stands for each name. Empty: image, or {CAMERA}/image.",
    ),
    DeclareLaunchArgument(
        "cameras",
        default_value="",
        description="Names of several cameras for the one network, as front,left,right: front is "
        "answered on ~/front/label. Empty: one camera, answered on ~/label.",
    ),
    DeclareLaunchArgument(
        "image_transport",
        default_value="",
        description="raw, or compressed for the topic `image` + /compressed. "
        "Empty: as params_file says.",
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
        "network_size",
        default_value="",
        description="Size at which the network sees a frame: frame, scale S or long_side N, as "
        '"long_side 640": fewer pixels are faster. Empty: as params_file says.',
    ),
    DeclareLaunchArgument(
        "params_file",
        default_value=str(HERE.parent / "config" / "segment.yaml"),
        description="YAML file with the node's parameters.",
    ),
    DeclareLaunchArgument(
        "namespace",
        default_value="",
        description="Namespace of the node: with robot1, labels are on /robot1/segmenter/label.",
    ),
    DeclareLaunchArgument(
        "autostart",
        default_value="",
        choices=["", "true", "false"],
        description="Whether the node configures and activates itself; false leaves that to a "
        "lifecycle manager. Empty: as params_file says.",
    ),
    DeclareLaunchArgument(
        "use_sim_time",
        default_value="",
        choices=["", "true", "false"],
        description="Whether time comes from /clock. Empty: as params_file says.",
    ),
    DeclareLaunchArgument(
        "rviz",
        default_value="false",
        choices=["true", "false"],
        description="Whether to start RViz (view.launch.py) on the camera, or the first of them.",
    ),
    DeclareLaunchArgument(
        "dds_profile",
        default_value="auto",
        description="Settings for large images, which the camera's process needs too: auto (those "
        "in config/dds for the middleware in use), fastdds, cyclonedds, zenoh, the path of a "
        "file, or none. Where the variable of such a file is set already, it is left alone.",
    ),
)


def given(context: LaunchContext, name: str) -> str:
    """An argument's value."""
    return LaunchConfiguration(name).perform(context)


def cameras(context: LaunchContext) -> list[str]:
    """Names of the cameras; none for the one camera without a name."""
    return [name.strip() for name in given(context, "cameras").split(",") if name.strip()]


def image_topics(context: LaunchContext) -> dict[str, str]:
    """The node's topic to the camera's, where `image` was given."""
    image, names = given(context, "image"), cameras(context)
    if not image:
        return {}
    if not names:
        return {"image": image}
    if CAMERA not in image:
        raise RuntimeError(
            f"image:={image} is one topic for the cameras {', '.join(names)}: write {CAMERA} where "
            "the name stands, as in image:=/{camera}/image_raw"
        )
    return {f"{name}/image": image.replace(CAMERA, name) for name in names}


def set_dds_profile(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The variables of the profile, unless the user has set one or wants none."""
    variables = profile_variables(given(context, "dds_profile"), context.environment)
    return [SetEnvironmentVariable(name, value) for name, value in variables.items()]


def start_segmenter(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The node, with the arguments that were given over the parameter file."""
    params_file = str(Path(given(context, "params_file")).expanduser())
    if not Path(params_file).is_file():
        # launch_ros only warns, and the node would run with its defaults.
        raise FileNotFoundError(f"params_file:={params_file} does not exist: give its path")
    names = ("model", "device", "network_size", "image_transport")
    texts = {name: given(context, name) for name in names}
    switches = {name: given(context, name) for name in ("autostart", "use_sim_time")}
    parameters: dict[str, object] = {
        # As text, or a model named 11 would be taken for a number.
        **{name: ParameterValue(text, value_type=str) for name, text in texts.items() if text},
        **{name: text == "true" for name, text in switches.items() if text},
    }
    if cameras(context):
        parameters["cameras"] = cameras(context)
    return [
        Node(
            package="contextnet_ros",
            executable="segment_node",
            namespace=LaunchConfiguration("namespace"),
            parameters=[params_file, parameters],
            remappings=list(image_topics(context).items()),
            output="screen",
            emulate_tty=True,
        )
    ]


def start_rviz(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """view.launch.py on what this launch segments."""
    names, topics = cameras(context), image_topics(context)
    camera = names[0] if names else ""
    topic = f"{camera}/image" if camera else "image"
    arguments = {
        "namespace": given(context, "namespace"),
        "camera": camera,
        "image": topics.get(topic, topic),
        "use_sim_time": given(context, "use_sim_time") or "false",
    }
    view = PythonLaunchDescriptionSource(str(HERE / "view.launch.py"))
    # In a group, so that its arguments don't become those of the node.
    return [GroupAction([IncludeLaunchDescription(view, launch_arguments=arguments.items())])]


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
