"""Trees, hedges and railings as pictures with an alpha channel."""

from __future__ import annotations

import cv2
import numpy as np

from contextnet_ros.training.scenes.canvas import Texture
from contextnet_ros.training.scenes.kinds import Array
from contextnet_ros.training.scenes.randomness import noise_patch, stream

_GREENS = [(46, 92, 74), (52, 102, 70), (40, 78, 64), (60, 112, 102), (60, 90, 92), (52, 98, 118)]


def _premultiplied(colour: Array, alpha: Array) -> Array:
    bgr = np.clip(colour, 0, 255) * alpha[:, :, None]
    return np.dstack([bgr, 255 * alpha]).round().astype(np.uint8)


def _branch(
    colour: Array,
    alpha: Array,
    rng: np.random.Generator,
    root: tuple[float, float],
    direction: float,
    length: float,
    width: float,
    depth: int,
    bark: Array,
) -> None:
    tip = (root[0] + length * np.sin(direction), root[1] - length * np.cos(direction))
    ends = [(round(root[0] * 16), round(root[1] * 16)), (round(tip[0] * 16), round(tip[1] * 16))]
    tone = bark * rng.uniform(0.75, 1.2)
    thickness = max(1, round(width))
    cv2.line(colour, ends[0], ends[1], tone.tolist(), thickness + 1, cv2.LINE_8, 4)
    cv2.line(alpha, ends[0], ends[1], 1.0, thickness, cv2.LINE_8, 4)
    if depth == 0:
        return
    for turn in rng.uniform(0.2, 0.7, 3) * np.array([-1, 1, rng.choice([-0.4, 0.4])]):
        _branch(
            colour,
            alpha,
            rng,
            tip,
            0.85 * direction + turn,
            length * rng.uniform(0.6, 0.82),
            width * 0.6,
            depth - 1,
            bark,
        )


def tree(seed: int, bare: bool) -> Texture:
    """A tree with its foot in the middle of the lower edge; a leafless crown counts as tree."""
    rng = stream(seed, "tree")
    rows, columns = 300, 240
    colour = np.zeros((rows, columns, 3), np.float32)
    alpha = np.zeros((rows, columns), np.float32)
    bark = np.array([76, 84, 92], np.float32) * rng.uniform(0.6, 1.2)
    centre = (columns / 2, rows * 0.40)
    radius_x, radius_y = columns * rng.uniform(0.36, 0.46), rows * rng.uniform(0.3, 0.38)
    colour[:] = bark
    _branch(
        colour, alpha, rng, (columns / 2, rows), rng.normal(0, 0.03),
        rows * (rng.uniform(0.2, 0.24) if bare else 0.3), 10, 6 if bare else 2, bark,
    )  # fmt: skip
    grid_y, grid_x = np.mgrid[:rows, :columns].astype(np.float32)
    away = np.hypot((grid_x - centre[0]) / radius_x, (grid_y - centre[1]) / radius_y)
    lumps = noise_patch(rng, rows, columns, cells=14, octaves=4)
    if bare:
        fine = noise_patch(rng, rows, columns, cells=200, octaves=2)
        near = cv2.GaussianBlur(alpha, (0, 0), 5) > 0.07
        haze = np.clip(0.26 + 0.14 * fine, 0.16, 0.6) * near
        twig = 0.75 * bark + 4 * fine[:, :, None]
        picture = colour * alpha[:, :, None] + twig * (1 - alpha[:, :, None])
        return Texture(_premultiplied(picture, np.maximum(alpha, haze)), label_from=0.12)
    green = np.array(_GREENS[rng.integers(len(_GREENS))], np.float32) * rng.uniform(0.75, 1.2)
    leaf_alpha = np.zeros((rows, columns), np.uint8)
    count = 750
    angle = rng.uniform(0, 2 * np.pi, count)
    reach = np.sqrt(rng.uniform(0, 1, count)) * (0.9 + 0.14 * np.sin(3 * angle + rng.uniform(0, 6)))
    xs = centre[0] + reach * radius_x * np.cos(angle)
    ys = centre[1] + reach * radius_y * np.sin(angle)
    # Painted from the shaded underside to the lit top, as light falls on a crown.
    order = np.argsort(-ys + rng.normal(0, 25, count))
    for number in order:
        x, y = xs[number], ys[number]
        height = (centre[1] + radius_y - y) / (2 * radius_y)
        tone = green * (0.42 + 0.72 * height + rng.normal(0, 0.13))
        size = int(rng.integers(3, 11))
        cv2.circle(colour, (round(x), round(y)), size, tone.tolist(), -1)
        cv2.circle(leaf_alpha, (round(x), round(y)), size, 255, -1)
    speckle = noise_patch(rng, rows, columns, cells=220, octaves=2)
    leaves = leaf_alpha > 0
    colour[leaves] *= (1 + 0.17 * speckle + 0.06 * lumps)[leaves][:, None]
    gaps = (lumps + 0.5 * speckle > 2.1) & (away > 0.4)
    alpha = np.maximum(alpha, (leaves & ~gaps).astype(np.float32))
    return Texture(_premultiplied(colour, alpha))


def hedge(seed: int) -> Texture:
    """Foliage that fills a strip, ragged at its upper edge."""
    rng = stream(seed, "hedge")
    rows, columns = 96, 384
    green = np.array(_GREENS[rng.integers(len(_GREENS))], np.float32) * rng.uniform(0.6, 1.0)
    lumps = noise_patch(rng, rows, columns, cells=32, octaves=5)
    fade = np.linspace(1.25, 0.55, rows, dtype=np.float32)[:, None]
    colour = green * (fade * (1 + 0.22 * lumps))[:, :, None]
    top = 7 + 4 * noise_patch(rng, 1, columns, cells=40, octaves=3)[0]
    alpha = (np.arange(rows)[:, None] > top).astype(np.float32)
    return Texture(_premultiplied(colour, alpha))


def railing(seed: int) -> Texture:
    """A fence: iron bars, boards or mesh. What lies between the bars counts as fence."""
    rng = stream(seed, "railing")
    rows, columns = 96, 384
    kind = int(rng.integers(3))
    colour = np.empty((rows, columns, 3), np.float32)
    alpha = np.full((rows, columns), 0.05, np.float32)
    if kind == 1:
        colour[:] = np.array([70, 105, 140], np.float32) * rng.uniform(0.6, 1.2)
        boards = rng.standard_normal((1, columns // 12), dtype=np.float32)
        colour *= 1 + 0.1 * np.repeat(boards, 12, axis=1)[:, :, None]
        colour[:, ::12] *= 0.5
        colour += 4 * rng.standard_normal((rows, columns, 1), dtype=np.float32)
        return Texture(_premultiplied(colour, np.ones((rows, columns), np.float32)))
    paints = [(30, 32, 30), (60, 60, 60), (150, 150, 150), (40, 70, 30)]
    colour[:] = np.array(paints[rng.integers(len(paints))], np.float32)
    step, bar = (10, 3) if kind == 0 else (6, 2)
    for offset in range(bar):
        alpha[4:, offset::step] = 1.0
    alpha[4:11], alpha[-16:-10] = 1.0, 1.0
    alpha[:, ::96] = alpha[:, 1::96] = alpha[:, 2::96] = alpha[:, 3::96] = 1.0
    if kind == 2:
        alpha[10::8] = 1.0
    return Texture(_premultiplied(colour, alpha), label_from=0.03)
