"""Fronts of houses: brick, plaster or stone, with windows, doors and shops."""

from __future__ import annotations

from typing import Any

import numpy as np

from contextnet_ros.training.scenes.canvas import Texture
from contextnet_ros.training.scenes.kinds import Array, Colour
from contextnet_ros.training.scenes.randomness import noise_patch, stream

PIXELS_PER_M = 26
STOREY_M = 3.0

# BGR of walls, as materials are under white light.
_WALLS = {
    "brick": [(70, 85, 135), (80, 105, 150), (95, 125, 165), (75, 80, 105), (120, 160, 190)],
    "plaster": [
        (225, 232, 235),
        (190, 215, 228),
        (205, 205, 200),
        (170, 200, 215),
        (150, 190, 225),
    ],
    "stone": [(150, 170, 180), (120, 135, 142), (165, 185, 200)],
    "panel": [(150, 150, 148), (120, 118, 112), (185, 185, 180), (95, 90, 85)],
}
_PAINTS = [
    (40, 40, 120), (60, 90, 40), (120, 60, 30), (35, 35, 35), (60, 150, 190), (200, 200, 205),
]  # fmt: skip


class _Sheet:
    """A wall to draw on, in metres from its lower left corner."""

    def __init__(self, width_m: float, height_m: float) -> None:
        self.height_m = height_m
        rows = max(8, round(height_m * PIXELS_PER_M))
        columns = max(8, round(width_m * PIXELS_PER_M))
        self.picture = np.empty((rows, columns, 3), np.float32)

    def part(self, x: float, y: float, width: float, height: float) -> Array:
        """A view of the pixels of a rectangle whose lower left corner is x, y."""
        scale = PIXELS_PER_M
        top = round((self.height_m - y - height) * scale)
        bottom = round((self.height_m - y) * scale)
        left, right = round(x * scale), round((x + width) * scale)
        return self.picture[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]

    def fill(self, x: float, y: float, width: float, height: float, colour: Colour) -> None:
        """Paint a rectangle."""
        self.part(x, y, width, height)[:] = np.asarray(colour, np.float32)


def _grain(rng: np.random.Generator, shape: tuple[int, ...], strength: float) -> Array:
    return strength * noise_patch(rng, shape[0], shape[1], cells=512, octaves=1)[:, :, None]


def _window(
    sheet: _Sheet, rng: np.random.Generator, box: tuple[float, ...], style: dict[str, Any]
) -> None:
    x, y, width, height = box
    sheet.fill(x - 0.12, y - 0.14, width + 0.24, 0.14, style["sill"])
    sheet.fill(x - 0.1, y + height, width + 0.2, 0.18, style["lintel"])
    sheet.fill(x - 0.05, y - 0.02, width + 0.1, height + 0.05, (30, 30, 32))
    sheet.fill(x, y, width, height, style["frame"])
    columns, rows = style["panes"]
    dark = rng.uniform(0.5, 1.5)
    for column in range(columns):
        for row in range(rows):
            pane_x = x + 0.06 + column * (width - 0.06) / columns
            pane_y = y + 0.06 + row * (height - 0.06) / rows
            pane_w = (width - 0.06) / columns - 0.06
            pane_h = (height - 0.06) / rows - 0.06
            pane = sheet.part(pane_x, pane_y, pane_w, pane_h)
            if pane.size:
                fade = np.linspace(1.35, 0.6, pane.shape[0], dtype=np.float32)[:, None, None]
                pane[:] = fade * dark * np.array([62, 56, 50], np.float32)
    if rng.random() < 0.35:
        curtain = rng.uniform(110, 210)
        sheet.part(x + 0.06, y + 0.06, 0.2 * width, height - 0.1)[:] *= curtain / 60
        sheet.part(x + 0.78 * width, y + 0.06, 0.17 * width, height - 0.1)[:] *= curtain / 60


