from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from contextnet_ros.labels import CAMVID, CITYSCAPES
from contextnet_ros.ros import bag_make
from contextnet_ros.ros.bag_io import BagReader
from contextnet_ros.ros.bag_make import CAMERA_TOPIC, read_classes
from contextnet_ros.training.scenes import render_frame


def image(seed: int, height: int = 12, width: int = 20) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), array)


def photos(folder: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        save(folder / name, image(seed))
    return folder


def make(*arguments: object) -> int:
    return bag_make.main([str(argument) for argument in arguments])


def frames_of(bag_path: Path) -> tuple[list[str], list[int], list[np.ndarray]]:
    with BagReader(bag_path) as bag:
        frames = list(bag.images(bag.camera_topic()))
        names = bag.frame_names()
    stamps = [stamp for stamp, _ in frames]
    return [names[stamp] for stamp in stamps], stamps, [i for _, i in frames]


def truth(folder: Path, name: str) -> np.ndarray:
    return cv2.imread(str(folder / f"{name}.png"), cv2.IMREAD_UNCHANGED)


def one_error_line(capsys: pytest.CaptureFixture[str]) -> str:
    # The progress bar writes to the same stream.
    lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
@pytest.mark.parametrize("compressed", [None, "png"])
def test_a_folder_of_images_keeps_names_order_and_pixels(
    tmp_path: Path, storage: str, compressed: str | None
) -> None:
    photos(tmp_path / "in", "a_10.png", "a_9.bmp", "b.png")
    (tmp_path / "in" / "notes.txt").write_text("not an image")
    extra = ["--compressed", compressed] if compressed else []
    assert make(tmp_path / "in", "-o", tmp_path / "bag", "--storage", storage, *extra) == 0
    names, _, images = frames_of(tmp_path / "bag")
    assert names == ["a_9", "a_10", "b"]
    for pixels, seed in zip(images, (1, 0, 2), strict=True):
        np.testing.assert_array_equal(pixels, image(seed))
    with BagReader(tmp_path / "bag") as bag:
        expected = f"{CAMERA_TOPIC}/compressed" if compressed else CAMERA_TOPIC
        assert list(bag.image_topics()) == [expected]


def test_stamps_grow_at_the_rate(tmp_path: Path) -> None:
    photos(tmp_path / "in", *(f"{i}.png" for i in range(7)))
    assert make(tmp_path / "in", "-o", tmp_path / "bag", "--rate", 30) == 0
    _, stamps, _ = frames_of(tmp_path / "bag")
    steps = np.diff(stamps)
    assert (np.abs(steps - 1e9 / 30) <= 1).all()
    # Rounding does not add up.
    assert abs(stamps[-1] - stamps[0] - 6e9 / 30) <= 1


def test_topic_frame_id_encoding_and_size_are_as_asked(tmp_path: Path) -> None:
    photos(tmp_path / "in", "a.png")
    asked = ["--topic", "/front/image", "--frame-id", "front", "--encoding", "rgb8"]
    report = tmp_path / "made.json"
    assert make(tmp_path / "in", "-o", tmp_path / "bag", *asked, "--size", "24x40") == 0
    assert make(tmp_path / "bag", "-o", tmp_path / "again", "--json", report) == 0
    with BagReader(tmp_path / "bag") as bag:
        (_, data), *_ = bag.raw_messages("/front/image")
    assert b"front\0" in data[:40]
    assert b"rgb8\0" in data[:60]
    made = json.loads(report.read_text())
    assert (made["frames"], made["sizes"]) == (1, ["24x40"])
    names, _, (again,) = frames_of(tmp_path / "again")
    assert names == ["a"]
    np.testing.assert_array_equal(again, cv2.resize(image(0), (40, 24)))


def test_files_of_one_stem_keep_their_names_apart(tmp_path: Path) -> None:
    photos(tmp_path / "in", "a.png", "a.bmp", "c.png")
    assert make(tmp_path / "in", "-o", tmp_path / "bag") == 0
    assert frames_of(tmp_path / "bag")[0] == ["a.bmp", "a.png", "c"]


def test_images_in_subfolders_are_named_by_their_paths(tmp_path: Path) -> None:
    photos(tmp_path / "in", "b/1.png", "a/10.png", "a/2.png")
    assert make(tmp_path / "in", "-o", tmp_path / "bag") == 0
    assert frames_of(tmp_path / "bag")[0] == ["a/2", "a/10", "b/1"]


@pytest.mark.parametrize(
    "topic", ["bad topic!", "camera", "/camera//image", "/camera/", "/1st", ""]
)
def test_what_is_no_topic_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], topic: str
) -> None:
    photos(tmp_path / "in", "a.png")
    with pytest.raises(SystemExit) as ended:
        make(tmp_path / "in", "-o", tmp_path / "bag", "--topic", topic)
    assert ended.value.code == 2
    assert repr(topic) in one_error_line(capsys)
    assert not (tmp_path / "bag").exists()


