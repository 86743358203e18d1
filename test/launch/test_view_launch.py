"""`view.launch.py` and `rviz:=true`, with a stand-in for RViz that writes down its arguments."""

from __future__ import annotations

import launch_harness
import launch_pytest
import pytest
from launch import LaunchDescription

pytestmark = pytest.mark.ros
RVIZ = 'printf "%s\\n" "$FASTDDS_DEFAULT_PROFILES_FILE" "$@" > "$RVIZ_WROTE"'


@pytest.fixture
def wrote(packages_in, tmp_path, monkeypatch):
    """The file that the stand-in writes its profile and its arguments to."""
    packages_in(launch_harness.stand_in(tmp_path / "prefix", "rviz2", "rviz2", RVIZ))
    monkeypatch.setenv("RVIZ_WROTE", str(tmp_path / "wrote"))
    monkeypatch.delenv("RMW_IMPLEMENTATION", raising=False)
    for name in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "wrote"


@launch_pytest.fixture
def viewed(wrote):  # noqa: ARG001 - its environment is what counts
    arguments = {"image": "/car/front/image_raw", "camera": "front", "namespace": "car"}
    view = launch_harness.include("view.launch.py", **arguments)
    return LaunchDescription([view, launch_pytest.actions.ReadyToTest()])


@pytest.mark.launch(fixture=viewed)
def test_rviz_shows_the_topics_of_the_camera_that_was_asked_for(wrote):
    profile, *arguments = launch_harness.wait_for_text(wrote).splitlines()
    assert profile.endswith("config/dds/fastdds.xml")
    assert arguments[arguments.index("-d") + 1].endswith("config/segment.rviz")
    assert {a for a in arguments if ":=" in a and not a.startswith("__")} == {
        "/image:=/car/front/image_raw",
        "/segmenter/overlay:=/car/segmenter/front/overlay",
        "/segmenter/label:=/car/segmenter/front/label",
        "/segmenter/confidence:=/car/segmenter/front/confidence",
    }


LEFT_AND_RIGHT = ["left/image:=/left/image_raw", "right/image:=/right/image_raw"]


@pytest.mark.parametrize(
    ("given", "image", "label", "node_mappings"),
    [
        ([], "/image", "/segmenter/label", []),
        (
            ["image:=/cam", "namespace:=robot1"],
            "/cam",
            "/robot1/segmenter/label",
            ["image:=/cam"],
        ),
        (["cameras:=left,right"], "/left/image", "/segmenter/left/label", []),
        (
            ["cameras:=left,right", "image:=/{camera}/image_raw"],
            "/left/image_raw",
            "/segmenter/left/label",
            LEFT_AND_RIGHT,
        ),
    ],
)
def test_segment_launch_shows_what_it_segments(
    wrote, packages_in, tmp_path, given, image, label, node_mappings
):
    node = 'printf "%s\\n" "$@" > "$RVIZ_WROTE.node"'
    package = launch_harness.stand_in(tmp_path / "node", "contextnet_ros", "segment_node", node)
    packages_in(package)
    ended = launch_harness.launch("segment.launch.py", "rviz:=true", *given)
    assert ended.returncode == 0, ended.stdout
    arguments = launch_harness.wait_for_text(wrote).splitlines()
    assert f"/image:={image}" in arguments
    assert f"/segmenter/label:={label}" in arguments
    # What RViz is told of its one topic is not what the node is told.
    node_arguments = launch_harness.wait_for_text(tmp_path / "wrote.node").splitlines()
    assert [a for a in node_arguments if ":=/" in a and not a.startswith("__")] == node_mappings


def test_without_rviz_the_launch_fails_and_says_what_to_install(monkeypatch):
    monkeypatch.setenv("AMENT_PREFIX_PATH", "/nowhere")
    ended = launch_harness.launch("view.launch.py")
    assert ended.returncode == 1
    assert "-rviz2" in ended.stdout
