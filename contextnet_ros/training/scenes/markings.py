"""What is painted on the road: lines, crossings, arrows; and the covers let into it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from contextnet_ros.training.scenes.kinds import Array, Colour
from contextnet_ros.training.scenes.randomness import stream
from contextnet_ros.training.scenes.stage import ROAD, UP, Stage

_WHITE = (225, 228, 228)
_YELLOW = (70, 190, 225)


class Markings:
    """The paint of one scene; it is worn, so that `paint` of it covers the asphalt."""

    def __init__(self, seed: int, asphalt: Array, paint: float) -> None:
        self.seed, self.asphalt, self.paint = seed, asphalt, paint

    def mark(
        self, stage: Stage, corners: Sequence[tuple[float, float]], colour: Colour = _WHITE
    ) -> None:
        """Paint a polygon of (x, s) on the road."""
        points = [(x, 0.0, s) for x, s in corners]
        worn = np.asarray(colour) * self.paint + self.asphalt * (1 - self.paint)
        stage.face(points, worn, ROAD, UP)

    def _dashes(
        self, stage: Stage, x: float, length: float, gap: float, width: float = 0.11,
        colour: Colour = _WHITE, skip: list[tuple[float, float]] | None = None, reach: float = 90.0,
    ) -> None:  # fmt: skip
        camera_s = stage.camera.s
        period = length + gap
        at = np.floor((camera_s + 1) / period) * period
        while at < camera_s + reach:
            if not any(low < at + 0.5 * length < high for low, high in skip or []):
                self.mark(
                    stage,
                    [(x - width / 2, at), (x + width / 2, at), (x + width / 2, at + length),
                     (x - width / 2, at + length)],
                    colour,
                )  # fmt: skip
            at += period

    def draw(self, stage: Stage, gaps: list[tuple[int, float, float]]) -> None:
        """Draw all markings; gaps are the sides and stretches where another road comes in."""
        world, draw = stage.world, stage.world.markings
        chunks = world.chunks(stage.camera.s)
        crossings = [(c.crossing_s, c.lights) for c in chunks if c.crossing_s is not None]
        skip = [(at - 4.0, at + 4.0) for at, _ in crossings]
        if draw[0] < 0.85:
            length, gap = [(2.0, 4.0), (4.0, 2.0), (1.0, 5.0), (6.0, 0.0)][int(draw[1] * 4)]
            self._dashes(stage, 0.0, length, gap, 0.12, skip=skip)
        if world.lanes == 2:
            for side in (-1, 1):
                self._dashes(stage, side * world.lane_m, 1.5, 4.5, skip=skip)
        for side in (-1, 1):
            edge = side * (world.lanes * world.lane_m + 0.02)
            hidden = [*skip, *((low, high) for gap, low, high in gaps if gap == side)]
            kerb = side * (world.kerb(side) - 0.22)
            if world.parking[side] and draw[2] < 0.6:
                self._dashes(stage, edge, 1.0, 1.0, 0.1, skip=hidden)
            elif not world.parking[side] and draw[3] < 0.45:
                for shift in (0.0, side * 0.2):
                    self._dashes(stage, kerb - shift, 3.0, 0.0, 0.08, _YELLOW, hidden)
            elif not world.parking[side] and draw[3] < 0.75:
                self._dashes(stage, kerb, 3.0, 0.0, 0.1, skip=hidden)
        for at, lights in crossings:
            self._crossing(stage, at, lights)
        self._arrows(stage)
        self._covers(stage)

    def _crossing(self, stage: Stage, s: float, lights: bool) -> None:
        world = stage.world
        left, right = -world.kerb(-1), world.kerb(1)
        if lights:
            for at in (s - 1.3, s + 1.3):
                for x in np.arange(left + 0.3, right - 0.3, 0.7).tolist():
                    self.mark(stage, [(x, at), (x + 0.3, at), (x + 0.3, at + 0.3), (x, at + 0.3)])
        else:
            for number, x in enumerate(np.arange(left + 0.3, right - 0.5, 0.6).tolist()):
                if number % 2 == 0:
                    self.mark(
                        stage, [(x, s - 1.4), (x + 0.6, s - 1.4), (x + 0.6, s + 1.4), (x, s + 1.4)]
                    )
        own = world.drive_side
        outer = own * world.lanes * world.lane_m
        for stop, x0, x1 in ((s - 3.0, 0.1 * own, outer), (s + 3.0, -0.1 * own, -outer)):
            self.mark(stage, [(x0, stop), (x1, stop), (x1, stop + 0.25), (x0, stop + 0.25)])

    def _arrows(self, stage: Stage) -> None:
        world, camera_s = stage.world, stage.camera.s
        if world.markings[4] > 0.4:
            return
        at = np.floor(camera_s / 47) * 47
        while at < camera_s + 70:
            x = world.drive_side * world.lane_m * 0.5
            shaft = [(x - 0.08, at), (x + 0.08, at), (x + 0.08, at + 2.4), (x - 0.08, at + 2.4)]
            self.mark(stage, shaft)
            self.mark(stage, [(x - 0.32, at + 2.2), (x + 0.32, at + 2.2), (x, at + 3.8)])
            at += 47

    def _covers(self, stage: Stage) -> None:
        camera_s = stage.camera.s
        for number in range(int(camera_s // 17), int((camera_s + 60) // 17) + 1):
            rng = stream(self.seed, "cover", number)
            x, s = rng.uniform(-0.9, 0.9) * stage.world.lane_m, 17 * number + rng.uniform(0, 12)
            angle = np.arange(14) * (2 * np.pi / 14)
            ring = np.column_stack([x + 0.27 * np.cos(angle), 0 * angle, s + 0.27 * np.sin(angle)])
            stage.face(ring.tolist(), self.asphalt * 0.78, ROAD, UP)
