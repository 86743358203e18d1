"""Trees of generated frames, and one thread for what trains on them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from contextnet_ros.labels import CITYSCAPES, CITYSCAPES_LABEL_IDS
from contextnet_ros.training.datasets import GeneratedScenes


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Sums of several threads are rounded in another order from run to run."""
    torch.set_num_threads(1)


def write_camvid(root: Path, split: str, frames: int, size: tuple[int, int] = (72, 96)) -> None:
    (root / split).mkdir(parents=True)
    (root / f"{split}annot").mkdir()
    for index, (image, label) in enumerate(GeneratedScenes(50, frames, size)):
        cv2.imwrite(str(root / split / f"f{index:03d}.png"), image)
        label = np.where(label == 255, 11, label).astype(np.uint8)
        cv2.imwrite(str(root / f"{split}annot" / f"f{index:03d}.png"), label)


def write_cityscapes(
    root: Path, split: str, frames: int, quality: str = "Fine", size: tuple[int, int] = (64, 96)
) -> None:
    """Cityscapes' layout of generated frames: images, label ids, instance ids; two cities."""
    rng = np.random.default_rng(7)
    for index, (image, train_ids) in enumerate(GeneratedScenes(60, frames, size, CITYSCAPES)):
        city = ("aachen", "zurich")[index % 2]
        name = f"{city}_{index:06d}_000019"
        label_ids = np.array([*CITYSCAPES_LABEL_IDS, 0], np.uint8)[np.minimum(train_ids, 19)]
        # Ids that are not scored, among them one with instances (caravan).
        label_ids[:4, :8], label_ids[:4, 8:16], label_ids[4:6, :8] = 4, 29, 9
        # Two instances of each countable class, left and right; some pixels of a car group.
        number = (np.arange(size[1]) > size[1] // 2).astype(np.int32)[None]
        countable = np.isin(label_ids, [24, 25, 26, 27, 28, 29, 31, 32, 33])
        instances = np.where(
            countable & (rng.random(size) > 0.02), label_ids.astype(np.int32) * 1000 + number,
            label_ids,
        ).astype(np.uint16)  # fmt: skip
        for folder, ending, picture in (
            ("leftImg8bit", "leftImg8bit", image),
            (f"gt{quality}", f"gt{quality}_labelIds", label_ids),
            (f"gt{quality}", f"gt{quality}_instanceIds", instances),
        ):
            path = root / folder / split / city / f"{name}_{ending}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), picture)


@pytest.fixture
def make_cityscapes() -> Callable[..., None]:
    return write_cityscapes


@pytest.fixture
def cityscapes(tmp_path: Path) -> Path:
    root = tmp_path / "cityscapes"
    write_cityscapes(root, "train", 3)
    write_cityscapes(root, "val", 2)
    return root


@pytest.fixture(scope="session")
def drawn_camvid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed: drawing it takes longer than what most tests do with it."""
    root = tmp_path_factory.mktemp("drawn") / "camvid"
    write_camvid(root, "train", 3)
    write_camvid(root, "val", 2)
    return root


@pytest.fixture
def camvid(tmp_path: Path, drawn_camvid: Path) -> Path:
    return Path(shutil.copytree(drawn_camvid, tmp_path / "camvid"))
