"""Road, pavement and grass: their shapes, their grain, and the light on them."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np

from contextnet_ros.training.scenes.kinds import Array
from contextnet_ros.training.scenes.markings import Markings
from contextnet_ros.training.scenes.randomness import noise_tile, stream
from contextnet_ros.training.scenes.stage import (
    KERB_M,
    ROAD,
    SIDEWALK,
    TERRAIN,
    UP,
    Stage,
)
from contextnet_ros.training.scenes.world import SEEN_M

_TILE = 512
_TILE_M = 6.0


class Ground:
    """The ground of one scene; its grain is fixed to the street."""

    def __init__(self, seed: int) -> None:
        rng = stream(seed, "ground")
        self.seed = seed
        grey = rng.uniform(75, 125)
        self.asphalt = np.array([1.0, 1.0, 1.0]) * grey + rng.uniform(-5, 5, 3)
        paving = [(150, 158, 165), (125, 130, 135), (120, 135, 160), (105, 105, 108)]
        self.paving = np.array(paving[rng.integers(4)]) * rng.uniform(0.8, 1.15)
        grass = [(55, 110, 90), (50, 120, 80), (70, 115, 110)]
        self.grass = np.array(grass[rng.integers(3)]) * rng.uniform(0.7, 1.1)
        self.markings = Markings(seed, self.asphalt, float(rng.uniform(0.7, 1.0)))
        grit = noise_tile(rng, cells=200, octaves=2)
        soft = noise_tile(rng, cells=6, octaves=4)
        self.road_grain = _factor(0.045 * rng.uniform(0.6, 1.6) * grit + 0.035 * soft)
        slabs = 0.03 * grit + 0.02 * soft
        step = _TILE // int(rng.choice([8, 10, 16]))
        tone = rng.standard_normal((_TILE // step + 1, _TILE // step + 1), dtype=np.float32)
        slabs += 0.04 * np.repeat(np.repeat(tone, step, 0), step, 1)[:_TILE, :_TILE]
        if rng.random() < 0.75:
            slabs[::step] -= 0.22
            slabs[:, ::step] -= 0.22
        self.paving_grain = _factor(slabs)
        self.grass_grain = _factor(0.16 * noise_tile(rng, cells=120, octaves=2) + 0.08 * soft)
        wide = noise_tile(rng, cells=10, octaves=4)
        wide = 0.06 * wide
        for _ in range(10):
            # Repairs: rectangles of younger or older asphalt.
            x, y = rng.integers(0, 470, 2)
            w, h = rng.integers(6, 40, 2)
            wide[y : y + h, x : x + w] += rng.uniform(-0.13, 0.10)
        self.stains = _factor(wide)

    def paint_surfaces(self, stage: Stage) -> None:
        """Draw everything flat, far and near, without its grain."""
        camera, world = stage.camera, stage.world
        near = camera.s - 1.0
        canvas = stage.canvas
        rows = int(np.clip(np.floor(camera.horizon_px) + 1, 0, canvas.height))
        canvas.image[rows:] = stage.tone(self.grass, UP, camera.s + 40)
        canvas.label[rows:] = TERRAIN
        s = np.concatenate(
            [np.linspace(near, near + 40, 18), np.linspace(near + 44, near + SEEN_M, 24)]
        )
        for side in (-1, 1):
            kerb, back = world.kerb(side), world.back(side)
            inner = kerb + world.verge[side]
            wide = 40.0 if world.area == "city" else back
            self._band(stage, side * inner, side * wide, s, self.paving, SIDEWALK, KERB_M)
            if world.verge[side]:
                self._band(stage, side * kerb, side * inner, s, self.grass, TERRAIN, KERB_M)
        self._band(stage, -world.kerb(-1), world.kerb(1), s, self.asphalt, ROAD, 0.0)
        for chunk in stage.world.chunks(camera.s):
            for street in chunk.side_streets:
                kerb = street.side * (world.kerb(street.side) - 0.05)
                out = street.side * 60.0
                s0, s1 = street.s0 + 1.2, street.s1 - 1.2
                flare = street.side * (world.kerb(street.side) + 1.6)
                stage.face(
                    [(kerb, 0, s0 - 1.6), (flare, 0, s0), (out, 0, s0), (out, 0, s1),
                     (flare, 0, s1), (kerb, 0, s1 + 1.6)],
                    self.asphalt * 0.97, ROAD, UP,
                )  # fmt: skip
                for at in np.arange(s0, s1 - 0.4, 0.9).tolist():
                    x0, x1 = kerb + street.side * 0.15, kerb + street.side * 0.4
                    corners = [(x0, at), (x1, at), (x1, at + 0.5), (x0, at + 0.5)]
                    self.markings.mark(stage, corners)
        gaps = [
            (street.side, street.s0 - 0.4, street.s1 + 0.4)
            for chunk in stage.world.chunks(camera.s)
            for street in chunk.side_streets
        ]
        kerb_tone = 0.5 * (self.paving + 165)
        for side in (-1, 1):
            x = side * world.kerb(side)
            for s0, s1 in pairwise(s.tolist()):
                if s0 > camera.s + 70:
                    break
                middle = 0.5 * (s0 + s1)
                if any(side == gap and low < middle < high for gap, low, high in gaps):
                    continue
                face = [(x, 0, s0), (x, KERB_M, s0), (x, KERB_M, s1), (x, 0, s1)]
                stage.face(face, kerb_tone * 0.85, SIDEWALK, (-side, 0.2, 0))
                top = x + side * 0.14
                face = [(x, KERB_M, s0), (top, KERB_M, s0), (top, KERB_M, s1), (x, KERB_M, s1)]
                stage.face(face, kerb_tone, SIDEWALK, UP)
        self.markings.draw(stage, gaps)

    def _band(
        self, stage: Stage, x0: float, x1: float, s: Array, colour: Array, label: int,
        y: float,
    ) -> None:  # fmt: skip
        # Far to near in few steps, so that haze can change along the band.
        for first in range(len(s) - 6, -1, -6):
            part = s[first : first + 7]
            left = np.column_stack([np.full(len(part), x0), np.full(len(part), y), part])
            right = np.column_stack([np.full(len(part), x1), np.full(len(part), y), part])
            stage.face(np.vstack([left, right[::-1]]).tolist(), colour, label, UP)

    def light_up(self, stage: Stage, shadows: Array, contact: Array) -> None:
        """Give road, pavement and grass their grain, and take light where the two masks are 255.

        shadows (H, W) uint8 holds back the sun, contact (H, W) uint8 the sky.
        """
        camera, canvas = stage.camera, stage.canvas
        top = int(np.clip(np.floor(camera.horizon_px) + 2, 0, canvas.height - 1))
        rows = np.arange(top, canvas.height, dtype=np.float64)
        ahead = camera.focal_px * camera.mount_m / np.maximum(rows - camera.horizon_px, 0.3)
        bent = camera.sideways(camera.s + ahead)
        columns = np.arange(canvas.width, dtype=np.float32) - np.float32(camera.centre_px)
        per_pixel = (ahead / camera.focal_px).astype(np.float32)[:, None]
        across = columns[None] * per_pixel - bent.astype(np.float32)[:, None]
        shape = across.shape
        along = (camera.s + ahead)[:, None]
        label = canvas.label[top:]
        unit = np.float32(_TILE / _TILE_M)
        # Reduced to one tile here, because a remap counts pixels in 16 bits.
        map_x = (across + 600) * unit % _TILE
        map_y = _rows(along * unit % _TILE, shape)
        grain = _sample(self.road_grain, map_x, map_y)
        for ids, tile in ((SIDEWALK, self.paving_grain), (TERRAIN, self.grass_grain)):
            there = label == ids
            if there.any():
                np.copyto(grain, _sample(tile, map_x, map_y), where=there)
        # Far away one pixel covers much ground, and grain would only flicker.
        fade = np.clip(1.0 / (1.0 + (ahead / 14.0) ** 2), 0, 1).astype(np.float32)[:, None]
        stains = _sample(self.stains, (across + 600) * 12 % 512, _rows(along * 5 % 512, shape))
        wear = 0.035 * np.cos((across - stage.world.own_x) * np.float32(2 * np.pi / 1.6))
        wear *= np.abs(across) < stage.world.lane_m * stage.world.lanes
        total = 1 + (grain.astype(np.float32) - 128) / 128 * fade
        total *= 1 + (stains.astype(np.float32) - 128) / 128 - wear
        depth = np.float32(stage.light.shadow_depth / 255)
        soft = max(0.5, 0.0009 * canvas.width)
        shade = cv2.GaussianBlur(shadows[top:], (0, 0), soft)
        total *= 1 - depth * shade
        wide = cv2.GaussianBlur(contact[top:], (0, 0), 0.003 * canvas.width)
        total *= 1 - np.float32(0.72 / 255) * wide
        total = np.clip(total * 128, 0, 255).astype(np.uint8)
        image = canvas.image[top:]
        cv2.multiply(image, cv2.merge([total] * 3), dst=image, scale=1 / 128)


def _rows(column: Array, shape: tuple[int, ...]) -> Array:
    return np.ascontiguousarray(np.broadcast_to(column.astype(np.float32), shape))


def _factor(relative: Array) -> Array:
    return np.clip(128 * (1 + relative), 0, 255).astype(np.uint8)


def _sample(tile: Array, map_x: Array, map_y: Array) -> Array:
    taken: Array = cv2.remap(tile, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return taken
