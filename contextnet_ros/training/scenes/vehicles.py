"""Draws cars, vans, trucks and buses as solids with wheels, windows and lamps."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from contextnet_ros.training.scenes.kinds import Array, Colour
from contextnet_ros.training.scenes.randomness import stream
from contextnet_ros.training.scenes.stage import BUS, CAR, TO_CAMERA, TRUCK, UP, Stage
from contextnet_ros.training.scenes.things import Item


@dataclass(frozen=True)
class Body:
    """A shape: metres, and its outline from the rear over the roof as shares of L and H.

    Each point's word names the surface from there to the next point.
    """

    length: float
    width: float
    height: float
    outline: tuple[tuple[float, float, str], ...]
    side_windows: tuple[tuple[tuple[float, float], ...], ...]
    wheels: tuple[float, float]
    radius: float
    taper: float


_HATCH = Body(
    3.9, 1.72, 1.46,
    ((-0.5, 0.20, "end"), (-0.5, 0.58, "glass"), (-0.43, 0.95, "roof"), (0.06, 1.0, "glass"),
     (0.27, 0.64, "body"), (0.46, 0.55, "body"), (0.5, 0.44, "end"), (0.5, 0.18, "none")),
    (((-0.44, 0.62), (-0.39, 0.91), (-0.16, 0.93), (-0.16, 0.62)),
     ((-0.13, 0.62), (-0.13, 0.93), (0.05, 0.93), (0.22, 0.63))),
    (-0.32, 0.33), 0.30, 0.17,
)  # fmt: skip
_SALOON = Body(
    4.5, 1.78, 1.43,
    ((-0.5, 0.20, "end"), (-0.5, 0.60, "body"), (-0.36, 0.66, "glass"), (-0.22, 0.98, "roof"),
     (0.07, 1.0, "glass"), (0.24, 0.66, "body"), (0.46, 0.56, "body"), (0.5, 0.44, "end"),
     (0.5, 0.18, "none")),
    (((-0.30, 0.66), (-0.20, 0.93), (-0.08, 0.94), (-0.08, 0.65)),
     ((-0.06, 0.65), (-0.06, 0.94), (0.06, 0.94), (0.19, 0.65))),
    (-0.30, 0.32), 0.31, 0.19,
)  # fmt: skip
_ESTATE = Body(
    4.6, 1.78, 1.5,
    ((-0.5, 0.20, "end"), (-0.5, 0.58, "glass"), (-0.45, 0.95, "roof"), (0.08, 1.0, "glass"),
     (0.25, 0.65, "body"), (0.46, 0.56, "body"), (0.5, 0.44, "end"), (0.5, 0.18, "none")),
    (((-0.46, 0.64), (-0.42, 0.92), (-0.26, 0.93), (-0.26, 0.64)),
     ((-0.24, 0.64), (-0.24, 0.93), (-0.08, 0.94), (-0.08, 0.64)),
     ((-0.06, 0.64), (-0.06, 0.94), (0.07, 0.94), (0.20, 0.65))),
    (-0.31, 0.32), 0.31, 0.16,
)  # fmt: skip
_SUV = Body(
    4.5, 1.88, 1.74,
    ((-0.5, 0.24, "end"), (-0.5, 0.60, "glass"), (-0.46, 0.96, "roof"), (0.08, 1.0, "glass"),
     (0.22, 0.68, "body"), (0.47, 0.60, "body"), (0.5, 0.48, "end"), (0.5, 0.22, "none")),
    _ESTATE.side_windows,
    (-0.31, 0.32), 0.36, 0.14,
)  # fmt: skip
_VAN = Body(
    4.9, 1.92, 2.05,
    ((-0.5, 0.18, "end"), (-0.5, 0.50, "panel"), (-0.49, 0.97, "roof"), (0.18, 1.0, "glass"),
     (0.36, 0.58, "body"), (0.48, 0.48, "body"), (0.5, 0.36, "end"), (0.5, 0.15, "none")),
    (((0.10, 0.60), (0.10, 0.88), (0.21, 0.88), (0.32, 0.60)),),
    (-0.32, 0.34), 0.34, 0.06,
)  # fmt: skip
_TRUCK = Body(
    7.6, 2.35, 3.3,
    ((-0.5, 0.16, "end"), (-0.5, 0.36, "panel"), (-0.5, 1.0, "roof"), (0.27, 1.0, "body"),
     (0.275, 0.82, "roof"), (0.45, 0.80, "glass"), (0.49, 0.50, "body"), (0.5, 0.36, "end"),
     (0.5, 0.12, "none")),
    (((0.31, 0.50), (0.31, 0.72), (0.43, 0.72), (0.45, 0.50)),),
    (-0.28, 0.36), 0.46, 0.0,
)  # fmt: skip
_BUS = Body(
    10.8, 2.5, 3.0,
    ((-0.5, 0.12, "end"), (-0.5, 0.48, "glass"), (-0.495, 0.86, "body"), (-0.49, 1.0, "roof"),
     (0.49, 1.0, "body"), (0.495, 0.86, "glass"), (0.5, 0.40, "end"), (0.5, 0.10, "none")),
    tuple(((-0.47 + 0.12 * n, 0.46), (-0.47 + 0.12 * n, 0.82), (-0.365 + 0.12 * n, 0.82),
           (-0.365 + 0.12 * n, 0.46)) for n in range(8)),
    (-0.28, 0.32), 0.48, 0.0,
)  # fmt: skip

_CARS = (_HATCH, _HATCH, _SALOON, _ESTATE, _SUV)
_PAINTS = (
    (190, 190, 188), (205, 205, 205), (60, 58, 56), (40, 38, 38), (120, 118, 115), (125, 70, 35),
    (100, 55, 25), (40, 35, 150), (35, 30, 115), (70, 95, 45), (165, 150, 130), (50, 110, 150),
    (150, 110, 60), (95, 125, 160), (225, 225, 222),
)  # fmt: skip
Points3 = list[tuple[float, float, float]]
_GLASS = (58, 52, 46)
_BLACK = (28, 28, 28)


def draw_vehicle(stage: Stage, item: Item) -> None:
    """Draw a vehicle of kind "car", "van", "truck" or "bus"."""
    rng = stream(item.seed, "vehicle")
    bodies = {"van": _VAN, "truck": _TRUCK, "bus": _BUS}
    body = bodies.get(item.kind) or _CARS[int(rng.integers(len(_CARS)))]
    label = {"truck": TRUCK, "bus": BUS}.get(item.kind, CAR)
    paint = np.array(_PAINTS[int(rng.integers(len(_PAINTS)))], np.float64) * rng.uniform(0.8, 1.15)
    if item.kind == "bus" and rng.random() < 0.5:
        paint = np.array([40, 35, 170]) if rng.random() < 0.5 else np.array([140, 100, 50])
    if item.kind in ("van", "truck") and rng.random() < 0.6:
        paint = np.array([215, 218, 218]) * rng.uniform(0.75, 1.05)
    _Solid(stage, item, body, label, paint, rng).draw()


class _Solid:
    def __init__(
        self,
        stage: Stage,
        item: Item,
        body: Body,
        label: int,
        paint: Array,
        rng: np.random.Generator,
    ) -> None:
        self.stage, self.item, self.body, self.label, self.paint = stage, item, body, label, paint
        self.turn = float(rng.normal(0, 0.02))
        self.trim = paint * 0.45 if rng.random() < 0.5 else paint * 0.9
        self.braking = rng.random() < 0.3
        self.plate = (60, 190, 225) if rng.random() < 0.5 else (225, 228, 228)
        self.stripe = np.array(_PAINTS[int(rng.integers(len(_PAINTS)))], np.float64)
        self.marked = rng.random() < 0.5
        self.small = False

    def place(self, points: Points3) -> Points3:
        """Street points of (along L, up H, across half W) in shares of the body."""
        body, item = self.body, self.item
        placed = []
        for along, up, across in points:
            narrow = 1 - body.taper * min(max((up - 0.6) / 0.4, 0.0), 1.0)
            along_m = along * body.length
            x = item.x + across * 0.5 * body.width * narrow + self.turn * along_m
            placed.append((x, up * body.height, item.s + item.facing * along_m))
        return placed

    def face(
        self,
        points: Points3,
        colour: Colour,
        normal: tuple[float, float, float],
    ) -> None:
        """Draw one surface."""
        self.stage.face(self.place(points), colour, self.label, normal)

    def draw(self) -> None:
        """Far parts first."""
        centre = self.stage.camera.see(*self.place([(0.0, 0.3, 0.0)])[0])
        if centre[2] < -self.body.length:
            return
        half = 0.5 * self.body.width
        side = -1.0 if centre[0] > half else 1.0 if centre[0] < -half else 0.0
        outline = self.body.outline
        faces = list(pairwise(outline))
        # The near end of the outline is its first point when the vehicle drives away.
        if self.item.facing > 0:
            faces = faces[::-1]
        # Lamps and panes below half a pixel change nothing but the time it takes.
        self.small = self.stage.camera.focal_px * self.body.height / max(centre[2], 1.0) < 9
        if not self.small:
            self._wheels_across()
        for start, end in faces[:-1]:
            self._surface(start, end)
        if side:
            self._side(side)
        if self.stage.camera.s < self.item.s - 0.45 * self.body.length:
            self._surface(*faces[-1])

    def _wheels_across(self) -> None:
        near = -0.5 if self.item.facing > 0 else 0.5
        low = self.body.outline[0][1] + 0.04
        self.face([(near * 0.9, 0.08, -0.9), (near * 0.9, low, -0.9), (near * 0.9, low, 0.9),
                   (near * 0.9, 0.08, 0.9)], (16, 16, 16), UP)  # fmt: skip
        at = self.body.wheels[0] if self.item.facing > 0 else self.body.wheels[1]
        for side in (-1, 1):
            inner, outer = side * 0.74, side * 0.99
            self.face([(at, 0, inner), (at, 0.28, inner), (at, 0.28, outer), (at, 0, outer)],
                      (17, 17, 17), TO_CAMERA)  # fmt: skip

    def _surface(self, start: tuple[float, float, str], end: tuple[float, float, str]) -> None:
        kind = start[2]
        if kind == "none":
            return
        quad = [(start[0], start[1], -1.0), (end[0], end[1], -1.0), (end[0], end[1], 1.0),
                (start[0], start[1], 1.0)]  # fmt: skip
        along, up = end[0] - start[0], end[1] - start[1]
        rise = self.body.height * up
        run = self.body.length * along
        size = max(np.hypot(rise, run), 1e-6)
        normal = (0.0, float(run / size), float(-rise / size * self.item.facing))
        self.face(quad, self.paint, normal)
        if kind == "glass":
            inset = [_between(quad, a, b) for a, b in ((0.07, 0.07), (0.07, 0.93), (0.93, 0.93),
                                                       (0.93, 0.07))]  # fmt: skip
            self.face(inset, _GLASS, normal)
            if self.small:
                return
            shine = [_between(quad, a, b) for a, b in ((0.12, 0.45), (0.12, 0.88), (0.5, 0.88),
                                                       (0.5, 0.75))]  # fmt: skip
            self.face(shine, (84, 78, 71), normal)
        elif self.small:
            return
        elif kind == "panel" and self.marked:
            inset = [_between(quad, a, b) for a, b in ((0.3, 0.35), (0.3, 0.6), (0.7, 0.6),
                                                       (0.7, 0.35))]  # fmt: skip
            self.face(inset, self.stripe, normal)
        elif kind == "end":
            self._end(quad, start[0] < 0, normal)

    def _end(self, quad: Points3, rear: bool, normal: tuple[float, float, float]) -> None:
        def patch(a0: float, a1: float, b0: float, b1: float, colour: Colour) -> None:
            if not rear:
                a0, a1 = 1 - a0, 1 - a1
            corners = ((a0, b0), (a1, b0), (a1, b1), (a0, b1))
            self.face([_between(quad, a, b) for a, b in corners], colour, normal)

        patch(0.0, 0.36, 0.0, 1.0, self.trim)
        patch(0.0, 0.08, 0.03, 0.97, _BLACK)
        if rear:
            lamp = (45, 40, 215) if self.braking else (35, 30, 130)
            patch(0.5, 0.95, 0.02, 0.15, lamp)
            patch(0.5, 0.95, 0.85, 0.98, lamp)
            patch(0.5, 0.62, 0.03, 0.13, (70, 150, 210))
            patch(0.5, 0.62, 0.87, 0.97, (70, 150, 210))
            patch(0.42, 0.6, 0.35, 0.65, self.plate)
            patch(0.48, 0.54, 0.39, 0.61, _BLACK)
        else:
            patch(0.58, 0.95, 0.03, 0.24, (215, 215, 210))
            patch(0.58, 0.95, 0.76, 0.97, (215, 215, 210))
            patch(0.62, 0.92, 0.3, 0.7, _BLACK)
            patch(0.14, 0.34, 0.2, 0.8, (35, 35, 35))
            patch(0.22, 0.42, 0.36, 0.64, (225, 228, 228))

    def _side(self, side: float) -> None:
        outline = self.body.outline
        normal = (side, 0.1, 0.0)
        self.face([(x, y, side) for x, y, _ in outline], self.paint, normal)
        if self.small:
            for window in self.body.side_windows:
                self.face([(x, y, side) for x, y in window], _GLASS, normal)
            return
        low = min(outline[0][1], outline[-1][1])
        sill = [(-0.49, low, side), (-0.49, low + 0.09, side), (0.49, low + 0.09, side),
                (0.49, low, side)]  # fmt: skip
        self.face(sill, self.paint * 0.5, normal)
        upper = [(-0.49, 0.42, side), (-0.49, 0.46, side), (0.48, 0.44, side), (0.48, 0.40, side)]
        if self.body.taper:
            self.face(upper, self.paint * 0.8, normal)
        elif self.marked:
            self.face([(-0.45, 0.22, side), (-0.45, 0.4, side), (0.25, 0.4, side),
                       (0.25, 0.22, side)], self.stripe, normal)  # fmt: skip
        for window in self.body.side_windows:
            self.face([(x, y, side) for x, y in window], _GLASS, normal)
            (x0, y0), (x1, y1), (x2, y2), (x3, y3) = window
            shine = [
                (0.7 * x0 + 0.3 * x1, 0.7 * y0 + 0.3 * y1, side),
                (x1, y1 - 0.01, side),
                (x2, y2 - 0.01, side),
                (x3 * 0.4 + x2 * 0.6, 0.4 * y3 + 0.6 * y2, side),
            ]
            self.face(shine, (80, 74, 67), normal)
        angle = (np.arange(16) * (2 * np.pi / 16)).tolist()
        for at in self.body.wheels:
            for share, colour, out in (
                (1.28, (22, 22, 22), 1.0),
                (1.0, (32, 32, 33), 1.01),
                (0.62, (140, 140, 140), 1.015),
                (0.2, (60, 60, 60), 1.02),
            ):
                radius = share * self.body.radius
                ring = [
                    (at + radius * np.cos(a) / self.body.length,
                     (self.body.radius + radius * np.sin(a)) / self.body.height, side * out)
                    for a in angle
                    if share < 1.1 or np.sin(a) > -0.35
                ]  # fmt: skip
                self.face(ring, colour, normal)


def _between(quad: Points3, a: float, b: float) -> tuple[float, float, float]:
    """A point of a quad (start left, end left, end right, start right); a along, b across."""
    weights = ((1 - a) * (1 - b), a * (1 - b), a * b, (1 - a) * b)
    x, y, z = (
        sum(weight * corner[axis] for weight, corner in zip(weights, quad, strict=True))
        for axis in range(3)
    )
    return x, y, z