def _shop(sheet: _Sheet, rng: np.random.Generator, width_m: float) -> None:
    paint = np.array(_PAINTS[rng.integers(len(_PAINTS))], np.float32) * rng.uniform(0.7, 1.2)
    sheet.fill(0.1, 0.0, width_m - 0.2, 3.5, paint * 0.8)
    sheet.fill(0.1, 2.75, width_m - 0.2, 0.62, paint)
    text = (235, 238, 240) if paint.mean() < 140 else (40, 35, 45)
    x = rng.uniform(0.4, 1.2)
    while x < width_m - 1.0 and rng.random() < 0.93:
        letter = rng.uniform(0.12, 0.26)
        sheet.fill(x, 2.92, letter, rng.uniform(0.2, 0.32), text)
        sheet.fill(x + 0.3 * letter, 3.0, 0.4 * letter, 0.1, paint)
        x += letter + 0.08 + (0.25 if rng.random() < 0.15 else 0.0)
    door_x = rng.uniform(0.3, max(0.4, width_m - 1.5))
    x = 0.3
    while x < width_m - 0.8:
        pane_w = min(rng.uniform(0.9, 2.2), width_m - 0.3 - x)
        is_door = x <= door_x < x + pane_w
        low = 0.1 if is_door else rng.uniform(0.4, 0.6)
        pane = sheet.part(x, low, pane_w - 0.1, 2.6 - low)
        if pane.size:
            inside = rng.uniform(25, 110)
            fade = np.linspace(1.4, 0.5, pane.shape[0], dtype=np.float32)[:, None, None]
            pane[:] = inside * fade * np.array([0.9, 0.97, 1.0], np.float32)
            for _ in range(0 if is_door else int(rng.integers(2, 7))):
                goods = rng.uniform(30, 170) * rng.uniform(0.75, 1.25, 3)
                sheet.fill(
                    x + rng.uniform(0, 0.8) * pane_w,
                    low + rng.uniform(0.0, 1.2),
                    rng.uniform(0.1, 0.16 * pane_w + 0.12),
                    rng.uniform(0.15, 0.7),
                    goods,
                )
        x += pane_w


