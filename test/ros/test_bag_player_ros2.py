"""The benchmark with `ros2 bag play`; where that is not installed a script stands in for it."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from ros_harness import REPOSITORY

pytest.importorskip("rclpy", reason="rclpy is not installed: the benchmark needs ROS 2")

from contextnet_ros.ros import bag_benchmark
from contextnet_ros.ros.bag_make import BagFormat, make_bag
from contextnet_ros.ros.frame_sources import generated_source

FRAMES = 5

# What the benchmark uses of ros2: `bag play`, paused until `service call` resumes it.
STAND_IN = """#!{python}
import json, pathlib, sys, time
here = pathlib.Path(__file__).parent
if sys.argv[1:3] == ["service", "call"]:
    assert sys.argv[3:] == ["/rosbag2_player/resume", "rosbag2_interfaces/srv/Resume"]
    (here / "resumed").touch()
    sys.exit(0)
assert sys.argv[1:3] == ["bag", "play"]
(here / "asked.json").write_text(json.dumps(sys.argv[3:]))
def option(name):
    return sys.argv[sys.argv.index(name) + 1]
assert "--start-paused" in sys.argv and "--disable-keyboard-controls" in sys.argv
import rclpy
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from contextnet_ros.ros.bag_io import BagReader
rclpy.init(args=[])
node = rclpy.create_node("rosbag2_player")
publisher = node.create_publisher(Image, option("--topics"), QoSProfile(depth=10))
while not (here / "resumed").exists():
    time.sleep(0.02)
with BagReader(pathlib.Path(sys.argv[3])) as bag:
    messages = list(bag.raw_messages(option("--topics")))
start = time.monotonic()
for time_ns, message in messages:
    due = (time_ns - messages[0][0]) / 1e9 / float(option("--rate"))
    time.sleep(max(0, start + due - time.monotonic()))
    publisher.publish(message)
time.sleep(0.5)
"""


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    source = generated_source(frames=FRAMES, height=96, width=160, seed=1)
    make_bag(source, tmp_path / "bag", BagFormat(rate_hz=10), progress=False)
    return tmp_path / "bag"


def run(bag: Path, weights: Path, path: str, *arguments: object):
    command = [sys.executable, "-m", "contextnet_ros.ros.bag_benchmark", str(bag)]
    command += ["--model", str(weights), "--device", "cpu", "--param", "num_threads:=1"]
    return subprocess.run(
        [*command, "--player", "ros2", *map(str, arguments)],
        cwd=REPOSITORY,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=280,
    )


@pytest.mark.ros
def test_the_bag_is_played_paused_resumed_and_accounted_for(
    tmp_path: Path, bag: Path, weights: Path
) -> None:
    pytest.importorskip("rclpy", reason="rclpy is not installed: the benchmark needs ROS 2")
    path = os.environ["PATH"]
    real = shutil.which("ros2") is not None
    if not real:
        script = tmp_path / "bin" / "ros2"
        script.parent.mkdir()
        script.write_text(STAND_IN.format(python=sys.executable))
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        path = f"{script.parent}{os.pathsep}{path}"
    done = run(bag, weights, path, "--rate", 0.3, "--json", tmp_path / "r.json")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    f = report["frames"]
    assert f["in_bag"] == f["sent"] == FRAMES
    assert f["sent"] == f["received"] + f["not_taken"]
    assert f["monitored"] > 0
    (only,) = report["measurements"]
    assert only["asked_hz"] == pytest.approx(3)
    assert only["latency"]["frames"] <= f["monitored"]
    if not real:
        asked = json.loads((tmp_path / "bin" / "asked.json").read_text())
        assert asked[asked.index("--topics") + 1] == "/camera/image_raw"
        assert asked[asked.index("--rate") + 1] == "0.3"
        assert int(asked[asked.index("--read-ahead-queue-size") + 1]) == FRAMES


def test_without_ros2_it_is_said_what_is_missing(
    bag: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(bag))
    arguments = [str(bag), "--model", str(weights), "--player", "ros2", "--rate", "1"]
    assert bag_benchmark.main(arguments) == 1
    assert "ros2 is not on the PATH" in capsys.readouterr().err