def test_generated_scenes_come_with_their_truth(tmp_path: Path) -> None:
    arguments = ("--size", "48x96", "--frames", 9, "--seed", 5, "--truth", tmp_path / "truth")
    assert make("generated", "-o", tmp_path / "bag", *arguments) == 0
    names, _, images = frames_of(tmp_path / "bag")
    assert len(set(names)) == 9
    # Nine frames are one drive of eight and the first frame of the next.
    scenes = [render_frame(5, index, 48, 96) for index in range(8)] + [render_frame(6, 0, 48, 96)]
    assert names == [scene.name for scene in scenes]
    for name, pixels, scene in zip(names, images, scenes, strict=True):
        np.testing.assert_array_equal(pixels, scene.image_bgr)
        np.testing.assert_array_equal(truth(tmp_path / "truth", name), scene.label)
    assert read_classes(tmp_path / "truth") == CITYSCAPES


def test_the_same_source_gives_the_same_messages(tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert make("generated", "-o", tmp_path / name, "--size", "32x64", "--frames", 3) == 0
    one, two = (
        list(BagReader(tmp_path / name).raw_messages(CAMERA_TOPIC)) for name in ("one", "two")
    )
    assert one == two


def camvid(root: Path) -> Path:
    for index in range(3):
        save(root / "val" / f"clip_{index}.png", image(index))
        label = np.arange(240, dtype=np.uint8).reshape(12, 20) % 12
        save(root / "valannot" / f"clip_{index}.png", label)
    return root


@pytest.mark.parametrize("source", ["camvid:{}/val", "{}/val", "{}", "camvid:{}"])
def test_camvid_truth_has_eleven_classes_and_255(tmp_path: Path, source: str) -> None:
    named = source.format(camvid(tmp_path / "camvid"))
    assert make(named, "-o", tmp_path / "bag", "--truth", tmp_path / "truth") == 0
    names, _, images = frames_of(tmp_path / "bag")
    assert names == ["clip_0", "clip_1", "clip_2"]
    np.testing.assert_array_equal(images[2], image(2))
    label = truth(tmp_path / "truth", "clip_1")
    assert set(np.unique(label)) == {*range(11), 255}
    assert read_classes(tmp_path / "truth") == CAMVID


# Of Cityscapes' own table: 7 road, 8 sidewalk, 11 building, 33 bicycle, 26 car, 0 unlabeled,
# 29 caravan (not evaluated).
LABEL_IDS = (7, 8, 11, 33, 26, 0, 29)
TRAIN_IDS = (0, 1, 2, 18, 13, 255, 255)


def cityscapes(root: Path, kind: str | None) -> Path:
    for city in ("aachen", "bonn"):
        save(root / "leftImg8bit" / "val" / city / f"{city}_000000_leftImg8bit.png", image(1))
        if kind is not None:
            values = np.array(LABEL_IDS if kind == "labelIds" else TRAIN_IDS, np.uint8)
            label = np.resize(values, (12, 20))
            save(root / "gtFine" / "val" / city / f"{city}_000000_gtFine_{kind}.png", label)
    return root


@pytest.mark.parametrize("kind", ["labelIds", "labelTrainIds"])
def test_cityscapes_truth_is_in_train_ids(tmp_path: Path, kind: str) -> None:
    root = cityscapes(tmp_path / "cityscapes", kind)
    assert make(root, "-o", tmp_path / "bag", "--truth", tmp_path / "truth") == 0
    assert frames_of(tmp_path / "bag")[0] == ["aachen_000000", "bonn_000000"]
    expected = np.resize(np.array(TRAIN_IDS, np.uint8), (12, 20))
    np.testing.assert_array_equal(truth(tmp_path / "truth", "bonn_000000"), expected)
    assert read_classes(tmp_path / "truth") == CITYSCAPES


def test_cityscapes_without_labels_makes_a_bag_but_no_truth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = cityscapes(tmp_path / "cityscapes", None)
    assert make(root, "-o", tmp_path / "bag") == 0
    assert make(root, "-o", tmp_path / "other", "--truth", tmp_path / "truth") == 1
    assert "no labels" in one_error_line(capsys)
    assert not (tmp_path / "other").exists()


def test_labels_are_resized_without_new_values(tmp_path: Path) -> None:
    root = camvid(tmp_path / "camvid")
    arguments = ("--size", "31x47", "--truth", tmp_path / "truth")
    assert make(root, "-o", tmp_path / "bag", *arguments) == 0
    label = truth(tmp_path / "truth", "clip_0")
    assert label.shape == (31, 47)
    assert set(np.unique(label)) == {*range(11), 255}


def test_every_frame_of_a_video_is_taken_in_order(tmp_path: Path) -> None:
    path = tmp_path / "drive.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (64, 48))
    for level in (20, 90, 160, 230):
        video.write(np.full((48, 64, 3), level, np.uint8))
    video.release()
    assert make(path, "-o", tmp_path / "bag") == 0
    names, _, images = frames_of(tmp_path / "bag")
    assert names == [f"drive_{index:06d}" for index in range(4)]
    assert [round(float(i.mean()) / 10) for i in images] == [2, 9, 16, 23]


def test_an_existing_bag_is_kept_unless_forced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos(tmp_path / "in", "a.png")
    assert make(tmp_path / "in", "-o", tmp_path / "bag") == 0
    capsys.readouterr()
    assert make(tmp_path / "in", "-o", tmp_path / "bag") == 1
    assert "--force" in one_error_line(capsys)
    photos(tmp_path / "in", "a.png", "b.png")
    assert make(tmp_path / "in", "-o", tmp_path / "bag", "--force") == 0
    assert frames_of(tmp_path / "bag")[0] == ["a", "b"]


def break_image(root: Path) -> Path:
    photos(root, "a.png", "b.png")
    (root / "b.png").write_bytes(b"not a picture")
    return root


def missing_label(root: Path) -> Path:
    camvid(root)
    (root / "valannot" / "clip_1.png").unlink()
    return root


def broken_video(root: Path) -> Path:
    root.mkdir()
    (root / "drive.mp4").write_bytes(b"not a video")
    return root / "drive.mp4"


def empty(root: Path) -> Path:
    root.mkdir()
    return root


def other_size(root: Path) -> Path:
    cityscapes(root, "labelIds")
    label = root / "gtFine" / "val" / "bonn" / "bonn_000000_gtFine_labelIds.png"
    save(label, np.zeros((6, 10), np.uint8))
    return root


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda root: root, "no such file or folder"),
        (empty, "no images"),
        (break_image, "b.png"),
        (missing_label, "clip_1.png"),
        (broken_video, "drive.mp4"),
        (other_size, "bonn_000000"),
    ],
)
def test_bad_input_gets_one_line_and_leaves_no_bag(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], prepare, said: str
) -> None:
    source = prepare(tmp_path / "source")
    assert make(source, "-o", tmp_path / "out" / "bag") == 1
    assert said in one_error_line(capsys)
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [("--size", "12"), ("--size", "0x5"), ("--rate", "0"), ("--rate", "nan"), ("--frames", "-1")],
)
def test_a_wrong_option_is_refused(
    capsys: pytest.CaptureFixture[str], wrong: tuple[str, str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        make("generated", "-o", "bag", *wrong)
    assert ended.value.code == 2
    assert wrong[1] in one_error_line(capsys)


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        make("--help")
    assert "contextnet-bag-make generated -o" in capsys.readouterr().out
