"""Shadows on the ground: of the sun, and of whatever keeps the sky's light off."""

from __future__ import annotations

import cv2
import numpy as np

from contextnet_ros.training.scenes.canvas import fixed_point
from contextnet_ros.training.scenes.kinds import Array, Footprints
from contextnet_ros.training.scenes.stage import Stage
from contextnet_ros.training.scenes.things import Building, Item


def contact_shadows(stage: Stage, items: list[Item], footprints: Footprints) -> Array:
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
    stage: Stage, buildings: list[Building], items: list[Item], footprints: Footprints
) -> Array:
    """Where the sun does not reach the ground (H, W) uint8, 255 in full shadow.

    footprints gives (length, width, height, share of light held back) in metres for a kind.
    """
    shadows = np.zeros((stage.canvas.height, stage.canvas.width), np.uint8)
    sun = np.array(stage.light.sun_direction)
    reach = -sun / max(sun[1], 0.12)

    def fill(points: Array, value: float) -> None:
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
            crown = np.column_stack([size * np.cos(angle), 0 * angle, size * np.sin(angle)])
            fill(middle + crown, share)
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
