"""Cityscapes and folders of users: what is read, and what a broken tree is told."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from contextnet_ros.files import UserError
from contextnet_ros.labels import (
    CAMVID,
    CITYSCAPES,
    CITYSCAPES_CATEGORIES,
    CITYSCAPES_LABEL_IDS,
    CITYSCAPES_TO_CAMVID,
)
from contextnet_ros.training import datasets
from contextnet_ros.training.datasets import (
    GeneratedScenes,
    InMemory,
    LabelledFrames,
    ready,
)
from contextnet_ros.training.folders import Cityscapes, Folders
from contextnet_ros.training.paired_files import PairedFiles
from contextnet_ros.training.recipe import Recipe
from contextnet_ros.training.sources import Shelf, open_data, parse_roots
from contextnet_ros.training.start import check_labelled
from contextnet_ros.training.tables import class_lookup, find_table, load_table

TABLE = """
name: farm
classes:
  - {name: field, color: [10, 200, 10], value: [3, 4]}
  - {name: cow, color: [120, 60, 20], value: 7}
  - {name: sky, color: [70, 130, 180], value: 2}
ignore: [0, 255]
"""


@pytest.fixture
def farm(tmp_path: Path) -> Path:
    root = tmp_path / "farm"
    for folder in ("images/north", "masks/north"):
        (root / folder).mkdir(parents=True)
    for index in range(2):
        cv2.imwrite(str(root / f"images/north/p{index}.jpg"), np.full((8, 6, 3), 90, np.uint8))
        mask = np.array([[0, 2, 3, 4, 7, 255]] * 8, np.uint8)
        cv2.imwrite(str(root / f"masks/north/p{index}.png"), mask)
    (root / "farm.yaml").write_text(TABLE)
    return root


def farm_entry(root: Path, **changes: object) -> dict[str, object]:
    entry = {"data": "folders", "images": "images", "labels": "masks", "table": "farm.yaml"}
    return {**entry, "root": str(root), **changes}


def test_cityscapes_label_ids_become_train_ids(cityscapes: Path) -> None:
    data = Cityscapes(cityscapes, "train")
    assert data.table == CITYSCAPES
    names = [data.name(index) for index in range(len(data))]
    assert names == ["aachen_000000_000019", "aachen_000002_000019", "zurich_000001_000019"]
    truths = list(GeneratedScenes(60, 3, (64, 96), CITYSCAPES))
    for name, (image, label) in zip(names, data, strict=True):
        made, truth = truths[int(name[7:13])]
        np.testing.assert_array_equal(image, made)
        np.testing.assert_array_equal(label[8:], truth[8:])
        assert (label[:4, :16] == 255).all(), "static and caravan are not scored"


def test_instances_come_with_the_label_and_are_optional(cityscapes: Path) -> None:
    data = Cityscapes(cityscapes, "val")
    instances = data.instances(0)
    assert instances is not None
    assert instances.max() > 24_000
    for path in cityscapes.rglob("*_instanceIds.png"):
        path.unlink()
    assert data.instances(0) is None


def test_coarse_labels_are_read_where_asked(cityscapes: Path) -> None:
    for path in list((cityscapes / "gtFine").rglob("*_labelIds.png")):
        coarse = Path(str(path).replace("gtFine", "gtCoarse"))
        coarse.parent.mkdir(parents=True, exist_ok=True)
        path.rename(coarse)
    assert len(Cityscapes(cityscapes, "train", "coarse")) == 3
    with pytest.raises(UserError, match="'rough' is unknown; choose fine or coarse"):
        Cityscapes(cityscapes, "train", "rough")


def test_what_a_cityscapes_tree_lacks_is_counted_with_an_example(cityscapes: Path) -> None:
    next((cityscapes / "gtFine/train/zurich").glob("*labelIds.png")).unlink()
    next((cityscapes / "leftImg8bit/train/aachen").glob("*0002*.png")).unlink()
    with pytest.raises(UserError) as caught:
        Cityscapes(cityscapes, "train")
    message = str(caught.value)
    assert "1 pairs found" in message
    assert "1 labels missing, for example that of" in message
    assert "zurich_000001_000019_leftImg8bit.png" in message
    assert "1 images missing" in message
    assert "\n" not in message


def test_a_missing_cityscapes_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"leftImg8bit/train does not exist: .*--root"):
        Cityscapes(tmp_path, "train")


def test_a_label_id_that_cityscapes_does_not_have_is_named(cityscapes: Path) -> None:
    path = next((cityscapes / "gtFine/val/zurich").glob("*labelIds.png"))
    label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    label[0, :3] = 77
    cv2.imwrite(str(path), label)
    with pytest.raises(UserError, match=r"zurich.*holds the value 77 at 3 pixels"):
        Cityscapes(cityscapes, "val").check()


def test_a_mask_with_colours_is_refused(cityscapes: Path) -> None:
    path = next((cityscapes / "gtFine/val/zurich").glob("*labelIds.png"))
    cv2.imwrite(str(path), np.zeros((64, 96, 3), np.uint8))
    with pytest.raises(UserError, match=r"uint8 \(64, 96, 3\): a label has one byte a pixel"):
        Cityscapes(cityscapes, "val").check()


@pytest.mark.parametrize("bits", [1, 4])
def test_a_mask_of_less_than_a_byte_a_pixel_is_refused(cityscapes: Path, bits: int) -> None:
    path = next((cityscapes / "gtFine/val/zurich").glob("*labelIds.png"))
    path.write_bytes(png_of_bits(64, 96, bits))
    assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).max() == 255, "its ones are read as 255"
    with pytest.raises(UserError, match=rf"{path.name} has {bits} bit\(s\) a pixel") as caught:
        Cityscapes(cityscapes, "val").check()
    pillow = pytest.importorskip("PIL.Image", reason="needs Pillow (requirements-dev.txt)")
    remedy = str(caught.value).split("`")[1]
    exec(remedy, {"Image": pillow, "numpy": np, "path": path})
    assert np.unique(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)).tolist() == [2**bits - 1]


def test_a_bitmap_of_one_bit_a_pixel_is_refused(farm: Path) -> None:
    pillow = pytest.importorskip("PIL.Image", reason="needs Pillow (requirements-dev.txt)")
    path = farm / "masks/north/p1.png"
    path.unlink()
    pillow.fromarray(np.ones((8, 6), bool)).save(path.with_suffix(".bmp"))
    with pytest.raises(UserError, match=r"p1\.bmp has 1 bit\(s\) a pixel"):
        ready(open_data(farm_entry(farm), load_table(farm / "farm.yaml").table, None))


def png_of_bits(height: int, width: int, bits: int) -> bytes:
    """A gray PNG with all bits set, which OpenCV writes of one bit alone."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    row = b"\0" + b"\xff" * (width * bits // 8)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row * height))
    return b"\x89PNG\r\n\x1a\n" + data + chunk(b"IEND", b"")


