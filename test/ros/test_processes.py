from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from ros_harness import REPOSITORY

from contextnet_ros.files import UserError
from contextnet_ros.ros import processes
from contextnet_ros.ros.processes import Children, ending_signals_as_interrupt

HELPERS = {
    "polite": """
        print('{"event": "ready"}', flush=True)
        try:
            time.sleep(600)
        except KeyboardInterrupt:
            pathlib.Path(sys.argv[1]).write_text("ended by itself")
    """,
    "deaf": """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        print('{"event": "ready"}', flush=True)
        time.sleep(600)
    """,
    "parent": """
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print(json.dumps({"event": "ready", "child": child.pid}), flush=True)
        time.sleep(600)
    """,
    "failing": """
        print("on the way", file=sys.stderr)
        sys.exit("the cable is missing")
    """,
    "echo": """
        print("no event", flush=True)
        for line in sys.stdin:
            print(json.dumps({"event": "heard", "words": line.split()}), flush=True)
    """,
}


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # Beside other tests a child takes its time to end by itself.
    limits = tuple((s, 5.0 if s == signal.SIGINT else 1.0) for s, _ in processes._STOPPING_S)
    monkeypatch.setattr(processes, "_STOPPING_S", limits)
    children = Children({**os.environ, "PYTHONPATH": str(tmp_path)}, tmp_path / "logs")

    def start_one(name: str, *arguments: str):
        imports = "import json, pathlib, signal, subprocess, sys, time\n"
        (tmp_path / f"{name}_helper.py").write_text(imports + textwrap.dedent(HELPERS[name]))
        return children.start(name, f"{name}_helper", list(arguments))

    start_one.children = children
    with children:
        yield start_one


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A process that init has yet to collect is dead all the same.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_an_interrupt_while_a_child_starts_comes_when_it_can_be_stopped(
    start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    popen = processes.subprocess.Popen

    def interrupted(*arguments, **options):
        process = popen(*arguments, **options)
        signal.raise_signal(signal.SIGINT)
        return process

    monkeypatch.setattr(processes.subprocess, "Popen", interrupted)
    with pytest.raises(KeyboardInterrupt):
        start("polite", str(tmp_path / "end"))
    assert [child.name for child in start.children.all] == ["polite"]


def test_a_child_gets_the_time_to_end_by_itself(start, tmp_path: Path) -> None:
    child = start("polite", str(tmp_path / "end"))
    start.children.wait(child, "ready", 30)
    start.children.stop()
    assert (tmp_path / "end").read_text() == "ended by itself"
    assert not alive(child.process.pid)


def test_a_child_that_ignores_signals_is_killed(start) -> None:
    child = start("deaf")
    start.children.wait(child, "ready", 30)
    start.children.stop()
    assert child.process.returncode == -9


def test_what_a_child_started_is_stopped_too(start) -> None:
    child = start("parent")
    grandchild = start.children.wait(child, "ready", 30)["child"]
    assert alive(grandchild)
    start.children.stop()
    end = time.monotonic() + 10
    while alive(grandchild) and time.monotonic() < end:
        time.sleep(0.02)
    assert not alive(grandchild)


def test_a_child_that_ends_early_is_reported_by_its_last_line(start) -> None:
    child = start("failing")
    with pytest.raises(UserError, match="exit code 1: the cable is missing"):
        start.children.wait(child, "ready", 30)


def test_an_event_that_does_not_come_is_an_error(start) -> None:
    child = start("deaf")
    start.children.wait(child, "ready", 30)
    with pytest.raises(UserError, match="did not get to 'played'"):
        start.children.wait(child, "played", 0.1)


def test_commands_go_out_and_events_come_in_and_other_lines_are_logged(start) -> None:
    child = start("echo")
    child.send("play", 2.5, 10)
    assert start.children.wait(child, "heard", 30)["words"] == ["play", "2.5", "10"]
    assert "no event" in child.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_an_ending_signal_runs_what_ctrl_c_runs(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), ending_signals_as_interrupt():
        signal.raise_signal(number)
    assert signal.getsignal(number) == before


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [
        ("humble", {"ROS_LOCALHOST_ONLY": "1"}),
        ("jazzy", {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}),
        (None, {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}),
    ],
)
def test_processes_meet_on_this_machine_only_whatever_the_user_set(
    monkeypatch, distribution: str | None, expected: dict[str, str]
) -> None:
    names = ("ROS_LOCALHOST_ONLY", "ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_STATIC_PEERS")
    for name in (*names, "ROS_DISCOVERY_SERVER"):
        monkeypatch.setenv(name, "0")
    monkeypatch.delenv("ROS_DISTRO", raising=False)
    if distribution is not None:
        monkeypatch.setenv("ROS_DISTRO", distribution)
    env = processes.private_environment()
    set_now = {name: env[name] for name in (*names, "ROS_DISCOVERY_SERVER") if name in env}
    assert set_now == expected


def test_what_differs_between_distributions_is_known_without_ros() -> None:
    code = "import sys, contextnet_ros.ros.distro; sys.exit('rclpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0
    # And in no other module of the processes.
    assert "humble" not in Path(processes.__file__).read_text(encoding="utf-8")


def test_processes_take_the_profile_of_the_middleware_in_use(monkeypatch) -> None:
    monkeypatch.delenv("CYCLONEDDS_URI", raising=False)
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_cyclonedds_cpp")
    assert processes.private_environment()["CYCLONEDDS_URI"].endswith("cyclonedds.xml")
    monkeypatch.setenv("CYCLONEDDS_URI", "file:///mine.xml")
    assert processes.private_environment()["CYCLONEDDS_URI"] == "file:///mine.xml"