def _wall(sheet: _Sheet, rng: np.random.Generator, material: str) -> Array:
    shades = _WALLS[material]
    colour = np.array(shades[rng.integers(len(shades))], np.float32) * rng.uniform(0.8, 1.12)
    sheet.picture[:] = colour
    rows, columns = sheet.picture.shape[:2]
    stains = noise_patch(rng, rows, columns, cells=9, octaves=4)[:, :, None]
    sheet.picture *= 1 + 0.05 * stains
    if material == "brick":
        # Two texture rows make a course, and single bricks differ from their neighbours.
        courses = rng.standard_normal((rows // 2 + 1, columns // 6 + 1), dtype=np.float32)
        bricks = np.repeat(np.repeat(courses, 2, axis=0), 6, axis=1)[:rows, :columns]
        sheet.picture *= 1 + 0.08 * bricks[:, :, None]
    elif material == "stone":
        blocks = rng.standard_normal((rows // 8 + 1, columns // 16 + 1), dtype=np.float32)
        blocks = np.repeat(np.repeat(blocks, 8, axis=0), 16, axis=1)[:rows, :columns]
        sheet.picture *= 1 + 0.05 * blocks[:, :, None]
        sheet.picture[::8] *= 0.86
    elif material == "panel":
        sheet.picture[:: round(1.5 * PIXELS_PER_M)] *= 0.7
        sheet.picture[:, :: round(2.4 * PIXELS_PER_M)] *= 0.75
    return colour


def facade(seed: int, width_m: float, storeys: int, kind: str) -> Texture:
    """The front of a house of kind "terrace", "shop" or "office", STOREY_M a storey."""
    rng = stream(seed, "facade")
    height_m = storeys * STOREY_M + 0.5
    sheet = _Sheet(width_m, height_m)
    names = ["panel", "stone", "plaster", "brick"] if kind == "office" else list(_WALLS)[:3]
    weights = [0.4, 0.2, 0.2, 0.2] if kind == "office" else [0.55, 0.3, 0.15]
    material = names[int(rng.choice(len(names), p=weights))]
    colour = _wall(sheet, rng, material)
    white = rng.random() < 0.7
    style: dict[str, Any] = {
        "sill": colour * rng.uniform(0.7, 1.3),
        "lintel": colour * rng.uniform(0.75, 1.25),
        "frame": (228, 230, 230) if white else rng.uniform(25, 95) * np.array([0.9, 1.0, 1.1]),
        "panes": (int(rng.integers(1, 4)), int(rng.integers(1, 4))),
    }
    first = 1 if kind == "shop" else 0
    if kind == "office" and rng.random() < 0.6:
        band = rng.uniform(1.3, 2.0)
        for storey in range(storeys):
            y, x = storey * STOREY_M + 0.8, 0.25
            pane_w = rng.uniform(0.9, 1.8)
            while x < width_m - pane_w:
                _window(sheet, rng, (x, y, pane_w - 0.1, band), {**style, "panes": (1, 1)})
                x += pane_w
    else:
        bays = max(1, round(width_m / rng.uniform(2.2, 3.4)))
        window_w, window_h = rng.uniform(0.9, 1.4), rng.uniform(1.2, 1.9)
        door_bay = int(rng.integers(bays))
        for storey in range(first, storeys):
            for bay in range(bays):
                x = (bay + 0.5) * width_m / bays - window_w / 2
                y = storey * STOREY_M + 0.9
                if storey == 0 and bay == door_bay:
                    paint = np.array(_PAINTS[rng.integers(len(_PAINTS))])
                    sheet.fill(x - 0.12, 0.0, 1.24, 2.45, style["lintel"])
                    sheet.fill(x, 0.0, 1.0, 2.15, paint)
                    sheet.fill(x + 0.12, 1.2, 0.76, 0.7, paint * 0.7)
                    continue
                _window(sheet, rng, (x, y, window_w, window_h), style)
    if kind == "shop":
        _shop(sheet, rng, width_m)
    sheet.fill(0, height_m - 0.3, width_m, 0.3, style["lintel"])
    sheet.fill(0, height_m - 0.38, width_m, 0.08, colour * 0.5)
    if rng.random() < 0.5:
        sheet.fill(width_m - 0.18, 0, 0.1, height_m, (50, 50, 50))
    rows = sheet.picture.shape[0]
    # Walls are darker near the ground: dirt, and less sky to light them.
    sheet.picture *= np.linspace(1.04, 0.86, rows, dtype=np.float32)[:, None, None]
    sheet.picture += _grain(rng, sheet.picture.shape, 4.0)
    return Texture(np.clip(sheet.picture, 0, 255).astype(np.uint8))


def blank_wall(seed: int, colour: Colour | None = None) -> Texture:
    """A wall without windows, as gables and garden walls have."""
    rng = stream(seed, "wall")
    sheet = _Sheet(8.0, 8.0)
    base = _wall(sheet, rng, "brick" if rng.random() < 0.6 else "plaster")
    if colour is not None:
        sheet.picture *= np.asarray(colour, np.float32) / np.maximum(base, 1)
    sheet.picture += _grain(rng, sheet.picture.shape, 4.0)
    return Texture(np.clip(sheet.picture, 0, 255).astype(np.uint8))


def roof(seed: int) -> Texture:
    """Slates or tiles."""
    rng = stream(seed, "roof")
    tones = [(70, 68, 66), (60, 75, 120), (85, 90, 100), (55, 58, 75)]
    tone = tones[rng.integers(len(tones))]
    picture = np.empty((96, 192, 3), np.float32)
    picture[:] = np.array(tone, np.float32)
    tiles = rng.standard_normal((24, 32), dtype=np.float32)
    picture *= 1 + 0.1 * np.repeat(np.repeat(tiles, 4, axis=0), 6, axis=1)[:, :, None]
    picture[::4] *= 0.8
    return Texture(np.clip(picture, 0, 255).astype(np.uint8))
