"""What the tests of launch files share; importing it skips where launch_pytest can't run."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: this test needs ROS 2")
pytest.importorskip("launch_ros", reason="launch_ros is missing: install ros-DISTRO-launch-ros")
pytest.importorskip("launch_pytest", reason="missing: install ros-DISTRO-launch-pytest")

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

try:
    get_package_prefix("contextnet_ros")
except PackageNotFoundError:
    pytest.skip(
        "contextnet_ros is not in AMENT_PREFIX_PATH: build it with colcon and source the workspace",
        allow_module_level=True,
    )

REPOSITORY = Path(__file__).resolve().parents[2]

# What `ros2 launch` does with a file and its NAME:=VALUE, its exit code too.
LAUNCH = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
source = PythonLaunchDescriptionSource(sys.argv[1])
arguments = [tuple(argument.split(":=", 1)) for argument in sys.argv[2:]]
service = LaunchService(noninteractive=True)
service.include_launch_description(
    LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments)])
)
sys.exit(service.run())
"""


def ros_harness():
    """The camera and reader of the node's tests, which stand in another folder."""
    path = REPOSITORY / "test" / "ros" / "ros_harness.py"
    spec = importlib.util.spec_from_file_location("ros_harness_for_launch", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def include(name: str, **arguments: object) -> IncludeLaunchDescription:
    """The launch file of this name, as a user starts it."""
    source = PythonLaunchDescriptionSource(str(REPOSITORY / "launch" / name))
    given = {argument: str(value) for argument, value in arguments.items()}
    return IncludeLaunchDescription(source, launch_arguments=given.items())


def launch(name: str, *arguments: str, timeout_s: float = 120.0) -> subprocess.CompletedProcess:
    """Run a launch file to its end; stdout and stderr come together in stdout."""
    path = REPOSITORY / "launch" / name
    return subprocess.run(
        [sys.executable, "-c", LAUNCH, str(path), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def stand_in(prefix: Path, package: str, executable: str, script: str) -> Path:
    """An installed package with one executable, a shell script; returns `prefix`."""
    marker = prefix / "share" / "ament_index" / "resource_index" / "packages" / package
    marker.parent.mkdir(parents=True)
    marker.touch()
    path = prefix / "lib" / package / executable
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return prefix


def wait_for_text(path: Path, timeout_s: float = 60.0) -> str:
    """What a process writes into a file, once it has."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if path.is_file() and path.read_text().endswith("\n"):
            return path.read_text()
        time.sleep(0.05)
    raise AssertionError(f"nothing was written to {path}")
