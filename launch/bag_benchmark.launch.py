"""Measure the node on a bag: `contextnet-bag-benchmark` as a launch file.

ros2 launch contextnet_ros bag_benchmark.launch.py bag:=drive_bag
ros2 launch contextnet_ros bag_benchmark.launch.py bag:=drive_bag hz:=30 json:=result.json
ros2 launch contextnet_ros bag_benchmark.launch.py bag:=drive_bag hz:=30 \\
    options:='--assert "p99_ms<50" --assert "missed<1%"'
ros2 launch contextnet_ros bag_benchmark.launch.py --show-args

It starts the node and the players itself. The launch ends with the benchmark: with exit code 0, or
with 1 where the command's own is not 0.
"""

import shlex

from launch import Event, LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.substitutions import ExecutableInPackage

COMMAND = "contextnet-bag-benchmark"

# Each is the command's option of that name.
OPTIONS = {
    "topic": "image topic of the bag, where it has several cameras",
    "model": "a model's name or a weight file",
    "device": "auto, cpu or cuda",
    "truth": "folder of the truth to score the published labels against",
    "hz": "play the bag once at this rate, and no search",
    "rate": "play it once, this many times as fast as recorded",
    "player": "own, or ros2 for `ros2 bag play`",
    "json": "file to write the report to",
    "html": "page to write, with histogram, timeline and frame budget",
    "assert": "condition that has to hold, as p99_ms<50",
}


def run(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The command, with the options that were given."""

    def given(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    options = [f"--{name}={given(name)}" for name in OPTIONS if given(name)]
    return [
        ExecuteProcess(
            cmd=[
                ExecutableInPackage(COMMAND, "contextnet_ros"),
                given("bag"),
                *options,
                *shlex.split(given("options")),
            ],
            name=COMMAND,
            output="screen",
            emulate_tty=True,
            on_exit=pass_on_failure,
        )
    ]


def pass_on_failure(event: Event, _context: LaunchContext) -> None:
    """Let `ros2 launch` fail as the command did: an exception is what makes it."""
    if event.returncode != 0:
        raise RuntimeError(f"{COMMAND} ended with exit code {event.returncode}")


def generate_launch_description() -> LaunchDescription:
    """Arguments, command."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "bag", description="rosbag2 folder or storage file, sqlite3 or MCAP."
            ),
            *(
                DeclareLaunchArgument(name, default_value="", description=f"--{name}: {about}.")
                for name, about in OPTIONS.items()
            ),
            DeclareLaunchArgument(
                "options",
                default_value="",
                description=f"Further options as one text; `{COMMAND} --help` has them all.",
            ),
            OpaqueFunction(function=run),
        ]
    )
