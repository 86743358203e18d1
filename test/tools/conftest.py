"""Random weights, and trees of generated frames: Cityscapes, and CamVid with the recipe of the
studies' tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from bench_setup import SIZE
from decided_network import decided
from study_runs import RECIPE

from contextnet_ros.labels import CAMVID, CITYSCAPES, CITYSCAPES_LABEL_IDS
from contextnet_ros.network import WeightHeader, save_weights
from contextnet_ros.tools.bench_pipelines import Setting
from contextnet_ros.training.datasets import GeneratedScenes


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cn14 whose winners are clear, and change where its context features are lost."""
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_weights(path, decided(), WeightHeader(table=CAMVID))
    return path


@pytest.fixture
def setting(weights: Path) -> Callable[..., Setting]:
    """Makes the setting of a backend of contextnet-bench."""

    def make(backend: str = "ours", **changes: Any) -> Setting:
        values = {
            "backend": backend,
            "weights": weights,
            "network_size": "frame",
            "device": "cpu",
            "precision": "auto",
            "outputs": ("label",),
            "height": SIZE[0],
            "width": SIZE[1],
            "num_threads": 1,
        }
        return Setting(**{**values, **changes})

    return make


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two frames of one city, in the official layout."""
    root = tmp_path / "cityscapes"
    for index, (image, train_ids) in enumerate(GeneratedScenes(60, 2, (64, 96), CITYSCAPES)):
        label_ids = np.array([*CITYSCAPES_LABEL_IDS, 0], np.uint8)[np.minimum(train_ids, 19)]
        countable = label_ids >= 24
        instances = np.where(countable, label_ids.astype(np.uint16) * 1000, label_ids)
        for folder, ending, picture in (
            ("leftImg8bit", "leftImg8bit", image),
            ("gtFine", "gtFine_labelIds", label_ids),
            ("gtFine", "gtFine_instanceIds", instances.astype(np.uint16)),
        ):
            path = root / folder / "val" / "bonn" / f"bonn_00000{index}_000019_{ending}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), picture)
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CamVid tree of two recordings in train and one more frame of the second in val."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("data")
    names = ["train/0001TP_1", "train/0001TP_2", "train/0006R0_1", "val/0006R0_2", "val/0006R0_3"]
    for name, (image, label) in zip(names, GeneratedScenes(70, 5, (48, 64)), strict=True):
        split, file = name.split("/")
        for folder, picture in ((split, image), (f"{split}annot", np.minimum(label, 11))):
            (root / folder).mkdir(exist_ok=True)
            cv2.imwrite(str(root / folder / f"{file}.png"), picture)
    (root / "small.yaml").write_text(yaml.safe_dump(RECIPE))
    return root
