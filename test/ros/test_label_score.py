from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from contextnet_ros.files import UserError
from contextnet_ros.labels import CAMVID, CITYSCAPES, ClassTable
from contextnet_ros.ros.bag_make import write_classes
from contextnet_ros.ros.label_score import Truth, made_truth, open_truth, score_labels

SKY, ROAD, CAR = (CAMVID.names.index(name) for name in ("sky", "road", "car"))


def truth_folder(folder: Path, table: ClassTable, **labels: np.ndarray) -> Truth:
    folder.mkdir(exist_ok=True)
    write_classes(folder, table)
    for name, label in labels.items():
        cv2.imwrite(str(folder / f"{name}.png"), label)
    return made_truth(folder)


def halves(left: int, right: int) -> np.ndarray:
    label = np.full((4, 8), left, np.uint8)
    label[:, 4:] = right
    return label


def test_labels_are_matched_to_truth_by_stamp(tmp_path: Path) -> None:
    truth = truth_folder(tmp_path, CAMVID, a=halves(SKY, ROAD), b=halves(ROAD, 255))
    labels = [(20, halves(ROAD, CAR)), (10, halves(SKY, SKY)), (30, halves(CAR, CAR))]
    score = score_labels(labels, {10: "a", 20: "b", 30: "no truth"}, truth, CAMVID)
    # Of a: half of sky's prediction is wrong, and all of a's road is missed; b's left half is
    # right, its right half is not scored.
    assert score["frames"] == 2
    assert score["iou_percent"]["sky"] == 50
    assert score["iou_percent"]["road"] == 50
    assert score["iou_percent"]["car"] is None
    assert score["miou_percent"] == 50


def test_cityscapes_ids_on_either_side_are_brought_to_camvids(tmp_path: Path) -> None:
    names = CITYSCAPES.names
    bus, train, rider = (names.index(name) for name in ("bus", "train", "rider"))
    # CamVid knows no trains.
    truth = truth_folder(tmp_path, CITYSCAPES, a=halves(bus, train))
    camvid_labels = [(1, halves(CAR, CAR))]
    score = score_labels(camvid_labels, {1: "a"}, truth, CAMVID)
    assert score["iou_percent"]["car"] == 100
    assert score["scored_pixels"] == 16
    # Labels of other ids under the same truth: a rider is CamVid's bicyclist.
    camvid_truth = truth_folder(tmp_path / "camvid", CAMVID, a=halves(CAR, 255))
    score = score_labels([(1, halves(rider, rider))], {1: "a"}, camvid_truth, CITYSCAPES)
    assert score["iou_percent"]["bicyclist"] == 0
    assert score["iou_percent"]["car"] == 0


def test_cityscapes_against_itself_is_scored_in_its_19_classes_and_7_categories(
    tmp_path: Path,
) -> None:
    road, sidewalk, car = (CITYSCAPES.names.index(name) for name in ("road", "sidewalk", "car"))
    city = tmp_path / "gtFine" / "val" / "ulm"
    city.mkdir(parents=True)
    # Label ids, as Cityscapes' files hold them: 7 is road, 26 car, 5 (dynamic) is not scored.
    cv2.imwrite(str(city / "ulm_000_gtFine_labelIds.png"), halves(7, 26))
    cv2.imwrite(str(city / "ulm_001_gtFine_labelIds.png"), halves(7, 5))
    truth = open_truth(tmp_path, CITYSCAPES)
    labels = [(1, halves(sidewalk, car)), (2, halves(road, car))]
    score = score_labels(labels, {1: "ulm_000", 2: "ulm_001"}, truth, CITYSCAPES)
    assert score["classes"] == "cityscapes"
    assert score["iou_percent"]["road"] == 50
    assert score["iou_percent"]["sidewalk"] == 0
    assert score["iou_percent"]["car"] == 100
    assert score["miou_percent"] == 50
    assert score["category_iou_percent"]["flat"] == 100
    assert score["category_miou_percent"] == 100


def test_a_cityscapes_frame_is_read_from_the_label_file_that_it_has(tmp_path: Path) -> None:
    road, car = (CITYSCAPES.names.index(name) for name in ("road", "car"))
    city = tmp_path / "gtFine" / "val" / "ulm"
    city.mkdir(parents=True)
    cv2.imwrite(str(city / "a_gtFine_labelTrainIds.png"), halves(road, car))
    # Label ids; 26 is car, and 1 (ego vehicle) is not scored.
    cv2.imwrite(str(city / "a_gtFine_labelIds.png"), halves(1, 1))
    cv2.imwrite(str(city / "b_gtFine_labelIds.png"), halves(26, 1))
    truth = open_truth(tmp_path, CITYSCAPES)
    assert set(truth.files) == {"a", "b"}
    np.testing.assert_array_equal(truth.label("a"), halves(road, car))
    np.testing.assert_array_equal(truth.label("b"), halves(car, 255))


def test_camvid_and_bare_masks_are_found_by_frame_name(tmp_path: Path) -> None:
    for folder in ("val", "valannot", "masks"):
        (tmp_path / folder).mkdir()
    # CamVid's 11 is unlabelled.
    cv2.imwrite(str(tmp_path / "valannot" / "a.png"), halves(SKY, 11))
    cv2.imwrite(str(tmp_path / "masks" / "a.png"), halves(1, 200))
    boats = ClassTable("boats", ("boat", "water"), ((1, 2, 3), (4, 5, 6)))
    for folder in (tmp_path, tmp_path / "val", tmp_path / "valannot"):
        truth = open_truth(folder, boats)
        assert truth.table == CAMVID
        np.testing.assert_array_equal(truth.label("a"), halves(SKY, 255))
        assert truth.label("b") is None
    masks = open_truth(tmp_path / "masks", boats)
    assert masks.table == boats
    np.testing.assert_array_equal(masks.label("a"), halves(1, 255))
    (tmp_path / "empty").mkdir()
    for name in ("empty", "nowhere"):
        with pytest.raises(UserError, match=name):
            open_truth(tmp_path / name, boats)


def test_what_cannot_be_scored_is_refused(tmp_path: Path) -> None:
    truth = truth_folder(tmp_path, CAMVID, a=halves(SKY, ROAD))
    other = ClassTable("boats", ("boat", "water"), ((1, 2, 3), (4, 5, 6)))
    with pytest.raises(UserError, match="'boats' cannot be scored against 'camvid'"):
        score_labels([], {}, truth, other)
    with pytest.raises(UserError, match="differ in size"):
        score_labels([(1, np.zeros((2, 2), np.uint8))], {1: "a"}, truth, CAMVID)
    with pytest.raises(UserError, match=r"classes\.json"):
        made_truth(tmp_path / "elsewhere")


def test_masks_are_found_by_their_path_and_by_a_name_that_only_one_has(tmp_path: Path) -> None:
    for name, value in (("left/0", SKY), ("right/0", ROAD), ("right/1", CAR)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / f"{name}.png"), halves(value, value))
    truth = open_truth(tmp_path, CAMVID)
    values = {name: truth.label(name) for name in ("left/0", "right/0", "right/1", "1", "0")}
    assert values.pop("0") is None
    assert [int(label[0, 0]) for label in values.values()] == [SKY, ROAD, CAR, CAR]


def test_a_mask_of_two_bytes_a_pixel_is_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((4, 8), 259, np.uint16))
    with pytest.raises(UserError, match=r"a\.png: uint16 \(4, 8\): a label has one byte"):
        open_truth(tmp_path, CAMVID).label("a")
