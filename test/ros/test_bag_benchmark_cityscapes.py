"""The paper's result on one's own stack: a Cityscapes tree to a bag, and the bag to a score."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from ros_harness import REPOSITORY, street

from contextnet_ros.labels import CITYSCAPES
from contextnet_ros.network import ContextNet, WeightHeader, save_weights

pytestmark = [pytest.mark.ros, pytest.mark.slow]

SIZE = (64, 128)
# Of Cityscapes' own ids: 7 road, 11 building, 21 vegetation, 23 sky, 26 car, 1 not scored.
LABEL_IDS = np.array([7, 11, 21, 23, 26, 1], np.uint8)
NAMES = [f"{city}_00000{i}_000019" for city in ("lindau", "ulm") for i in range(3)]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cityscapes")
    for seed, name in enumerate(NAMES):
        city = name.partition("_")[0]
        label = cv2.resize(
            np.random.default_rng(seed).choice(LABEL_IDS, (4, 8)),
            SIZE[::-1],
            interpolation=cv2.INTER_NEAREST,
        )
        for kind, ending, pixels in (
            ("leftImg8bit", "leftImg8bit", street(*SIZE, seed)),
            ("gtFine", "gtFine_labelIds", label),
        ):
            folder = root / kind / "val" / city
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"{name}_{ending}.png"), pixels)
    return root


@pytest.fixture(scope="module")
def cityscapes_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "cityscapes.safetensors"
    save_weights(path, ContextNet(CITYSCAPES.num_classes), WeightHeader(table=CITYSCAPES))
    return path


def run(module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"contextnet_ros.ros.{module}", *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=280)


def test_a_cityscapes_tree_gives_class_and_category_miou_beside_fps_and_the_papers_figures(
    tmp_path: Path, tree: Path, cityscapes_weights: Path
) -> None:
    pytest.importorskip("rclpy", reason="rclpy is not installed: the benchmark needs ROS 2")
    made = run("bag_make", tree, "--split", "val", "-o", tmp_path / "cs")
    assert made.returncode == 0, made.stderr
    done = run(
        "bag_benchmark", tmp_path / "cs", "--truth", tree, "--model", cityscapes_weights,
        "--device", "cpu", "--param", "num_threads:=1", "--hz", 3, "--json", tmp_path / "r.json",
        "--html", tmp_path / "r.html", "--assert", "miou>=0", "--assert", "category_miou>=0",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    score = report["score"]
    assert (score["classes"], score["frames_with_truth"]) == ("cityscapes", len(NAMES))
    assert score["frames"] == report["frames"]["monitored"] > 1
    assert set(score["iou_percent"]) == set(CITYSCAPES.names)
    # A class that neither truth nor label has gets no IoU.
    for name in ("road", "building", "vegetation", "sky", "car"):
        assert 0 <= score["iou_percent"][name] <= 100
    assert 0 < score["scored_pixels"] < score["frames"] * SIZE[0] * SIZE[1]
    assert len(score["category_iou_percent"]) == 7
    assert 0 <= score["miou_percent"] <= 100
    assert 0 <= score["category_miou_percent"] <= 100
    assert score["fps"] == report["measurements"][0]["fps"] > 0
    # ContextNet's Table 4.
    assert (score["paper"]["miou_percent"], score["paper"]["fps"]) == (65.9, 18.3)
    for text in (done.stdout, (tmp_path / "r.html").read_text()):
        assert f"{score['miou_percent']:.1f} %" in text
        assert f"category mIoU {score['category_miou_percent']:.1f} %" in text
        assert "the paper: 65.9 % at 18.3 fps" in text.lower()
    assert f"at {score['fps']:.1f} labels/s" in done.stdout
