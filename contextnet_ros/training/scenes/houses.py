"""Draws houses, and what closes the view: the skyline."""

from __future__ import annotations

import numpy as np

from contextnet_ros.training.scenes import facades
from contextnet_ros.training.scenes.kinds import Array
from contextnet_ros.training.scenes.randomness import fractal_noise, stream
from contextnet_ros.training.scenes.stage import BUILDING, TO_CAMERA, VEGETATION, Stage
from contextnet_ros.training.scenes.things import Building

_DEPTH_M = 8.0


def draw_building(stage: Stage, house: Building) -> None:
    """Draw one house: roof, the gable that looks at the camera, then its front."""
    if house.s1 < stage.camera.s + 0.8:
        return
    rng = stream(house.seed, "house")
    height = house.storeys * facades.STOREY_M + 0.5
    front, side = house.x, house.side
    back = front + side * _DEPTH_M
    ridge_x, ridge_y = front + side * 4.0, height + float(rng.uniform(1.8, 3.6))
    s0, s1 = house.s0, house.s1
    style = house.seed % 7
    seed = stage.world.seed
    gable = stage.texture(("gable", style), lambda: facades.blank_wall(style * 31 + seed))
    across = (float(-side), 0.0, 0.0)
    if house.pitched:
        tiles = stage.texture(("roof", style), lambda: facades.roof(style * 17 + seed))
        corners = [
            (ridge_x, ridge_y, s1),
            (ridge_x, ridge_y, s0),
            (front - side * 0.2, height - 0.1, s0),
            (front - side * 0.2, height - 0.1, s1),
        ]
        if side > 0:
            corners = [corners[1], corners[0], corners[3], corners[2]]
        tone = gable.mean
        stage.face([(front, height, s0), (ridge_x, ridge_y, s0), (back, height, s0)],
                   tone, BUILDING, TO_CAMERA)  # fmt: skip
        stage.sheet(tiles, corners, BUILDING,
                    (-0.6 * side, 0.8, 0.0))  # fmt: skip
        if rng.random() < 0.7:
            edge = min(0.5, (s1 - s0) / 2)
            _chimney(stage, ridge_x, ridge_y, float(rng.uniform(s0 + edge, s1 - edge)), tone)
    elif rng.random() < 0.5:
        top = height + 2.0
        near = front + side * 2.5
        stage.face([(near, height, s0 + 1), (back, height, s0 + 1), (back, top, s0 + 1),
                    (near, top, s0 + 1)], (120, 120, 120), BUILDING, TO_CAMERA)  # fmt: skip
    if s0 > stage.camera.s + 1.0:
        left, right = (back, front) if side < 0 else (front, back)
        corners = [(left, height, s0), (right, height, s0), (right, 0, s0), (left, 0, s0)]
        stage.sheet(gable, corners, BUILDING, TO_CAMERA)
    wall = stage.texture(
        ("facade", house.seed),
        lambda: facades.facade(house.seed, s1 - s0, house.storeys, house.kind),
    )
    first, second = (s0, s1) if side < 0 else (s1, s0)
    corners = [(front, height, first), (front, height, second), (front, 0, second),
               (front, 0, first)]  # fmt: skip
    stage.sheet(wall, corners, BUILDING, across)


def _chimney(stage: Stage, x: float, y: float, s: float, tone: Array) -> None:
    stack = [(x - 0.5, y - 1, s), (x + 0.5, y - 1, s), (x + 0.5, y + 1.1, s), (x - 0.5, y + 1.1, s)]
    stage.face(stack, tone * 0.8, BUILDING, TO_CAMERA)
    for pot in (-0.25, 0.2):
        stage.face([(x + pot, y + 1.1, s), (x + pot + 0.2, y + 1.1, s), (x + pot + 0.2, y + 1.6, s),
                    (x + pot, y + 1.6, s)], (60, 85, 140), BUILDING, TO_CAMERA)  # fmt: skip


def draw_skyline(stage: Stage) -> None:
    """Draw far trees and roofs along the horizon; they turn with the street, and stay away."""
    camera, canvas = stage.camera, stage.canvas
    rng = stream(stage.world.seed, "skyline")
    heading = camera.bend.slope(camera.s)
    focal = camera.focal_px
    low = camera.horizon_px + 2
    wood = 0.022 + 0.008 * fractal_noise(rng, 4, 512, cells=60, octaves=4, fall=0.8)[0]
    angles = np.linspace(-1.6, 1.6, 512)
    u = camera.centre_px + focal * (angles - heading)
    for depth, dim in ((1.25, 1.1), (0.8, 0.85)):
        roll = np.roll(wood, 90 if dim > 1 else 0) * depth
        v = camera.horizon_px - focal * np.maximum(roll, 0.004)
        outline = np.vstack([np.column_stack([u, v]), [(u[-1], low), (u[0], low)]])
        tone = stage.tone(np.array([62, 92, 80]) * dim, (0, 0.7, -0.3), camera.s + 170)
        canvas.polygon(outline, tone, VEGETATION)
    for _ in range(26):
        middle, half = rng.uniform(-1.5, 1.5), rng.uniform(0.01, 0.035)
        top = rng.uniform(0.018, 0.05)
        left = camera.centre_px + focal * (middle - half - heading)
        right = camera.centre_px + focal * (middle + half - heading)
        eaves = camera.horizon_px - focal * top
        ridge = eaves - focal * 0.008 * float(rng.random() < 0.6)
        colour = rng.uniform(90, 190) * np.array([0.9, 0.97, 1.05])
        tone = stage.tone(colour, (0, 0.4, -0.6), camera.s + 165)
        outline = np.array([(left, low), (left, eaves), ((left + right) / 2, ridge), (right, eaves),
                            (right, low)])  # fmt: skip
        canvas.polygon(outline, tone, BUILDING)
        for column in range(4):
            x = left + (column + 0.3) * (right - left) / 4
            pane = (right - left) / 10
            top_v, low_v = eaves + 4 * pane / 3, eaves + 3 * pane
            window = [(x, top_v), (x + pane, top_v), (x + pane, low_v), (x, low_v)]
            canvas.polygon(window, [0.78 * part for part in tone], BUILDING)
