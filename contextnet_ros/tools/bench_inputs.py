"""What contextnet-bench runs on: frames, and networks where there are no weights of a variant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from contextnet_ros.files import UserError, list_files
from contextnet_ros.labels import CITYSCAPES
from contextnet_ros.network import WeightHeader, save_weights
from contextnet_ros.tools.media import IMAGE_SUFFIXES, UnreadableError, read_image
from contextnet_ros.training.datasets import FIRST_UNSEEN_SEED, GeneratedScenes


def random_weights(variants: Sequence[str], folder: Path) -> list[Path]:
    """Write a file for each variant, of 19 classes and random weights; returns their paths.

    They take the network's time, which weights don't change; upsampling their labels takes longer,
    since these change from pixel to pixel.
    """
    paths = []
    for variant in variants:
        torch.manual_seed(0)
        header = WeightHeader(CITYSCAPES, variant=variant)
        paths.append(folder / f"random-{variant}.safetensors")
        save_weights(paths[-1], header.build().eval(), header)
    return paths


def load_frames(folder: Path | None, count: int, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Return `count` different frames of one size, uint8 (count, H, W, 3), generated or from a
    folder; raises UserError for a size too small to draw and a folder that holds too few."""
    if folder is None:
        scenes = GeneratedScenes(FIRST_UNSEEN_SEED, count, (height, width))
        return np.stack([scenes[k][0] for k in tqdm(range(count), desc="drawing", delay=2)])
    if not folder.is_dir():
        raise UserError(f"input {folder} is no folder: give one with images")
    paths = list_files(folder, IMAGE_SUFFIXES)
    if not paths:
        raise UserError(f"input {folder} has no images: give a folder with some")
    if len(paths) < count:
        raise UserError(
            f"{folder} has {len(paths)} images, --frames asks for {count}: choose fewer"
        )
    try:
        images = [read_image(path) for path in paths[:count]]
    except UnreadableError as error:
        raise UserError(str(error)) from error
    return np.stack(
        [
            np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
            for image in images
        ]
    )
