"""`segment.launch.py` with the real launch: an image in, its mask out."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: this test needs ROS 2")
pytest.importorskip("launch_ros", reason="launch_ros is missing: install ros-DISTRO-launch-ros")
pytest.importorskip("launch_pytest", reason="missing: install ros-DISTRO-launch-pytest")

import launch_pytest
import numpy as np
import torch
from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription, SetEnvironmentVariable
from launch.launch_description_sources import PythonLaunchDescriptionSource

from contextnet_ros.inference import Segmenter
from contextnet_ros.labels import CAMVID
from contextnet_ros.network import ContextNet, WeightHeader, save_weights

try:
    get_package_prefix("contextnet_ros")
except PackageNotFoundError:
    pytest.skip(
        "contextnet_ros is not in AMENT_PREFIX_PATH: build it with colcon and source the workspace",
        allow_module_level=True,
    )

pytestmark = pytest.mark.ros
REPOSITORY = Path(__file__).resolve().parents[2]


def load_harness():
    """The camera and reader of the node's tests, which stand in another folder."""
    path = REPOSITORY / "test" / "ros" / "ros_harness.py"
    spec = importlib.util.spec_from_file_location("ros_harness_for_launch", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


harness = load_harness()
DOMAIN = harness.next_domain()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_weights(path, ContextNet(CAMVID.num_classes), WeightHeader(table=CAMVID))
    return path


@launch_pytest.fixture(scope="module")
def launched(weights, tmp_path_factory):
    """The launch file as a user starts it, in a namespace and on a topic of its own."""
    harness.set_dds_environment()
    parameters = tmp_path_factory.mktemp("parameters") / "mine.yaml"
    parameters.write_text(
        "/**: {ros__parameters: {num_threads: 1, warm_up_height: 96, warm_up_width: 160}}\n"
    )
    source = PythonLaunchDescriptionSource(str(REPOSITORY / "launch" / "segment.launch.py"))
    arguments = {
        "image": "/camera/image_raw",
        "namespace": "front",
        "model": str(weights),
        "device": "cpu",
        "params_file": str(parameters),
    }
    return LaunchDescription(
        [
            SetEnvironmentVariable("ROS_DOMAIN_ID", str(DOMAIN)),
            IncludeLaunchDescription(source, launch_arguments=arguments.items()),
            launch_pytest.actions.ReadyToTest(),
        ]
    )


@pytest.mark.launch(fixture=launched)
def test_an_image_on_the_given_topic_is_answered_with_its_mask(weights):
    peer = harness.Peer(DOMAIN, image="/camera/image_raw", node="/front/segmenter")
    try:
        peer.wait_for_node()
        image = harness.street(96, 160)
        label = peer.ask(peer.message(image))
        np.testing.assert_array_equal(
            harness.to_array(label),
            Segmenter.load(weights, device="cpu", num_threads=1)(image).label,
        )
    finally:
        peer.close()
