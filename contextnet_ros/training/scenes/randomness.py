"""Random streams that depend on a seed and on what they are for, and on nothing else."""

from __future__ import annotations

import zlib
from functools import lru_cache

import cv2
import numpy as np

from contextnet_ros.training.scenes.kinds import Array


def stream(seed: int, *purpose: int | str) -> np.random.Generator:
    """A generator for one purpose; drawing from it never shifts what another purpose gets."""
    keys = [zlib.crc32(str(part).encode()) for part in purpose]
    return np.random.Generator(np.random.PCG64([seed, *keys]))


def pick(rng: np.random.Generator, options: dict[str, float]) -> str:
    """One key, drawn with the weights that are its values."""
    names = list(options)
    weights = np.array([options[name] for name in names], np.float64)
    return names[int(rng.choice(len(names), p=weights / weights.sum()))]


def fractal_noise(
    rng: np.random.Generator, height: int, width: int, cells: int, octaves: int, fall: float = 0.6
) -> Array:
    """Noise (height, width) float32 with mean 0 and deviation 1 that repeats without a seam."""
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        rows = min(height, max(2, cells * 2**octave * height // max(height, width)))
        columns = min(width, max(2, cells * 2**octave * width // max(height, width)))
        grid = rng.standard_normal((rows, columns), dtype=np.float32)
        # Three cells of the far edge on each side, so that the interpolation sees the wrap.
        grid = np.pad(grid, 3, mode="wrap")
        step_y, step_x = height / rows, width / columns
        move = np.array([[step_x, 0, -3 * step_x], [0, step_y, -3 * step_y]], np.float32)
        move[:, 2] += 0.5 * (np.array([step_x, step_y], np.float32) - 1)
        total += fall**octave * cv2.warpAffine(grid, move, (width, height), flags=cv2.INTER_LINEAR)
    even: Array = (total - total.mean()) / max(float(total.std()), 1e-6)
    return even


@lru_cache(maxsize=32)
def _tile(cells: int, octaves: int) -> Array:
    return fractal_noise(stream(0, "tile", cells, octaves), 512, 512, cells, octaves, 0.7)


def noise_patch(
    rng: np.random.Generator, height: int, width: int, cells: int, octaves: int
) -> Array:
    """A piece (height, width) of ready noise; `cells` counts over 512 pixels. Read-only."""
    tile = _tile(cells, octaves)
    if height > 512 or width > 512:
        tile = np.tile(tile, (-(-height // 512), -(-width // 512)))
    top = int(rng.integers(tile.shape[0] - height + 1))
    left = int(rng.integers(tile.shape[1] - width + 1))
    return tile[top : top + height, left : left + width]


def noise_tile(rng: np.random.Generator, cells: int, octaves: int) -> Array:
    """Ready noise (512, 512) that repeats without a seam, moved by a random amount."""
    shift = (int(rng.integers(512)), int(rng.integers(512)))
    return np.roll(_tile(cells, octaves), shift, axis=(0, 1))
