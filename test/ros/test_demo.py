"""The demo as a user runs it: in a process of its own, with all that it starts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from contextnet_ros.labels import CAMVID, CITYSCAPES_TO_CAMVID
from contextnet_ros.ros import demo
from contextnet_ros.ros.bag_io import BagReader
from contextnet_ros.ros.demo_picture import PictureRow, draw_picture

ROOT = Path(__file__).parents[2]
MARK = "CONTEXTNET_TEST_MARK"


def command(out: Path, *arguments: object) -> list[str]:
    head = [sys.executable, "-m", "contextnet_ros.ros.demo", "--out", str(out)]
    return [*head, "--device", "cpu", *map(str, arguments)]


def run(out: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(out, *arguments),
        cwd=ROOT,
        env={**os.environ, MARK: str(out)},
        capture_output=True,
        text=True,
        timeout=240,
    )


def processes_of(out: Path) -> list[int]:
    """Processes that inherited this run's mark in their environment."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue
        if f"{MARK}={out}".encode() in environment.split(b"\0"):
            found.append(int(folder.name))
    return found


def topics(bag: Path) -> dict[str, str]:
    with BagReader(bag) as reader:
        return reader.image_topics()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, weights: Path):
    pytest.importorskip("rclpy")
    out = tmp_path_factory.mktemp("demo") / "out"
    size = ("--size", "128x256", "--frames", 6, "--hz", 4)
    return out, run(out, "--model", weights, *size)


@pytest.mark.ros
def test_the_demo_ends_by_itself_with_success_and_leaves_no_process(finished) -> None:
    out, done = finished
    assert done.returncode == 0, done.stderr
    assert processes_of(out) == []


@pytest.mark.ros
def test_every_frames_fate_is_told_and_the_sums_hold(finished) -> None:
    out, done = finished
    report = json.loads((out / "demo.json").read_text())
    f = report["frames"]
    assert f["in_bag"] == f["sent"] + f["not_sent"] == 6
    assert f["sent"] == f["received"] + f["not_taken"]
    assert f["received"] == f["superseded"] + f["bad"] + f["published"] + f["pending"]
    assert f["published"] == f["monitored"] + f["lost_out"]
    assert f["monitored"] > 0
    assert f["bad"] == 0
    assert report["faults"] == []
    for text in ("in_bag 6 = sent", "p50", "p99", "mIoU", *CAMVID.names):
        assert text in done.stdout


@pytest.mark.ros
def test_the_bags_hold_the_camera_and_the_nodes_outputs(finished) -> None:
    out, _ = finished
    assert list(topics(out / "input_bag")) == ["/camera/image_raw"]
    assert set(topics(out / "output_bag")) == {"/segmenter/label", "/segmenter/overlay"}
    with BagReader(out / "input_bag") as before, BagReader(out / "output_bag") as after:
        stamps = {stamp for stamp, _ in before.images("/camera/image_raw")}
        labels = list(after.labels("/segmenter/label"))
    assert labels
    assert all(stamp in stamps and label.shape == (128, 256) for stamp, label in labels)


@pytest.mark.ros
def test_the_score_is_that_of_the_published_labels(finished) -> None:
    out, _ = finished
    with BagReader(out / "input_bag") as bag:
        names = bag.frame_names()
    hits = np.zeros(11)
    either = np.zeros(11)
    with BagReader(out / "output_bag") as bag:
        for stamp, label in bag.labels("/segmenter/label"):
            true = cv2.imread(str(out / "truth" / f"{names[stamp]}.png"), cv2.IMREAD_UNCHANGED)
            true = CITYSCAPES_TO_CAMVID[true]
            for index in range(11):
                mine, theirs = (label == index) & (true != 255), true == index
                hits[index] += (mine & theirs).sum()
                either[index] += (mine | theirs).sum()
    iou = 100 * hits[either > 0] / either[either > 0]
    report = json.loads((out / "demo.json").read_text())
    assert report["score"]["miou_percent"] == pytest.approx(iou.mean(), abs=0.01)
    assert report["score"]["frames"] == report["frames"]["monitored"]


