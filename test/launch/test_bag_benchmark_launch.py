"""`bag_benchmark.launch.py` with a stand-in for the command: arguments in, exit code out;
and once for real."""

from __future__ import annotations

import json

import launch_harness
import launch_pytest
import pytest
from launch import LaunchDescription

from contextnet_ros.ros import bag_make

pytestmark = pytest.mark.ros
COMMAND = 'printf "%s\\n" "$@" > "$COMMAND_WROTE"; exit "${COMMAND_EXITS:-0}"'


@pytest.fixture
def wrote(packages_in, tmp_path, monkeypatch):
    """The file that the stand-in writes its arguments to."""
    name = "contextnet-bag-benchmark"
    packages_in(launch_harness.stand_in(tmp_path / "prefix", "contextnet_ros", name, COMMAND))
    monkeypatch.setenv("COMMAND_WROTE", str(tmp_path / "wrote"))
    return tmp_path / "wrote"


@launch_pytest.fixture
def launched(wrote):  # noqa: ARG001 - its environment is what counts
    options = "--assert 'missed<1%' --runs 2"
    given = {"bag": "a bag", "hz": 30, "assert": "p99_ms<50", "options": options}
    run = launch_harness.include("bag_benchmark.launch.py", **given)
    return LaunchDescription([run, launch_pytest.actions.ReadyToTest()])


@pytest.mark.launch(fixture=launched)
def test_the_arguments_given_reach_the_command_and_no_others(wrote):
    assert launch_harness.wait_for_text(wrote).splitlines() == [
        "a bag",
        "--hz=30",
        "--assert=p99_ms<50",
        "--assert",
        "missed<1%",
        "--runs",
        "2",
    ]


@pytest.mark.parametrize(("code", "launch_code"), [(0, 0), (1, 1), (3, 1)])
def test_the_launch_fails_where_the_command_does(wrote, monkeypatch, code, launch_code):
    monkeypatch.setenv("COMMAND_EXITS", str(code))
    ended = launch_harness.launch("bag_benchmark.launch.py", "bag:=b")
    assert ended.returncode == launch_code, ended.stdout
    assert wrote.read_text() == "b\n"
    assert (f"ended with exit code {code}" in ended.stdout) == (code != 0)


def test_a_launch_without_a_bag_is_refused(wrote):
    ended = launch_harness.launch("bag_benchmark.launch.py")
    assert ended.returncode == 1
    assert "bag" in ended.stdout
    assert not wrote.exists()


def test_a_bag_is_played_through_the_node_and_reported_on(tmp_path):
    bag, report = tmp_path / "bag", tmp_path / "report.json"
    assert bag_make.main(["generated", "-o", str(bag), "--frames", "4", "--size", "96x160"]) == 0
    ended = launch_harness.launch(
        "bag_benchmark.launch.py",
        f"bag:={bag}",
        "model:=generated-cn14",
        "hz:=5",
        f"options:=--json {report}",
    )
    assert ended.returncode == 0, ended.stdout
    frames = json.loads(report.read_text())["frames"]
    assert frames["in_bag"] == frames["sent"] == 4
