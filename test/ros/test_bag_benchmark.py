"""The bag benchmark as a user runs it: the real node, player and recorder over DDS."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from ros_harness import REPOSITORY

pytest.importorskip("rclpy", reason="rclpy is not installed: the benchmark needs ROS 2")

from contextnet_ros.ros import bag_benchmark
from contextnet_ros.ros.bag_io import BagReader
from contextnet_ros.ros.bag_make import BagFormat, make_bag
from contextnet_ros.ros.frame_sources import FrameSource, generated_source

FRAMES = 6


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "contextnet_ros.ros.bag_benchmark", *map(str, arguments)]
    # One thread, so that small frames don't wait for each other's threads on a busy machine.
    options = ["--device", "cpu", "--param", "num_threads:=1", "--host", "tested"]
    return subprocess.run(
        [*command, *options], cwd=REPOSITORY, capture_output=True, text=True, timeout=280
    )


def source() -> FrameSource:
    return generated_source(frames=FRAMES, height=96, width=160, seed=900_000)


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A bag and its truth."""
    folder = tmp_path_factory.mktemp("streets")
    make_bag(source(), folder / "bag", BagFormat(), truth=folder / "truth", progress=False)
    return folder / "bag", folder / "truth"


@pytest.fixture(scope="module")
def one_rate(tmp_path_factory: pytest.TempPathFactory, weights: Path, streets):
    pytest.importorskip("rclpy", reason="rclpy is not installed: the benchmark needs ROS 2")
    _, truth = streets
    out = tmp_path_factory.mktemp("out")
    make_bag(source(), out / "jpeg", BagFormat("mcap", "jpeg"), progress=False)
    done = run(
        out / "jpeg", "--model", weights, "--hz", 3, "--truth", truth,
        "--json", out / "r.json", "--html", out / "r.html",
        "--assert", "missed<101%", "--assert", "p99_ms<0.001",
    )  # fmt: skip
    return out, done


@pytest.mark.ros
def test_an_assertion_that_does_not_hold_sets_the_exit_code(one_rate) -> None:
    out, done = one_rate
    assert done.returncode == bag_benchmark.ASSERTION_FAILED, done.stderr
    report = json.loads((out / "r.json").read_text())
    assert [bool(a["failed"]) for a in report["assertions"]] == [False, True]
    assert "missed<101%: holds" in done.stdout
    assert "p99_ms<0.001: p99_ms is" in done.stdout


@pytest.mark.ros
def test_one_rate_is_one_run_of_the_whole_compressed_bag_with_every_frames_fate(one_rate) -> None:
    out, _ = one_rate
    report = json.loads((out / "r.json").read_text())
    (only,) = report["measurements"]
    assert (only["kind"], only["asked_hz"], only["runs"]) == ("given", 3, 1)
    assert report["search"] == []
    f = report["frames"]
    assert f["in_bag"] == f["sent"] + f["not_sent"] == FRAMES
    assert f["sent"] == f["received"] + f["not_taken"]
    assert f["received"] == f["superseded"] + f["bad"] + f["published"] + f["pending"]
    assert f["published"] == f["monitored"] + f["lost_out"]
    assert f["monitored"] > 0
    metrics = only["metrics"]
    assert metrics["NUM_FRAMES_SENT"] == f["sent"]
    assert metrics["NUM_MISSED_FRAMES"] == f["sent"] - f["monitored"]
    assert 0 < metrics["MIN_LATENCY"] <= only["latency"]["p50_ms"] <= metrics["MAX_LATENCY"]
    assert only["use"]["node_memory_max_bytes"] > 0
    assert report["input"]["topic"] == "/camera/image_raw/compressed"
    assert report["input"]["storage"] == "mcap"
    metadata = report["metadata"]
    assert metadata["DEVICE_HOSTNAME"] == "tested"
    assert metadata["DATA_RESOLUTION"] == "160x96"


@pytest.mark.ros
def test_the_nodes_stages_add_up_to_the_mean_latency(one_rate) -> None:
    out, _ = one_rate
    (only,) = json.loads((out / "r.json").read_text())["measurements"]
    means = {name: stage["mean_ms"] for name, stage in only["stages"].items()}
    assert set(means) >= {"transport_in", "decode", "network", "message_fill", "transport_out"}
    assert all(value > -0.5 for value in means.values())
    assert sum(means.values()) == pytest.approx(only["latency"]["mean_ms"], rel=1e-6)


@pytest.mark.ros
def test_the_score_is_of_the_labels_that_came(one_rate) -> None:
    out, done = one_rate
    report = json.loads((out / "r.json").read_text())
    score = report["score"]
    assert score["frames"] == report["frames"]["monitored"]
    assert score["frames_with_truth"] == FRAMES
    # Nothing of the scenes' truth but what CamVid has no class for stays unscored.
    assert 0 < score["scored_pixels"] <= score["frames"] * 96 * 160
    assert f"over {score['frames']} published labels of {FRAMES}" in done.stdout
    assert (out / "r.html").read_text().startswith("<!doctype html>")


@pytest.mark.ros
def test_without_a_rate_the_peak_is_searched_and_fixed_rates_are_beside_it(
    tmp_path: Path, weights: Path, streets
) -> None:
    pytest.importorskip("rclpy", reason="rclpy is not installed: the benchmark needs ROS 2")
    bag, _ = streets
    done = run(
        bag, "--model", weights, "--run-s", 0.4, "--runs", 2, "--fixed", "5", "--max-hz", 12,
        "--json", tmp_path / "r.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    assert [(m["kind"], m["runs"]) for m in report["measurements"]] == [("peak", 2), ("fixed", 1)]
    assert report["measurements"][0]["asked_hz"] == report["peak_hz"] > 0
    assert report["search"]
    assert len(report["round_trips_ms"]) >= 1
    counts = [m["frames"]["in_bag"] for m in report["measurements"]]
    assert report["frames"]["in_bag"] == sum(counts)
    assert "peak" in done.stdout
    assert report["faults"] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--topic", "/nothing"], "no image topic /nothing"),
        (["--truth", "/nowhere"], "/nowhere: no such folder"),
        (["--model", "no-such-model"], "no-such-model"),
        (["--param", "modle:=x"], "parameter modle is unknown (did you mean model?)"),
        (["--param", "model:=x"], "--param model: give --model"),
        (["--html", "/proc/a.html"], "cannot write /proc/a.html"),
    ],
)
def test_a_mistake_gets_one_line(
    streets, weights: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = [] if "--model" in arguments else ["--model", str(weights)]
    assert bag_benchmark.main([str(streets[0]), *model, *arguments]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1


def test_truth_of_other_frames_is_refused(
    streets, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag, truth = streets
    other = tmp_path / "masks"
    other.mkdir()
    (other / "another_frame.png").write_bytes(next(truth.glob("*.png")).read_bytes())
    assert bag_benchmark.main([str(bag), "--model", str(weights), "--truth", str(other)]) == 1
    with BagReader(bag) as reader:
        first = next(iter(reader.frame_names().values()))
    assert f"names none of the bag's frames; the first is '{first}'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--hz", "3", "--rate", "1"],
        ["--player", "ros2"],
        ["--assert", "speed>3"],
        ["--param", "num_threads=1"],
        ["--fixed", "10,-3"],
    ],
)
def test_wrong_options_are_refused(arguments: list[str], capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        bag_benchmark.main(["somewhere", *arguments])
    assert stopped.value.code == 2
    assert "Traceback" not in capsys.readouterr().err
