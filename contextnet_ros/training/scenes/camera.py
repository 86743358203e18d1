"""The camera: from metres along a bending street to pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from contextnet_ros.training.scenes.kinds import Array, Points

NEAR_M = 0.6
Seen = tuple[float, float, float]


@dataclass(frozen=True)
class Bend:
    """How far the street's middle line lies to the right, as a function of metres along it."""

    amplitude_m: float
    wavelength_m: float
    phase: float

    def offset(self, s: Array | float) -> Array:
        """Metres to the right at `s` metres along the street."""
        return self.amplitude_m * np.sin(np.asarray(s) / self.wavelength_m + self.phase)

    def slope(self, s: float) -> float:
        """Change of the offset per metre."""
        cosine = np.cos(s / self.wavelength_m + self.phase)
        return float(self.amplitude_m / self.wavelength_m * cosine)


@dataclass(frozen=True)
class Camera:
    """A pinhole on a car that follows its lane; focal length in widths, horizon in heights."""

    height: int
    width: int
    focal: float
    horizon: float
    mount_m: float
    x: float
    s: float
    bend: Bend
    yaw: float = 0.0

    @cached_property
    def focal_px(self) -> float:
        """Focal length in pixels."""
        return self.focal * self.width

    @cached_property
    def horizon_px(self) -> float:
        """Row of the horizon."""
        return self.horizon * self.height - 0.5

    @cached_property
    def centre_px(self) -> float:
        """Column of the direction of travel."""
        return 0.5 * self.width - 0.5 + self.yaw * self.focal_px

    @cached_property
    def _bend_here(self) -> tuple[float, float]:
        return float(self.bend.offset(self.s)) + self.x, self.bend.slope(self.s)

    def sideways(self, s: Array) -> Array:
        """Metres to add to a street's x at `s` to get metres to the right of the camera."""
        offset, slope = self._bend_here
        return self.bend.offset(s) - offset - slope * (s - self.s)

    def see(self, x: float, y: float, s: float) -> Seen:
        """A street point (x, y up, s in metres) seen from the camera: right, up, ahead."""
        # Plain floats: thousands of points a frame, a few at a time, which is slow in NumPy.
        bend = self.bend
        offset, slope = self._bend_here
        ahead = s - self.s
        bent = bend.amplitude_m * math.sin(s / bend.wavelength_m + bend.phase)
        return x + bent - offset - slope * ahead, y - self.mount_m, ahead

    def pixel(self, seen: Seen) -> tuple[float, float]:
        """The pixel of a point in front of the camera, as `see` gives it."""
        scale = self.focal_px / max(seen[2], 1e-3)
        return self.centre_px + scale * seen[0], self.horizon_px - scale * seen[1]

    def outline(self, points: Points) -> list[tuple[float, float]] | None:
        """Pixels of a polygon of street points cut at the near plane; None if nothing is left."""
        bend, sine, own_s, up = self.bend, math.sin, self.s, self.mount_m
        amplitude, wavelength, phase = bend.amplitude_m, bend.wavelength_m, bend.phase
        offset, slope = self._bend_here
        seen: list[Seen] = []
        nearest = math.inf
        # What `see` and `pixel` do, written out: this is where a frame's time goes.
        for x, y, s in points:
            ahead = s - own_s
            if ahead < nearest:
                nearest = ahead
            bent = amplitude * sine(s / wavelength + phase) - offset - slope * ahead
            seen.append((x + bent, y - up, ahead))
        if nearest < NEAR_M:
            seen = cut_near(seen)
            if len(seen) < 3:
                return None
        centre, horizon, focal = self.centre_px, self.horizon_px, self.focal_px
        return [(centre + focal * x / s, horizon - focal * y / s) for x, y, s in seen]


def cut_near(seen: list[Seen]) -> list[Seen]:
    """The part of a polygon that is at least NEAR_M ahead."""
    kept: list[Seen] = []
    for number, here in enumerate(seen):
        following = seen[(number + 1) % len(seen)]
        if here[2] >= NEAR_M:
            kept.append(here)
        if (here[2] >= NEAR_M) != (following[2] >= NEAR_M):
            share = (NEAR_M - here[2]) / (following[2] - here[2])
            x = here[0] + share * (following[0] - here[0])
            kept.append((x, here[1] + share * (following[1] - here[1]), NEAR_M))
    return kept