def test_large_data_stays_on_disk_and_is_checked_there(
    cityscapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(ready(Cityscapes(cityscapes, "train")), InMemory)
    monkeypatch.setattr(datasets, "KEPT_BYTES", 1000)
    source = ready(Cityscapes(cityscapes, "train"))
    assert isinstance(source, PairedFiles)
    path = next((cityscapes / "leftImg8bit/train/zurich").glob("*.png"))
    cv2.imwrite(str(path), np.zeros((10, 20, 3), np.uint8))
    with pytest.raises(UserError, match=r"zurich.*20 x 10, its label 96 x 64"):
        ready(Cityscapes(cityscapes, "train"))


def test_folders_follow_their_class_table(farm: Path) -> None:
    data = open_data(farm_entry(farm), load_table(farm / "farm.yaml").table, None)
    assert isinstance(data, Folders)
    assert len(data) == 2
    np.testing.assert_array_equal(data[0][1][0], [255, 2, 0, 0, 1, 255])
    assert data.licence == "not stated"


def test_folders_with_an_unknown_value_or_a_lone_file_are_refused(farm: Path) -> None:
    table = load_table(farm / "farm.yaml").table
    path = farm / "masks/north/p1.png"
    cv2.imwrite(str(path), np.full((8, 6), 9, np.uint8))
    with pytest.raises(UserError, match=r"p1\.png holds the value 9 at 48 pixels; .*0, 2, 3, 4, 7"):
        ready(open_data(farm_entry(farm), table, None))
    path.unlink()
    with pytest.raises(UserError, match=r"1 pairs found .*1 labels missing.*p1\.jpg"):
        open_data(farm_entry(farm), table, None)
    with pytest.raises(UserError, match="nowhere does not exist"):
        open_data(farm_entry(farm, labels="nowhere"), table, None)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: cow", "name: field", "names a class twice"),
        ("value: 7", "value: 4", "value 4 is claimed twice"),
        ("value: 7", "value: 300", "300 is no byte"),
        ("value: 7", "value: true", "True is no byte"),
        ("name: cow", "name: no", "class name False is no text: put it in quotes"),
        ("[120, 60, 20]", "[70, 130, 180]", r"'cow' and 'sky' have one colour, \[70, 130, 180\]"),
        ("[70, 130, 180]", "[70, 130, 280]", "no colour"),
        ("classes:", "clases:", "'clases' is unknown; did you mean 'classes'"),
        ("name: farm", "", "lacks 'name'"),
        ("value: 7", "vlaue: 7", "'vlaue' is unknown; did you mean 'value'"),
        ("[70, 130, 180]", "blue", "color of 'sky' is 'blue': give"),
        ("[70, 130, 180]", "[1, 2]", r"color of 'sky' is \[1, 2\]: give"),
        (TABLE, "", "holds no settings"),
        (TABLE, "name: farm\nclasses: [field, cow]", "give `classes` as a list of"),
        ("classes:", "classes: [", "no YAML"),
    ],
)
def test_a_broken_class_table_is_refused(farm: Path, old: str, new: str, message: str) -> None:
    path = farm / "farm.yaml"
    path.write_text(TABLE.replace(old, new, 1))
    with pytest.raises(UserError, match=message) as caught:
        load_table(path)
    assert "farm.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_images_of_one_name_are_refused(farm: Path) -> None:
    table = load_table(farm / "farm.yaml").table
    image = next(path for path in sorted((farm / "images").rglob("*")) if path.is_file())
    cv2.imwrite(str(image.with_suffix(".bmp")), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(UserError, match=rf"{image.stem}.* and .*{image.stem}.* have one name"):
        open_data(farm_entry(farm), table, None)


def test_labels_without_any_class_are_refused(farm: Path) -> None:
    table = load_table(farm / "farm.yaml").table
    labelled = [ready(open_data(farm_entry(farm), table, None))]
    recipe = Recipe.from_dict({"train": [farm_entry(farm, share=1)]})
    assert check_labelled(recipe, labelled) == []
    for label in (farm / "masks").rglob("*.png"):
        cv2.imwrite(str(label), np.zeros_like(cv2.imread(str(label), cv2.IMREAD_UNCHANGED)))
    unlabelled = [ready(open_data(farm_entry(farm), table, None))]
    with pytest.raises(UserError, match="no pixel of its labels belongs to a class"):
        check_labelled(recipe, [*labelled, *unlabelled])
    # From a teacher something is learned all the same.
    assert check_labelled(recipe.with_settings(["teacher=[default]"]), unlabelled) == []


def test_a_class_that_no_label_holds_is_told(farm: Path) -> None:
    path = farm / "farm.yaml"
    goat = "  - {name: goat, color: [1, 2, 3], value: 77}\nignore:"
    path.write_text(TABLE.replace("ignore:", goat))
    table = load_table(path).table
    recipe = Recipe.from_dict({"train": [farm_entry(farm, share=1)]})
    without = ready(open_data(farm_entry(farm), table, None))
    assert check_labelled(recipe, [without, without]) == ["goat"]
    cv2.imwrite(str(farm / "masks/north/p1.png"), np.full((8, 6), 77, np.uint8))
    assert check_labelled(recipe, [without, ready(open_data(farm_entry(farm), table, None))]) == []


def test_a_mixture_comes_in_the_recipes_classes(cityscapes: Path, camvid: Path) -> None:
    roots = parse_roots([f"cityscapes={cityscapes}", f"camvid={camvid}"])
    mapped = open_data({"data": "cityscapes", "split": "val"}, CAMVID, roots)
    plain = Cityscapes(cityscapes, "val")
    assert mapped.table == open_data({"data": "camvid", "split": "val"}, CAMVID, roots).table
    for index in range(2):
        np.testing.assert_array_equal(mapped[index][1], CITYSCAPES_TO_CAMVID[plain[index][1]])
        np.testing.assert_array_equal(mapped.label(index), mapped[index][1])


def test_a_map_says_what_names_do_not(farm: Path) -> None:
    entry = farm_entry(farm, map={"field": "tree", "cow": None})
    data = open_data(entry, CAMVID, None)
    tree, sky = CAMVID.names.index("tree"), CAMVID.names.index("sky")
    np.testing.assert_array_equal(data[0][1][0], [255, sky, tree, tree, 255, 255])


def test_a_class_without_a_match_is_named_with_the_remedy() -> None:
    with pytest.raises(UserError, match=r"'pavement' of camvid has no match in cityscapes.*map:"):
        class_lookup(CAMVID, CITYSCAPES)
    with pytest.raises(UserError, match="'cow', which is no class of camvid"):
        class_lookup(CAMVID, CITYSCAPES, {"cow": None})


def test_generated_scenes_serve_any_table_through_a_map(farm: Path) -> None:
    names = {name: None for name in CITYSCAPES.names if name != "sky"}
    entry = {"data": "generated", "first_seed": 1, "num_scenes": 1, "size": [48, 64], "map": names}
    label = open_data(entry, find_table(str(farm / "farm.yaml")), None)[0][1]
    truth = GeneratedScenes(1, 1, (48, 64), CITYSCAPES)[0][1]
    np.testing.assert_array_equal(label == 2, truth == CITYSCAPES.names.index("sky"))


def test_trainings_share_the_data_they_have_in_common_and_let_go_of_the_rest(
    farm: Path, camvid: Path
) -> None:
    shelf = Shelf()

    def take(*entries: dict[str, Any]) -> list[LabelledFrames]:
        return shelf.take(entries, [open_data(entry, CAMVID, camvid) for entry in entries])

    train = {"data": "camvid", "split": "train", "share": 1}
    val = {"data": "camvid", "split": "val"}
    fields = farm_entry(farm, map={"field": "tree", "cow": None})
    first = take(train, fields, val)
    assert all(isinstance(frames, InMemory) for frames in first)
    second = take(val, {**train, "share": 2}, {**fields, "map": {"field": "tree", "cow": "car"}})
    assert (second[0], second[1]) == (first[2], first[0])
    assert second[2] is not first[1]
    # Not among the second training's.
    assert take(fields)[0] is not first[1]


def test_roots_say_whose_they_are() -> None:
    assert parse_roots([]) is None
    assert parse_roots(["data"]) == Path("data")
    assert parse_roots(["camvid=a", "cityscapes=b"]) == {
        "camvid": Path("a"),
        "cityscapes": Path("b"),
    }
    with pytest.raises(UserError, match="'kitti' is none of"):
        parse_roots(["kitti=a"])
    with pytest.raises(UserError, match="say whose"):
        parse_roots(["a", "b"])


def test_missing_roots_are_asked_for(tmp_path: Path) -> None:
    for kind in ("camvid", "cityscapes"):
        with pytest.raises(UserError, match="--root"):
            open_data({"data": kind, "split": "train"}, CAMVID, None)
    with pytest.raises(UserError, match="does not exist"):
        open_data({"data": "camvid", "split": "train"}, CAMVID, tmp_path)


def test_the_official_scripts_have_the_same_table() -> None:
    official = pytest.importorskip("cityscapesscripts.helpers.labels")
    scored = [official.trainId2label[train_id] for train_id in range(19)]
    assert tuple(label.name for label in scored) == CITYSCAPES.names
    assert tuple(label.color for label in scored) == CITYSCAPES.palette
    assert tuple(label.id for label in scored) == CITYSCAPES_LABEL_IDS
    for category, names in CITYSCAPES_CATEGORIES.items():
        assert names == tuple(label.name for label in scored if label.category == category)
