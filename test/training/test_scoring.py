"""Scores against counts made pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest

from contextnet_ros.labels import ClassTable
from contextnet_ros.training.scoring import ConfusionMatrix


def reference_iou(prediction: np.ndarray, truth: np.ndarray, class_id: int) -> float:
    """Intersection over union by set arithmetic over pixels that are not ignored."""
    pixels = [
        (int(p), int(t)) for p, t in zip(prediction.flat, truth.flat, strict=True) if t != 255
    ]
    both = sum(p == class_id and t == class_id for p, t in pixels)
    either = sum(p == class_id or t == class_id for p, t in pixels)
    return both / either if either else math.nan


def test_iou_equals_the_definition_over_several_images() -> None:
    rng = np.random.default_rng(0)
    confusion = ConfusionMatrix(5)
    predictions = rng.integers(0, 5, (3, 20, 30)).astype(np.uint8)
    truths = rng.integers(0, 4, (3, 20, 30)).astype(np.uint8)
    truths[rng.random(truths.shape) < 0.2] = 255
    for prediction, truth in zip(predictions, truths, strict=True):
        confusion.update(prediction, truth)
    expected = [reference_iou(predictions, truths, class_id) for class_id in range(5)]
    np.testing.assert_allclose(confusion.iou(), expected)
    assert confusion.miou() == pytest.approx(np.nanmean(expected))
    scored = truths != 255
    assert confusion.pixel_accuracy() == pytest.approx((predictions == truths)[scored].mean())


def test_predicting_the_ignored_class_is_a_miss_and_nobodys_false_positive() -> None:
    confusion = ConfusionMatrix(2)
    confusion.update(np.array([[0, 255, 1]], np.uint8), np.array([[0, 0, 1]], np.uint8))
    np.testing.assert_allclose(confusion.iou(), [0.5, 1.0])


def test_a_class_that_nobody_has_does_not_count() -> None:
    confusion = ConfusionMatrix(3)
    confusion.update(np.array([[0, 1]], np.uint8), np.array([[0, 1]], np.uint8))
    assert math.isnan(confusion.iou()[2])
    assert confusion.miou() == 1.0


def test_nothing_scored_is_nan_and_none() -> None:
    confusion = ConfusionMatrix(2)
    assert math.isnan(confusion.miou())
    table = ClassTable("t", ("a", "b"), ((0, 0, 0), (1, 1, 1)))
    assert confusion.to_dict(table)["miou_percent"] is None


def test_another_size_or_an_unknown_truth_is_refused() -> None:
    confusion = ConfusionMatrix(2)
    with pytest.raises(ValueError, match=r"\(1, 2\).*\(1, 3\)"):
        confusion.update(np.zeros((1, 2), np.uint8), np.zeros((1, 3), np.uint8))
    with pytest.raises(ValueError, match="value 7"):
        confusion.update(np.zeros((1, 1), np.uint8), np.full((1, 1), 7, np.uint8))
