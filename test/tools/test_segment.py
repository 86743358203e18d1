from __future__ import annotations

import json
import re
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from contextnet_ros.files import UserError
from contextnet_ros.inference import Segmenter
from contextnet_ros.labels import CAMVID
from contextnet_ros.tools.media import write_image, writing_video
from contextnet_ros.tools.segment import main


@pytest.fixture(scope="module")
def segmenter(weights):
    return Segmenter.load(weights, device="cpu", outputs=("label", "overlay"))


@pytest.fixture
def run(weights, tmp_path, monkeypatch):
    """Run the command in `tmp_path` with small random weights; returns its exit code."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: main([*arguments, "--model", str(weights), "--device", "cpu"])


def image(height=40, width=56, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def write_video(path, frames):
    size = frames[0].shape[1::-1]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, size)
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no MP4")
    for frame in frames:
        writer.write(frame)
    writer.release()


def read_video(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (frame := capture.read()[1]) is not None:
        frames.append(frame)
    return frames, capture.get(cv2.CAP_PROP_FPS)


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def one_line(capsys):
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


def test_an_image_gets_the_segmenters_label_and_overlay(run, tmp_path, segmenter):
    cv2.imwrite("street.png", image())
    assert run("street.png", "-o", "out") == 0
    expected = segmenter(image())
    label = cv2.imread("out/street_label.png", cv2.IMREAD_UNCHANGED)
    assert len(np.unique(label)) > 1
    np.testing.assert_array_equal(label, expected.label)
    np.testing.assert_array_equal(cv2.imread("out/street_overlay.png"), expected.overlay)
    assert files(tmp_path / "out") == ["street_label.png", "street_overlay.png"]


def test_options_reach_the_results(run, tmp_path, segmenter):
    cv2.imwrite("street.png", image())
    options = ("--opacity", "1", "--color", "--network-size", "scale 0.5")
    assert run("street.png", "-o", "out", *options) == 0
    label = cv2.imread("out/street_label.png", cv2.IMREAD_UNCHANGED)
    assert (label != segmenter(image()).label).any()
    np.testing.assert_array_equal(cv2.imread("out/street_color.png"), CAMVID.colorize(label))
    np.testing.assert_array_equal(cv2.imread("out/street_overlay.png"), CAMVID.colorize(label))
    assert run("street.png", "-o", "jpeg", "--overlay-format", "jpg") == 0
    assert files(tmp_path / "jpeg") == ["street_label.png", "street_overlay.jpg"]


def test_a_folder_keeps_its_subfolders_and_results_inside_it_are_left_alone(run, tmp_path):
    for name in ("in/a.png", "in/sub/deep/b.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(name, image())
    (tmp_path / "in/notes.txt").write_text("no image")
    expected = [
        "a_label.png",
        "a_overlay.png",
        "sub/deep/b_label.png",
        "sub/deep/b_overlay.png",
    ]
    for _ in range(2):
        assert run("in", "-o", "in/out") == 0
        assert files(tmp_path / "in" / "out") == expected


def test_an_unreadable_image_is_named_and_the_rest_is_done(run, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    cv2.imwrite("in/good.png", image())
    (tmp_path / "in/bad.png").write_bytes((tmp_path / "in/good.png").read_bytes()[:50])
    (tmp_path / "in/empty.jpg").touch()
    assert run("in", "-o", "out", "--json", "out/measured.json") == 1
    warnings = [
        line for line in capsys.readouterr().err.splitlines() if line.startswith("contextnet-seg")
    ]
    assert len(warnings) == 3
    assert "in/bad.png" in warnings[0]
    assert "in/empty.jpg" in warnings[1]
    assert "2 of 3" in warnings[2]
    assert files(tmp_path / "out") == ["good_label.png", "good_overlay.png", "measured.json"]
    measured = json.loads((tmp_path / "out/measured.json").read_text())
    assert measured["unreadable"] == ["in/bad.png", "in/empty.jpg"]
    assert measured["frames"] == 1


def test_a_video_becomes_an_overlay_video_and_labels(run, segmenter):
    write_video("drive.mp4", [cv2.resize(image(6, 8, seed), (96, 64)) for seed in range(3)])
    inputs, _ = read_video("drive.mp4")
    assert run("drive.mp4", "-o", "out", "--video-labels") == 0
    overlays, fps = read_video("out/drive_overlay.mp4")
    assert len(overlays) == 3
    assert fps == pytest.approx(10)
    for index, frame in enumerate(inputs):
        expected = segmenter(frame)
        label = cv2.imread(f"out/drive_label/{index:06d}.png", cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(label, expected.label)
        # Video compression changes pixels, but no overlay into a frame.
        difference = np.abs(overlays[index].astype(int) - expected.overlay).mean()
        assert difference < np.abs(overlays[index].astype(int) - frame).mean()


def test_a_broken_video_leaves_no_file_behind(run, tmp_path, capsys):
    (tmp_path / "drive.mp4").write_bytes(b"no video")
    assert run("drive.mp4", "-o", "out") == 1
    assert "drive.mp4 cannot be read as a video" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_json_says_what_was_measured_on_what(run, tmp_path):
    cv2.imwrite("a.png", image())
    cv2.imwrite("b.png", image(seed=1))
    assert run("a.png", "b.png", "-o", "out", "--json", "measured.json") == 0
    measured = json.loads((tmp_path / "measured.json").read_text())
    assert measured["frames"] == 2
    assert measured["model"] == "random"
    assert measured["network_size"] == "frame"
    assert measured["fps"] == pytest.approx(2 / measured["seconds"])
    stages = {"read", "preprocess", "network", "postprocess", "write"}
    assert set(measured["stage_ms"]) == stages
    assert measured["provenance"]["versions"]["opencv"] == cv2.__version__


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("missing.png",), "missing.png does not exist"),
        (("notes.txt",), "notes.txt is neither image nor video"),
        (("nothing",), "nothing has no images"),
        (("one/a.png", "two/a.png"), "one/a.png and two/a.png would both"),
        (("one", "-o", "one"), "input and output"),
        (("one", "--opacity", "2"), "opacity 2.0 .*0 to 1"),
        (("one", "--network-size", "big"), "'big'"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_1(run, tmp_path, capsys, arguments, says):
    for folder in ("one", "two", "nothing"):
        (tmp_path / folder).mkdir()
    (tmp_path / "notes.txt").touch()
    for name in ("one/a.png", "two/a.png"):
        cv2.imwrite(name, image())
    output = () if "-o" in arguments else ("-o", "out")
    assert run(*arguments, *output) == 1
    line = one_line(capsys)
    assert line.startswith("contextnet-segment: error: ")
    assert re.search(says, line)
    assert not (tmp_path / "out").exists()


def test_an_unknown_model_is_one_line_and_exit_code_1(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("a.png", image())
    assert main(["a.png", "-o", "out", "--model", "missing.safetensors"]) == 1
    assert "missing.safetensors does not exist" in one_line(capsys)


def test_help_has_examples(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    assert "contextnet-segment street.jpg -o out" in capsys.readouterr().out


def test_an_image_too_large_to_decode_is_named_and_the_others_are_done(run, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    cv2.imwrite("in/b.png", image())
    whole = (tmp_path / "in" / "b.png").read_bytes()
    size = struct.pack(">II", 60000, 60000)
    header = b"IHDR" + size + whole[24:29]
    checked = header + struct.pack(">I", zlib.crc32(header))
    (tmp_path / "in" / "a.png").write_bytes(whole[:12] + checked + whole[33:])
    assert run("in", "-o", "out") == 1
    told = capsys.readouterr().err
    assert re.search(r"in/a\.png cannot be read as an image \(.+\)", told)
    assert "1 of 2 inputs" in told
    assert "b_label.png" in files(tmp_path / "out")


def test_a_video_that_is_cut_off_is_told(run, tmp_path, capsys):
    path = tmp_path / "drive.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (56, 40))
    for seed in range(10):
        video.write(image(seed=seed))
    video.release()
    assert run("drive.avi", "-o", "out") == 0
    assert "cut off" not in capsys.readouterr().err
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert run("drive.avi", "-o", "out") == 0
    assert re.search(r"drive\.avi has \d frames that can be read, .* 10", capsys.readouterr().err)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a full disk")
def test_a_picture_on_a_full_disk_is_one_line(tmp_path):
    path = tmp_path / "label.png"
    path.symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"cannot write .*label\.png: No space left"):
        write_image(path, np.zeros((4, 4), np.uint8))


def test_a_video_that_the_disk_has_no_room_for_is_told(tmp_path):
    resource = pytest.importorskip("resource", reason="needs limits of a file's size")
    path = tmp_path / "overlay.mp4"
    path.write_bytes(b"old")
    random = np.random.default_rng(0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def write():
        with writing_video(path, 10) as video:
            for _ in range(20):
                video.write(random.integers(0, 256, (120, 160, 3), np.uint8))

    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(UserError, match=r"cannot write .*overlay\.mp4: it is not whole"):
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"old"
    write()
    assert path.stat().st_size > 20_000