@pytest.mark.ros
def test_the_picture_shows_camera_overlay_label_and_truth(finished) -> None:
    out, _ = finished
    picture = cv2.imread(str(out / "demo.png"))
    assert picture.shape[1] > 4 * 500
    assert picture.shape[0] > 500


@pytest.mark.ros
def test_a_folder_of_images_is_shown_without_truth(tmp_path: Path, weights: Path) -> None:
    pytest.importorskip("rclpy")
    (tmp_path / "photos").mkdir()
    for name in ("one", "two", "three"):
        image = np.random.default_rng(len(name)).integers(0, 256, (96, 160, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "photos" / f"{name}.png"), image)
    done = run(tmp_path / "out", "--model", weights, "--input", tmp_path / "photos")
    assert done.returncode == 0, done.stderr
    assert "no truth for this input" in done.stdout
    assert cv2.imread(str(tmp_path / "out" / "demo.png")) is not None
    assert json.loads((tmp_path / "out" / "demo.json").read_text())["score"] is None


@pytest.mark.ros
def test_ctrl_c_stops_all_that_was_started(tmp_path: Path, weights: Path) -> None:
    pytest.importorskip("rclpy")
    out = tmp_path / "out"
    arguments = ("--model", weights, "--size", "96x160", "--frames", 30, "--hz", 0.5)
    running = subprocess.Popen(
        command(out, *arguments),
        cwd=ROOT,
        env={**os.environ, MARK: str(out)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said = ""
        while "playing" not in said:
            line = running.stdout.readline()
            assert line, said
            said += line
        assert len(processes_of(out)) >= 4
        running.send_signal(signal.SIGINT)
        said += running.communicate(timeout=60)[0]
    finally:
        running.kill()
        running.wait()
    assert running.returncode == 130, said
    assert "Traceback" not in said
    end = time.monotonic() + 10
    while processes_of(out) and time.monotonic() < end:
        time.sleep(0.05)
    assert processes_of(out) == []
    assert not (out / "output_bag").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model", "/nowhere/weights.safetensors"), "/nowhere/weights.safetensors"),
        (("--model", "no-such-model"), "no-such-model"),
        (("--input", "/nowhere/frames"), "/nowhere/frames"),
    ],
)
def test_a_mistake_gets_one_line(
    tmp_path: Path,
    weights: Path,
    arguments: tuple[str, str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = () if arguments[0] == "--model" else ("--model", str(weights))
    assert demo.main(["--out", str(tmp_path / "out"), *model, *arguments]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1


def test_a_folder_that_holds_something_else_keeps_it(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("truth/mine.png", "input_bag/mine.txt", "demo.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert demo.main(["--out", str(tmp_path), "--model", str(weights)]) == 1
    assert "is not a bag" in capsys.readouterr().err
    kept = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert kept == ["demo.png", "input_bag/mine.txt", "truth/mine.png"]


def test_the_picture_has_the_palettes_colours_and_a_truth_column_only_with_truth() -> None:
    image = np.full((64, 128, 3), 127, np.uint8)
    label = np.full((64, 128), 3, np.uint8)
    bare = PictureRow("a", image, image, label, None)
    known = PictureRow("b", image, image, label, np.full((64, 128), 8, np.uint8))
    narrow = draw_picture([bare], CAMVID, "title", "footer")
    wide = draw_picture([bare, known], CAMVID, "title", "footer")
    assert wide.shape[1] > narrow.shape[1] * 1.2
    road, car = CAMVID.palette_bgr()[[3, 8]]

    def area(picture: np.ndarray, colour: np.ndarray) -> int:
        return int((picture == colour).all(axis=2).sum())

    # One label cell of road is 600 x 300 pixels; of car there is the legend alone.
    assert area(narrow, road) >= 600 * 300
    assert area(narrow, car) < 600 * 30
    assert area(wide, car) >= 600 * 300
