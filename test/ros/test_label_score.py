from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from contextnet_ros.files import UserError
from contextnet_ros.labels import CAMVID, CITYSCAPES, ClassTable
from contextnet_ros.ros.bag_make import write_classes
from contextnet_ros.ros.label_score import Truth, score_labels

SKY, ROAD, CAR = (CAMVID.names.index(name) for name in ("sky", "road", "car"))


def truth_folder(folder: Path, table: ClassTable, **labels: np.ndarray) -> Truth:
    write_classes(folder, table)
    for name, label in labels.items():
        cv2.imwrite(str(folder / f"{name}.png"), label)
    return Truth(folder)


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
    city_labels = [(1, halves(rider, rider))]
    score = score_labels(city_labels, {1: "a"}, truth, CITYSCAPES)
    assert score["iou_percent"]["bicyclist"] == 0
    assert score["iou_percent"]["car"] == 0


def test_what_cannot_be_scored_is_refused(tmp_path: Path) -> None:
    truth = truth_folder(tmp_path, CAMVID, a=halves(SKY, ROAD))
    other = ClassTable("boats", ("boat", "water"), ((1, 2, 3), (4, 5, 6)))
    with pytest.raises(UserError, match="'boats' cannot be scored against 'camvid'"):
        score_labels([], {}, truth, other)
    with pytest.raises(UserError, match="differ in size"):
        score_labels([(1, np.zeros((2, 2), np.uint8))], {1: "a"}, truth, CAMVID)
    with pytest.raises(UserError, match=r"classes\.json"):
        Truth(tmp_path / "elsewhere")
