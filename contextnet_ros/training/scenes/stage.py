"""What all that is drawn has in common: canvas, camera, light and the scene's textures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from contextnet_ros.training.scenes.camera import NEAR_M, Camera
from contextnet_ros.training.scenes.canvas import Canvas, Texture
from contextnet_ros.training.scenes.kinds import Array, Colour, Key, Point, Points
from contextnet_ros.training.scenes.light import Light
from contextnet_ros.training.scenes.world import World

KERB_M = 0.12
ROAD, SIDEWALK, BUILDING, WALL, FENCE, POLE, TRAFFIC_LIGHT, TRAFFIC_SIGN = range(8)
VEGETATION, TERRAIN, SKY, PERSON, RIDER, CAR, TRUCK, BUS = range(8, 16)
BICYCLE = 18

FLAT = (0.0, 0.6, -0.4)
UP = (0.0, 1.0, 0.0)
TO_CAMERA = (0.0, 0.0, -1.0)


@dataclass
class Stage:
    """One frame while it is drawn."""

    canvas: Canvas
    camera: Camera
    light: Light
    world: World
    textures: dict[Key, Texture]
    gains: dict[Point, tuple[float, ...]] = field(default_factory=dict)

    def texture(self, key: Key, make: Callable[[], Texture]) -> Texture:
        """A texture of this scene, made the first time it is asked for."""
        if key not in self.textures:
            self.textures[key] = make()
        return self.textures[key]

    def tone(self, colour: Colour, normal: Point, s: float) -> tuple[float, ...]:
        """The colour that is seen of a surface of this colour, normal and place."""
        light = self.light
        gain = self.gains.get(normal)
        if gain is None:
            gain = tuple(light.shade(normal).tolist())
            self.gains[normal] = gain
        haze = light.haze(s - self.camera.s)
        clear, sky = 1 - haze, light.sky_low
        return (
            min(255.0, colour[0] * gain[0] * clear + sky[0] * haze),
            min(255.0, colour[1] * gain[1] * clear + sky[1] * haze),
            min(255.0, colour[2] * gain[2] * clear + sky[2] * haze),
        )

    def face(
        self,
        points: Points,
        colour: Colour,
        label: int,
        normal: Point = FLAT,
    ) -> None:
        """Draw a flat polygon of street points (x, y, s)."""
        outline = self.camera.outline(points)
        if outline is not None:
            middle = 0.5 * (points[0][2] + points[len(points) // 2][2])
            self.canvas.polygon(outline, self.tone(colour, normal, middle), label)

    def bar(
        self,
        start: Sequence[float],
        end: Sequence[float],
        width_m: float,
        colour: Colour,
        label: int,
        normal: Point = FLAT,
    ) -> None:
        """Draw a round bar between two street points, as wide from every side."""
        first, second = self.camera.see(*start), self.camera.see(*end)
        if min(first[2], second[2]) < NEAR_M:
            return
        (u0, v0), (u1, v1) = self.camera.pixel(first), self.camera.pixel(second)
        along_u, along_v = u1 - u0, v1 - v0
        length = math.hypot(along_u, along_v)
        half = width_m * self.camera.focal_px / (first[2] + second[2])
        across_u, across_v = (half, 0.0)
        if length > 1e-6:
            across_u, across_v = -along_v / length * half, along_u / length * half
        outline = [(u0 + across_u, v0 + across_v), (u1 + across_u, v1 + across_v),
                   (u1 - across_u, v1 - across_v), (u0 - across_u, v0 - across_v)]  # fmt: skip
        self.canvas.polygon(outline, self.tone(colour, normal, 0.5 * (start[2] + end[2])), label)

    def disc(
        self,
        centre: Sequence[float],
        radius_x_m: float,
        radius_y_m: float,
        colour: Colour,
        label: int,
        corners: int = 14,
        turn: float = 0.0,
        normal: Point = FLAT,
    ) -> None:
        """Draw an ellipse, or a polygon of few corners, that faces the camera."""
        seen = self.camera.see(*centre)
        if seen[2] < NEAR_M:
            return
        scale = self.camera.focal_px / seen[2]
        u, v = self.camera.pixel(seen)
        angles = [number * 2 * math.pi / corners + turn for number in range(corners)]
        radius_u, radius_v = scale * radius_x_m, scale * radius_y_m
        outline = [(u + radius_u * math.sin(a), v - radius_v * math.cos(a)) for a in angles]
        self.canvas.polygon(outline, self.tone(colour, normal, float(centre[2])), label)

    def sheet(
        self,
        texture: Texture,
        corners: Points,
        label: int,
        normal: Point,
        dim: float = 1.0,
    ) -> None:
        """Put a texture on a quad of street points: top left, top right, then the lower two.

        A quad that reaches behind the camera is cut where it leaves the picture.
        """
        seen = [self.camera.see(*corner) for corner in corners]
        near = min(seen[0][2], seen[1][2])
        if max(seen[0][2], seen[1][2]) <= NEAR_M + 0.1:
            return
        if near < 6.0:
            texture, seen_cut = self._cut(texture, np.array(seen))
            if seen_cut is None:
                return
            seen = [(float(x), float(y), float(s)) for x, y, s in seen_cut]
        quad = [self.camera.pixel(point) for point in seen]
        gain, offset = self.light.gain_offset(normal, 0.5 * (seen[0][2] + seen[1][2]))
        self.canvas.textured(texture, quad, label, gain * dim, offset)

    def _cut(self, texture: Texture, seen: Array) -> tuple[Texture, Array | None]:
        left, right = seen[0, 2], seen[1, 2]
        side = seen[0, 0] if left < right else seen[1, 0]
        edge = 0.6 * self.camera.width + abs(self.camera.centre_px - 0.5 * self.camera.width)
        visible = max(NEAR_M, abs(side) * self.camera.focal_px / edge * 0.8)
        if min(left, right) >= visible:
            return texture, seen
        if max(left, right) <= visible + 0.05:
            return texture, None
        share = (visible - min(left, right)) / abs(right - left)
        columns = texture.levels[0].shape[1]
        gone = min(int(share * columns), columns - 2)
        share = gone / columns
        seen = seen.copy()
        if left < right:
            seen[0] += share * (seen[1] - seen[0])
            seen[3] += share * (seen[2] - seen[3])
            cut = texture.levels[0][:, gone:]
        else:
            seen[1] += share * (seen[0] - seen[1])
            seen[2] += share * (seen[3] - seen[2])
            cut = texture.levels[0][:, : columns - gone]
        if min(seen[0, 2], seen[1, 2]) < NEAR_M:
            return texture, None
        return Texture(np.ascontiguousarray(cut), texture.label_from), seen
