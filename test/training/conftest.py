"""A CamVid tree of generated frames."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from contextnet_ros.training.datasets import GeneratedScenes


def write_camvid(root: Path, split: str, frames: int, size: tuple[int, int] = (72, 96)) -> None:
    (root / split).mkdir(parents=True)
    (root / f"{split}annot").mkdir()
    for index, (image, label) in enumerate(GeneratedScenes(50, frames, size)):
        cv2.imwrite(str(root / split / f"f{index:03d}.png"), image)
        label = np.where(label == 255, 11, label).astype(np.uint8)
        cv2.imwrite(str(root / f"{split}annot" / f"f{index:03d}.png"), label)


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    root = tmp_path / "camvid"
    write_camvid(root, "train", 3)
    write_camvid(root, "val", 2)
    return root
