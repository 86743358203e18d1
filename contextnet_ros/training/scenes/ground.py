"""Road, markings, pavement, grass, and the shadows that fall on them."""

from __future__ import annotations

import cv2
import numpy as np

from contextnet_ros.training.scenes.canvas import fixed_point
from contextnet_ros.training.scenes.randomness import noise_tile, stream
from contextnet_ros.training.scenes.stage import (
    KERB_M,
    ROAD,
    SIDEWALK,
    TERRAIN,
    UP,
    Stage,
)
from contextnet_ros.training.scenes.world import SEEN_M, Building, Item

_TILE = 512
_TILE_M = 6.0
_WHITE = (225, 228, 228)
_YELLOW = (70, 190, 225)


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
        self.paint = float(rng.uniform(0.7, 1.0))
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
        self.grass_grain = _factor(
            0.16 * noise_tile(rng, cells=120, octaves=2) + 0.08 * soft
        )
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
        s = np.concatenate([np.linspace(near, near + 40, 18), np.linspace(near + 44, near + SEEN_M, 24)])
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
                for at in np.arange(s0, s1 - 0.4, 0.9):
                    x0, x1 = kerb + street.side * 0.15, kerb + street.side * 0.4
                    self._mark(stage, [(x0, at), (x1, at), (x1, at + 0.5), (x0, at + 0.5)])
        gaps = [
            (street.side, street.s0 - 0.4, street.s1 + 0.4)
            for chunk in stage.world.chunks(camera.s)
            for street in chunk.side_streets
        ]
        kerb_tone = 0.5 * (self.paving + 165)
        for side in (-1, 1):
            x = side * world.kerb(side)
            for s0, s1 in zip(s[:-1], s[1:], strict=True):
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
        self._markings(stage, gaps)

    def _band(
        self, stage: Stage, x0: float, x1: float, s: np.ndarray, colour: np.ndarray, label: int,
        y: float,
    ) -> None:  # fmt: skip
        # Far to near in few steps, so that haze can change along the band.
        for first in range(len(s) - 6, -1, -6):
            part = s[first : first + 7]
            left = np.column_stack([np.full(len(part), x0), np.full(len(part), y), part])
            right = np.column_stack([np.full(len(part), x1), np.full(len(part), y), part])
            stage.face(np.vstack([left, right[::-1]]), colour, label, UP)

    def _mark(self, stage: Stage, corners: list, colour: tuple = _WHITE) -> None:
        points = [(x, 0.0, s) for x, s in corners]
        worn = np.asarray(colour) * self.paint + self.asphalt * (1 - self.paint)
        stage.face(points, worn, ROAD, UP)

    def _dashes(
        self, stage: Stage, x: float, length: float, gap: float, width: float = 0.11,
        colour: tuple = _WHITE, skip: list | None = None, reach: float = 90.0,
    ) -> None:  # fmt: skip
        camera_s = stage.camera.s
        period = length + gap
        at = np.floor((camera_s + 1) / period) * period
        while at < camera_s + reach:
            if not any(low < at + 0.5 * length < high for low, high in skip or []):
                self._mark(
                    stage,
                    [(x - width / 2, at), (x + width / 2, at), (x + width / 2, at + length),
                     (x - width / 2, at + length)],
                    colour,
                )  # fmt: skip
            at += period

    def _markings(self, stage: Stage, gaps: list) -> None:
        world, draw = stage.world, stage.world.markings
        crossings = [c for c in stage.world.chunks(stage.camera.s) if c.crossing_s is not None]
        skip = [(c.crossing_s - 4.0, c.crossing_s + 4.0) for c in crossings]
        if draw[0] < 0.85:
            length, gap = [(2.0, 4.0), (4.0, 2.0), (1.0, 5.0), (6.0, 0.0)][int(draw[1] * 4)]
            self._dashes(stage, 0.0, length, gap, 0.12, skip=skip)
        if world.lanes == 2:
            for side in (-1, 1):
                self._dashes(stage, side * world.lane_m, 1.5, 4.5, skip=skip)
        for side in (-1, 1):
            edge = side * (world.lanes * world.lane_m + 0.02)
            hidden = skip + [(low, high) for gap, low, high in gaps if gap == side]
            kerb = side * (world.kerb(side) - 0.22)
            if world.parking[side] and draw[2] < 0.6:
                self._dashes(stage, edge, 1.0, 1.0, 0.1, skip=hidden)
            elif not world.parking[side] and draw[3] < 0.45:
                for shift in (0.0, side * 0.2):
                    self._dashes(stage, kerb - shift, 3.0, 0.0, 0.08, _YELLOW, hidden)
            elif not world.parking[side] and draw[3] < 0.75:
                self._dashes(stage, kerb, 3.0, 0.0, 0.1, skip=hidden)
        for chunk in crossings:
            self._crossing(stage, chunk.crossing_s, chunk.lights)
        self._arrows(stage)
        self._covers(stage)

    def _crossing(self, stage: Stage, s: float, lights: bool) -> None:
        world = stage.world
        left, right = -world.kerb(-1), world.kerb(1)
        if lights:
            for at in (s - 1.3, s + 1.3):
                for x in np.arange(left + 0.3, right - 0.3, 0.7):
                    self._mark(
                        stage, [(x, at), (x + 0.3, at), (x + 0.3, at + 0.3), (x, at + 0.3)]
                    )
        else:
            for number, x in enumerate(np.arange(left + 0.3, right - 0.5, 0.6)):
                if number % 2 == 0:
                    self._mark(
                        stage, [(x, s - 1.4), (x + 0.6, s - 1.4), (x + 0.6, s + 1.4), (x, s + 1.4)]
                    )
        own = world.drive_side
        outer = own * world.lanes * world.lane_m
        for stop, x0, x1 in ((s - 3.0, 0.1 * own, outer), (s + 3.0, -0.1 * own, -outer)):
            self._mark(stage, [(x0, stop), (x1, stop), (x1, stop + 0.25), (x0, stop + 0.25)])

    def _arrows(self, stage: Stage) -> None:
        world, camera_s = stage.world, stage.camera.s
        if world.markings[4] > 0.4:
            return
        at = np.floor(camera_s / 47) * 47
        while at < camera_s + 70:
            x = world.drive_side * world.lane_m * 0.5
            shaft = [(x - 0.08, at), (x + 0.08, at), (x + 0.08, at + 2.4), (x - 0.08, at + 2.4)]
            self._mark(stage, shaft)
            self._mark(stage, [(x - 0.32, at + 2.2), (x + 0.32, at + 2.2), (x, at + 3.8)])
            at += 47

    def _covers(self, stage: Stage) -> None:
        camera_s = stage.camera.s
        for number in range(int(camera_s // 17), int((camera_s + 60) // 17) + 1):
            rng = stream(self.seed, "cover", number)
            x, s = rng.uniform(-0.9, 0.9) * stage.world.lane_m, 17 * number + rng.uniform(0, 12)
            angle = np.arange(14) * (2 * np.pi / 14)
            ring = np.column_stack([x + 0.32 * np.cos(angle), 0 * angle, s + 0.32 * np.sin(angle)])
            stage.face(ring, self.asphalt * 0.62, ROAD, UP)

    def light_up(self, stage: Stage, shadows: np.ndarray, contact: np.ndarray) -> None:
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
        along = np.broadcast_to((camera.s % 3072 + ahead).astype(np.float32)[:, None], shape)
        label = canvas.label[top:]
        unit = np.float32(_TILE / _TILE_M)
        # Half a kilometre is added because a remap wraps negative places badly.
        map_x, map_y = (across + 600) * unit, along * unit
        map_x, map_y = map_x % _TILE, map_y % _TILE
        grain = _sample(self.road_grain, map_x, map_y)
        for ids, tile in ((SIDEWALK, self.paving_grain), (TERRAIN, self.grass_grain)):
            there = label == ids
            if there.any():
                np.copyto(grain, _sample(tile, map_x, map_y), where=there)
        # Far away one pixel covers much ground, and grain would only flicker.
        fade = np.clip(1.0 / (1.0 + (ahead / 14.0) ** 2), 0, 1).astype(np.float32)[:, None]
        stains = _sample(self.stains, (across + 600) * 12 % 512, along * 5 % 512)
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


def _factor(relative: np.ndarray) -> np.ndarray:
    return np.clip(128 * (1 + relative), 0, 255).astype(np.uint8)


def _sample(tile: np.ndarray, map_x: np.ndarray, map_y: np.ndarray) -> np.ndarray:
    return cv2.remap(tile, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


def contact_shadows(stage: Stage, items: list[Item], footprints: dict[str, tuple]) -> np.ndarray:
    """Where something stands on the ground and keeps the sky's light off it (H, W) uint8."""
    contact = np.zeros((stage.canvas.height, stage.canvas.width), np.uint8)
    for item in sorted(items, key=lambda item: -item.s):
        ahead = item.s - stage.camera.s
        if item.kind not in footprints or not -6 < ahead < 80:
            continue
        length, width, _, _ = footprints[item.kind]
        half_x, half_s = 0.5 * width + 0.08, 0.5 * length + 0.12
        outline = stage.camera.outline(
            [(item.x - half_x, 0, item.s - half_s), (item.x + half_x, 0, item.s - half_s),
             (item.x + half_x, 0, item.s + half_s), (item.x - half_x, 0, item.s + half_s)]
        )  # fmt: skip
        if outline is not None:
            value = 255 if width > 1 else 120
            cv2.fillPoly(contact, [fixed_point(outline)], value, cv2.LINE_8, 4)
    return contact


def cast_shadows(
    stage: Stage, buildings: list[Building], items: list[Item], footprints: dict[str, tuple]
) -> np.ndarray:
    """Where the sun does not reach the ground (H, W) uint8, 255 in full shadow.

    footprints gives (length, width, height, share of light held back) in metres for a kind.
    """
    shadows = np.zeros((stage.canvas.height, stage.canvas.width), np.uint8)
    sun = np.array(stage.light.sun_direction)
    reach = -sun / max(sun[1], 0.12)

    def fill(points: np.ndarray, value: float) -> None:
        outline = stage.camera.outline(points)
        if outline is None:
            return
        hull = cv2.convexHull(np.array(outline, np.float32))[:, 0]
        corners = fixed_point(hull)
        layer = int(np.clip(value * 255, 0, 255))
        low_u, low_v = np.floor(hull.min(axis=0)).astype(int)
        high_u, high_v = np.ceil(hull.max(axis=0)).astype(int) + 1
        if high_u < 0 or high_v < 0 or low_u > shadows.shape[1] or low_v > shadows.shape[0]:
            return
        cv2.fillPoly(shadows, [corners], layer, cv2.LINE_8, 4)

    ordered = sorted(items, key=lambda item: footprints.get(item.kind, (0, 0, 0, 0))[3])
    for item in ordered:
        if item.kind not in footprints or item.s > stage.camera.s + 90:
            continue
        length, width, height, share = footprints[item.kind]
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (width / 2, length / 2)
        base = np.column_stack([item.x + corners[:, 0], np.zeros(4), item.s + corners[:, 1]])
        lifted = base + height * np.array([reach[0], 0, reach[2]])
        if item.kind == "tree":
            middle = np.array([item.x, 0, item.s]) + 4.5 * np.array([reach[0], 0, reach[2]])
            angle = np.arange(12) * (2 * np.pi / 12)
            size = 2.4 + 0.5 * np.sin(3 * angle + item.seed)
            lifted = middle + np.column_stack([size * np.cos(angle), 0 * angle, size * np.sin(angle)])
            fill(lifted, share)
            continue
        fill(np.vstack([base, lifted]), share)
    for house in buildings:
        height = house.storeys * 3.0 + (2.0 if house.pitched else 0.5)
        deep = house.x + house.side * 8
        base = np.array([[house.x, 0, house.s0], [house.x, 0, house.s1],
                         [deep, 0, house.s1], [deep, 0, house.s0]])  # fmt: skip
        lifted = base + height * np.array([reach[0], 0, reach[2]])
        fill(np.vstack([base, lifted]), 1.0)
    return shadows
