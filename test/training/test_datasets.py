"""Data sets, and what a broken one is told."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from contextnet_ros.files import UserError
from contextnet_ros.labels import CAMVID, CITYSCAPES, CITYSCAPES_TO_CAMVID, ClassTable
from contextnet_ros.training import datasets
from contextnet_ros.training.datasets import (
    GeneratedScenes,
    InMemory,
    combined_licence,
    ready,
)
from contextnet_ros.training.folders import CamVid
from contextnet_ros.training.paired_files import PairedFiles
from contextnet_ros.training.sources import open_data, trains_on


def test_camvid_reads_pairs_by_name_and_ignores_unlabelled(camvid: Path) -> None:
    data = CamVid(camvid, "train")
    assert [data.name(i) for i in range(len(data))] == ["f000", "f001", "f002"]
    for (image, label), (made, truth) in zip(data, GeneratedScenes(50, 3, (72, 96)), strict=True):
        np.testing.assert_array_equal(image, made)
        np.testing.assert_array_equal(label, truth)
        assert 11 not in label


def test_a_missing_label_is_named_with_the_count(camvid: Path) -> None:
    (camvid / "trainannot" / "f001.png").unlink()
    with pytest.raises(UserError, match=r"2 pairs found.*1 labels missing.*f001\.png"):
        CamVid(camvid, "train")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "trainannot").mkdir()
    with pytest.raises(UserError, match="0 pairs found"):
        CamVid(tmp_path, "train")


def test_a_label_outside_the_table_is_named(camvid: Path) -> None:
    path = camvid / "trainannot" / "f001.png"
    label = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    label[0, :5] = 77
    label[1, :3] = 78
    cv2.imwrite(str(path), label)
    with pytest.raises(UserError, match=r"f001\.png holds the value 77 at 5 pixels"):
        InMemory(CamVid(camvid, "train"))


def test_a_label_of_another_size_is_named(camvid: Path) -> None:
    path = camvid / "trainannot" / "f001.png"
    cv2.imwrite(str(path), np.zeros((10, 20), np.uint8))
    with pytest.raises(UserError, match=r"f001\.png is 96 x 72, its label 20 x 10"):
        CamVid(camvid, "train")[1]


def test_an_unreadable_image_is_named(camvid: Path) -> None:
    (camvid / "train" / "f002.png").write_bytes(b"no png")
    with pytest.raises(UserError, match=r"f002\.png is no readable image"):
        InMemory(CamVid(camvid, "train"))


def test_a_jpeg_that_was_cut_off_is_refused(
    camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = CamVid(camvid, "train")
    photo = tmp_path / "photo.jpg"
    cv2.imwrite(str(photo), source[0][0])
    ids = {**{value: value for value in range(11)}, 11: 255}
    photos = PairedFiles(CAMVID, "", "one", [(photo, source.pairs[0][1])], ids)
    np.testing.assert_array_equal(photos[0][1], source[0][1])
    photo.write_bytes(photo.read_bytes()[: photo.stat().st_size // 2])
    for kept in (1 << 30, 0):
        monkeypatch.setattr(datasets, "KEPT_BYTES", kept)
        with pytest.raises(UserError, match=r"photo\.jpg is cut off, or its end is not marked"):
            ready(photos)


def test_a_label_with_a_palette_is_told_how_to_become_gray(camvid: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="needs Pillow (requirements-dev.txt)")
    path = camvid / "trainannot" / "f001.png"
    expected = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    coloured = image.fromarray(expected).convert("P")
    coloured.putdata(expected.ravel().tolist())
    coloured.putpalette([value * 20 for value in range(12) for _ in "rgb"])
    coloured.save(path)
    with pytest.raises(UserError, match=r"f001\.png is a PNG with a palette.*as gray") as caught:
        InMemory(CamVid(camvid, "train"))
    remedy = str(caught.value).split("`")[1]
    exec(remedy, {"Image": image, "numpy": np, "path": path})
    again = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(again, expected)


def test_a_large_data_set_with_a_cut_off_image_is_refused_before_training(
    camvid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "KEPT_BYTES", 0)
    path = camvid / "train" / "f002.png"
    whole = path.read_bytes()
    path.write_bytes(whole + b"\n")
    datasets.ready(CamVid(camvid, "train"))
    path.write_bytes(whole[:-5])
    with pytest.raises(UserError, match=r"f002\.png is cut off: copy it again"):
        datasets.ready(CamVid(camvid, "train"))


def test_generated_scenes_in_both_tables_are_the_same_scenes() -> None:
    camvid = GeneratedScenes(3, 2, (48, 96), CAMVID)
    cityscapes = GeneratedScenes(3, 2, (48, 96), CITYSCAPES)
    for (image, label), (same_image, same_label) in zip(camvid, cityscapes, strict=True):
        np.testing.assert_array_equal(image, same_image)
        np.testing.assert_array_equal(label, CITYSCAPES_TO_CAMVID[same_label])


def test_a_table_from_a_weight_file_gets_its_own_ids() -> None:
    read = ClassTable.from_dict(CAMVID.to_dict())
    for (_, label), (_, expected) in zip(
        GeneratedScenes(3, 2, (48, 96), read), GeneratedScenes(3, 2, (48, 96), CAMVID), strict=True
    ):
        np.testing.assert_array_equal(label, expected)


@pytest.mark.parametrize(
    ("seed", "scenes", "size"), [(-1, 1, (48, 96)), (0, 0, (48, 96)), (0, 1, (1, 96))]
)
def test_scenes_that_can_not_be_drawn_are_refused(
    seed: int, scenes: int, size: tuple[int, int]
) -> None:
    with pytest.raises(UserError, match="can't be drawn"):
        GeneratedScenes(seed, scenes, size)


def test_licences_of_all_sources_are_kept_once() -> None:
    assert combined_licence(["b", "a; c", "a"]) == "a; b; c"


def test_in_memory_is_the_same_data(camvid: Path) -> None:
    source = CamVid(camvid, "val")
    memory = InMemory(source)
    assert len(memory) == len(source)
    assert memory.licence == source.licence
    for (image, label), (same_image, same_label) in zip(memory, source, strict=True):
        np.testing.assert_array_equal(image, same_image)
        np.testing.assert_array_equal(label, same_label)


def test_recordings_are_held_out_or_singled_out(camvid: Path) -> None:
    names = {"f000.png": "0001TP_1.png", "f001.png": "0006R0_1.png", "f002.png": "0006R0_2.png"}
    for folder in (camvid / "train", camvid / "trainannot"):
        for old, new in names.items():
            (folder / old).rename(folder / new)
    entry = {"data": "camvid", "split": "train"}

    def found(**keys: object) -> list[str]:
        frames = open_data({**entry, **keys}, CAMVID, camvid)
        return [frames.name(index) for index in range(len(frames))]

    assert found(without="0006R0") == ["0001TP_1"]
    assert found(only=["0006R0"]) == ["0006R0_1", "0006R0_2"]
    assert found(only=["0001TP", "0006R0"], without=["0001TP"]) == ["0006R0_1", "0006R0_2"]
    with pytest.raises(UserError, match=r"no recording '0016E5', but 0001TP, 0006R0"):
        found(without="0016E5")
    with pytest.raises(UserError, match="no frames left"):
        found(without=["0001TP", "0006R0"])
    with pytest.raises(UserError, match="only is 5"):
        found(only=5)
    description = open_data({**entry, "only": "0006R0"}, CAMVID, camvid).description
    assert description == "camvid train of 0006R0 (2 frames)"


@pytest.mark.parametrize(
    ("entry", "trained_on"),
    [
        ({"data": "camvid", "split": "train"}, True),
        ({"data": "camvid", "split": "val"}, False),
        ({"data": "cityscapes", "split": "train"}, False),
        ({"data": "generated", "first_seed": 19, "num_scenes": 40}, True),
        ({"data": "generated", "first_seed": 20, "num_scenes": 40}, False),
        ({"data": "folders", "images": "a", "labels": "b", "table": "c"}, False),
    ],
)
def test_what_a_recipe_trains_on(entry, trained_on):
    scenes = {"data": "generated", "first_seed": 10, "num_scenes": 10}
    assert trains_on({"train": [{"data": "camvid", "split": "train"}, scenes]}, entry) is trained_on
    assert trains_on({}, entry) is False
