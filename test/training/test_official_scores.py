"""Scores against the official cityscapesScripts, on generated trees."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from contextnet_ros.labels import CITYSCAPES, CITYSCAPES_LABEL_IDS
from contextnet_ros.network import ContextNet, WeightHeader, save_weights
from contextnet_ros.tools import evaluate
from contextnet_ros.training.folders import Cityscapes
from contextnet_ros.training.instance_scoring import MEAN_INSTANCE_PIXELS, InstanceScores
from contextnet_ros.training.scoring import ConfusionMatrix, mean


@pytest.fixture
def official(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The official scorer. Its release 2.3.0 calls np.in1d, which NumPy 2.4 no longer has."""
    pytest.importorskip("cityscapesscripts", reason="pip install cityscapesscripts")
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)
    from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as scorer

    scorer.args.quiet, scorer.args.JSONOutput = True, False
    return scorer


def predictions_of(data: Cityscapes, folder: Path) -> list[np.ndarray]:
    """Truth with random rectangles of other classes, written as label ids; 0 is "unlabelled"."""
    rng = np.random.default_rng(3)
    folder.mkdir()
    result = []
    for index in range(len(data)):
        predicted = data.label(index).copy()
        predicted[predicted == 255] = 3
        for _ in range(25):
            top, left = rng.integers(0, 60), rng.integers(0, 90)
            predicted[top : top + 12, left : left + 16] = rng.choice([*range(15), 17, 18, 255])
        result.append(predicted)
        label_ids = np.array([*CITYSCAPES_LABEL_IDS, 0], np.uint8)[np.minimum(predicted, 19)]
        cv2.imwrite(str(folder / f"{data.name(index)}.png"), label_ids)
    return result


def same(found: float, expected: float) -> bool:
    return (np.isnan(found) and np.isnan(expected)) or abs(found - expected) < 1e-6


def test_every_score_equals_the_official_one(
    tmp_path: Path, official: Any, make_cityscapes: Callable[..., None]
) -> None:
    root = tmp_path / "cityscapes"
    make_cityscapes(root, "val", 6)
    data = Cityscapes(root, "val")
    predictions = predictions_of(data, tmp_path / "results")
    expected = official.evaluateImgLists(
        [str(tmp_path / "results" / f"{data.name(index)}.png") for index in range(len(data))],
        [str(label) for _, label in data.pairs],
        official.args,
    )

    confusion, instances = ConfusionMatrix(19), InstanceScores()
    for index, prediction in enumerate(predictions):
        confusion.update(prediction, data.label(index))
        instances.update(prediction, data.instances(index))
    classes = dict(zip(CITYSCAPES.names, confusion.iou(), strict=True))
    assert sum(np.isfinite(value) for value in classes.values()) > 12
    for name, value in classes.items():
        assert same(value, expected["classScores"][name]), name
    for name, value in confusion.category_iou().items():
        assert same(value, expected["categoryScores"][name]), name
    weighted = instances.iou(confusion)
    assert sum(np.isfinite(value) for value in weighted.values()) > 3
    assert weighted != {name: classes[name] for name in weighted}
    for name, value in weighted.items():
        assert same(value, expected["classInstScores"][name]), name
    weighted_categories = instances.category_iou(confusion)
    for name, value in weighted_categories.items():
        assert np.isfinite(value), name
        assert same(value, expected["categoryInstScores"][name]), name
    for scores, key in (
        (classes, "averageScoreClasses"),
        (weighted, "averageScoreInstClasses"),
        (confusion.category_iou(), "averageScoreCategories"),
        (weighted_categories, "averageScoreInstCategories"),
    ):
        assert same(mean(scores), expected[key]), key


def test_the_commands_json_equals_the_official_scores(
    tmp_path: Path,
    official: Any,
    make_cityscapes: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root, model, result = tmp_path / "cs", tmp_path / "w.safetensors", tmp_path / "scores.json"
    make_cityscapes(root, "val", 3)
    data = Cityscapes(root, "val")
    predictions = iter(predictions_of(data, tmp_path / "results"))
    expected = official.evaluateImgLists(
        [str(tmp_path / "results" / f"{data.name(index)}.png") for index in range(len(data))],
        [str(label) for _, label in data.pairs],
        official.args,
    )
    save_weights(model, ContextNet(19, "cn14-160"), WeightHeader(CITYSCAPES, "cn14-160"))
    # Untrained weights would say one class or two.
    monkeypatch.setattr(evaluate, "_predictor", lambda *_: lambda _: next(predictions))
    arguments = ["--model", str(model), "--data", "cityscapes", "--root", str(root)]
    assert evaluate.main([*arguments, "--device", "cpu", "--json", str(result)]) == 0
    found = json.loads(result.read_text())
    for key, theirs in (
        ("iou_percent", "classScores"),
        ("category_iou_percent", "categoryScores"),
        ("iiou_percent", "classInstScores"),
        ("category_iiou_percent", "categoryInstScores"),
    ):
        for name, value in found[key].items():
            share = float("nan") if value is None else value / 100
            assert same(share, expected[theirs][name]), (key, name)
    for key, theirs in (
        ("miou_percent", "averageScoreClasses"),
        ("category_miou_percent", "averageScoreCategories"),
        ("iiou_mean_percent", "averageScoreInstClasses"),
        ("category_iiou_mean_percent", "averageScoreInstCategories"),
    ):
        assert same(found[key] / 100, expected[theirs]), key


def test_mean_sizes_are_the_official_ones(official: Any) -> None:
    for name, pixels in MEAN_INSTANCE_PIXELS.items():
        assert official.args.avgClassSize[name] == pixels
