"""`segment.launch.py` with the real launch: images in, their masks out."""

from __future__ import annotations

import launch_harness
import launch_pytest
import numpy as np
import pytest
import torch
from launch import LaunchDescription
from launch.actions import SetEnvironmentVariable
from lifecycle_msgs.srv import GetState

from contextnet_ros.inference import Segmenter
from contextnet_ros.labels import CAMVID
from contextnet_ros.network import ContextNet, WeightHeader, save_weights

pytestmark = pytest.mark.ros
harness = launch_harness.ros_harness()
ONE, SEVERAL, WAITING = (harness.next_domain() for _ in range(3))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_weights(path, ContextNet(CAMVID.num_classes), WeightHeader(table=CAMVID))
    return path


@pytest.fixture(scope="module")
def small(weights, tmp_path_factory):
    """Arguments of a node that is ready soon."""
    harness.set_dds_environment()
    path = tmp_path_factory.mktemp("parameters") / "mine.yaml"
    path.write_text(
        "/**: {ros__parameters: {num_threads: 1, warm_up_height: 96, warm_up_width: 160}}\n"
    )
    return {"params_file": path, "model": weights, "device": "cpu"}


def started(domain, **arguments):
    return LaunchDescription(
        [
            SetEnvironmentVariable("ROS_DOMAIN_ID", str(domain)),
            launch_harness.include("segment.launch.py", **arguments),
            launch_pytest.actions.ReadyToTest(),
        ]
    )


def answer(domain, weights, image, node, **settings):
    """Ask for the label of a street, and hold it against the Segmenter's with these `settings`."""
    peer = harness.Peer(domain, image=image, node=node)
    try:
        peer.wait_for_node()
        street = harness.street(96, 160)
        label = peer.ask(peer.message(street))
        expected = Segmenter.load(weights, device="cpu", num_threads=1, **settings)(street).label
        np.testing.assert_array_equal(harness.to_array(label), expected)
    finally:
        peer.close()


@launch_pytest.fixture
def one_camera(small):
    return started(
        ONE, image="/camera/image_raw", namespace="robot1", network_size="long_side 96", **small
    )


@pytest.mark.launch(fixture=one_camera)
def test_an_image_on_the_given_topic_is_answered_with_its_mask(weights):
    answer(ONE, weights, "/camera/image_raw", "/robot1/segmenter", network_size="long_side 96")


@launch_pytest.fixture
def several_cameras(small):
    return started(SEVERAL, cameras="front,left", image="/car/{camera}/image_raw", **small)


@pytest.mark.launch(fixture=several_cameras)
def test_each_of_several_cameras_is_answered_on_its_own_topic(weights):
    for camera in ("front", "left"):
        answer(SEVERAL, weights, f"/car/{camera}/image_raw", f"/segmenter/{camera}")


@launch_pytest.fixture
def not_started(small):
    return started(WAITING, autostart="false", **small)


@pytest.mark.launch(fixture=not_started)
def test_without_autostart_the_node_waits_to_be_configured():
    peer = harness.Peer(WAITING)
    try:
        asked = peer.node.create_client(GetState, "/segmenter/get_state")
        peer.spin_until(asked.service_is_ready)
        state = asked.call_async(GetState.Request())
        peer.spin_until(state.done)
        assert state.result().current_state.label == "unconfigured"
        assert peer.node.count_publishers("/segmenter/label") == 0
    finally:
        peer.close()


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("params_file:=/nowhere.yaml", "params_file:=/nowhere.yaml does not exist"),
        ("dds_profile:=/nowhere.xml", "dds_profile:=/nowhere.xml can't be read"),
        ("dds_profile:=zenoh", "export RMW_IMPLEMENTATION=rmw_zenoh_cpp"),
        ("autostart:=maybe", "autostart"),
        ("cameras:=front,left image:=/camera/image_raw", "write {camera} where the name stands"),
    ],
)
def test_a_wrong_argument_ends_the_launch_and_starts_nothing(monkeypatch, argument, said):
    monkeypatch.delenv("RMW_IMPLEMENTATION", raising=False)
    ended = launch_harness.launch("segment.launch.py", *argument.split())
    assert ended.returncode == 1, ended.stdout
    assert said in ended.stdout
    assert "process started" not in ended.stdout
