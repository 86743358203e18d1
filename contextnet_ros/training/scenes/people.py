"""Draws people who walk, stand or ride, and bicycles."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from contextnet_ros.training.scenes.kinds import Array, Point
from contextnet_ros.training.scenes.randomness import stream
from contextnet_ros.training.scenes.stage import BICYCLE, KERB_M, PERSON, RIDER, Stage
from contextnet_ros.training.scenes.things import Item

_CLOTHES = (
    (35, 32, 32), (60, 50, 45), (85, 60, 40), (40, 35, 120), (60, 60, 62), (150, 150, 150),
    (200, 205, 205), (50, 80, 60), (110, 75, 45), (70, 90, 130), (35, 60, 95), (60, 45, 160),
    (45, 160, 190), (150, 110, 60),
)  # fmt: skip
_TROUSERS = ((35, 33, 33), (75, 50, 35), (95, 70, 50), (60, 62, 65), (90, 110, 125), (45, 45, 50))
_SKIN = ((150, 175, 220), (120, 150, 200), (70, 95, 140), (50, 65, 95), (165, 190, 230))
_HAIR = ((25, 28, 32), (40, 55, 80), (60, 100, 140), (120, 125, 130), (20, 20, 22))


def _choose(rng: np.random.Generator, colours: tuple[tuple[int, int, int], ...]) -> Array:
    return np.array(colours[int(rng.integers(len(colours)))], np.float64) * rng.uniform(0.75, 1.2)


def draw_person(stage: Stage, item: Item) -> None:
    """Draw somebody on foot: "walker" along the street, "crosser" across it, or "stander"."""
    if item.s < stage.camera.s + 1.2:
        return
    rng = stream(item.seed, "person")
    size = float(rng.normal(1.0, 0.06)) * (0.72 if rng.random() < 0.08 else 1.0)
    coat, trousers = _choose(rng, _CLOTHES), _choose(rng, _TROUSERS)
    skin, hair = _choose(rng, _SKIN), _choose(rng, _HAIR)
    across = item.kind == "crosser" or (item.kind == "stander" and rng.random() < 0.5)
    stride = 0.0 if item.kind == "stander" else 0.34 * np.sin(item.phase)
    base = 0.0 if item.kind == "crosser" and abs(item.x) < stage.world.kerb(1) else KERB_M
    wide = 0.30 if across else 0.44

    def at(forward: float, up: float, aside: float) -> tuple[float, float, float]:
        x, s = (forward * item.facing, aside) if across else (aside, forward * item.facing)
        return item.x + x * size, base + up * size, item.s + s * size

    def limb(a: Point, b: Point, width: float, colour: Array) -> None:
        stage.bar(at(*a), at(*b), width * size, colour, PERSON)

    skirt = rng.random() < 0.15
    long_coat = rng.random() < 0.3
    for side in (-1, 1):
        swing = side * stride
        lift = max(0.0, side * float(np.cos(item.phase))) * 0.12 if stride else 0.0
        knee = (0.55 * swing + 0.3 * lift, 0.47, 0.10 * side)
        foot = (swing - 0.6 * lift, 0.06 + lift, 0.11 * side)
        limb((0.0, 0.86, 0.09 * side), knee, 0.17, trousers)
        limb(knee, foot, 0.13, skin if skirt else trousers * 0.95)
        limb((foot[0] - 0.05, foot[1] - 0.03, foot[2]), (foot[0] + 0.14, 0.04 + lift, foot[2]),
             0.09, np.array([30, 30, 32]))  # fmt: skip
    for side in (1, -1):
        swing = -side * stride * 0.7
        hand = (swing + 0.05, 0.78, 0.27 * side)
        elbow = (0.4 * swing - 0.03, 1.08, 0.27 * side)
        if side == -1:
            low = 0.55 if skirt or long_coat else 0.82
            half = 0.5 * wide
            torso = [(-half, 1.40), (half, 1.40), (half * 1.02, 1.1), (half * 1.08, low),
                     (-half * 1.08, low), (-half * 1.02, 1.1)]  # fmt: skip
            points = [at(a, b, 0) if across else at(0, b, a) for a, b in torso]
            stage.face(points, coat, PERSON)
            lit = [points[1], points[2], points[3],
                   at(0.1 * half, low, 0) if across else at(0, low, 0.1 * half),
                   at(0.1 * half, 1.4, 0) if across else at(0, 1.4, 0.1 * half)]  # fmt: skip
            stage.face(lit, coat * 0.84, PERSON)
        limb((0, 1.38, 0.21 * side), elbow, 0.115, coat * 0.92)
        limb(elbow, hand, 0.095, coat * 0.88)
        limb(hand, (hand[0], 0.72, hand[2]), 0.08, skin)
    limb((0, 1.36, 0), (0, 1.5, 0), 0.12, skin * 0.9)
    stage.disc(at(0.02, 1.585, 0), 0.088 * size, 0.115 * size, skin, PERSON)
    faces_camera = not across and item.facing < 0
    if faces_camera or across:
        stage.disc(at(-0.03, 1.64, 0), 0.09 * size, 0.075 * size, hair, PERSON)
    else:
        stage.disc(at(0, 1.60, 0), 0.095 * size, 0.115 * size, hair, PERSON)
    if rng.random() < 0.3:
        bag = _choose(rng, _CLOTHES)
        hip = 0.28 if rng.random() < 0.5 else -0.28
        stage.disc(at(0, 0.85, hip), 0.13 * size, 0.19 * size, bag, PERSON, 4, np.pi / 4)


def _ring(
    stage: Stage, item: Item, centre: float, radius: float, colour: Array, lean: float
) -> None:
    angle = np.linspace(0, 2 * np.pi, 15)
    s = item.s + item.facing * centre + radius * np.cos(angle)
    y = radius + 0.02 + radius * np.sin(angle)
    x = item.x + lean * y
    points = list(zip(x, y, s, strict=True))
    step = 1 if stage.camera.focal_px / (item.s - stage.camera.s) > 25 else 2
    points = points[::step]
    for a, b in pairwise(points):
        stage.bar(a, b, 0.05, colour, BICYCLE)


def draw_bicycle(stage: Stage, item: Item) -> None:
    """Draw a bicycle that points along the street."""
    if item.s < stage.camera.s + 1.8:
        return
    rng = stream(item.seed, "bicycle")
    frame = _choose(rng, _CLOTHES)
    tyre = np.array([28.0, 28.0, 28.0])
    base = KERB_M if abs(item.x) > stage.world.kerb(1 if item.x > 0 else -1) else 0.0
    lean = 0.12 if base else 0.0
    for centre in (-0.52, 0.52):
        _ring(stage, item, centre, 0.33, tyre, lean)

    def at(forward: float, up: float, aside: float = 0.0) -> tuple[float, float, float]:
        return item.x + aside + lean * up, up, item.s + item.facing * forward

    joints = {"rear": (-0.52, 0.35), "crank": (-0.05, 0.3), "seat": (-0.2, 0.88),
              "head": (0.35, 0.85), "front": (0.52, 0.35)}  # fmt: skip
    for a, b in (("rear", "crank"), ("crank", "seat"), ("rear", "seat"), ("crank", "head"),
                 ("seat", "head"), ("head", "front")):  # fmt: skip
        stage.bar(at(*joints[a]), at(*joints[b]), 0.045, frame, BICYCLE)
    stage.bar(at(0.38, 1.0, -0.26), at(0.38, 1.0, 0.26), 0.04, tyre, BICYCLE)
    stage.bar(at(-0.33, 0.92), at(-0.08, 0.92), 0.1, tyre, BICYCLE)
    if rng.random() < 0.4:
        stage.disc(at(0.5, 0.9), 0.18, 0.13, (60, 80, 100), BICYCLE, 4, np.pi / 4)


def draw_rider(stage: Stage, item: Item) -> None:
    """Draw somebody on a bicycle."""
    if item.s < stage.camera.s + 2.2:
        return
    draw_bicycle(stage, item)
    rng = stream(item.seed, "rider")
    coat, trousers = _choose(rng, _CLOTHES), _choose(rng, _TROUSERS)
    if rng.random() < 0.25:
        coat = np.array([40, 220, 200])
    skin = _choose(rng, _SKIN)

    def at(forward: float, up: float, aside: float) -> tuple[float, float, float]:
        return item.x + aside, up, item.s + item.facing * forward

    for side in (-1, 1):
        turn = item.phase + (np.pi if side > 0 else 0.0)
        pedal = (-0.05 + 0.17 * np.cos(turn), 0.28 + 0.17 * np.sin(turn), 0.12 * side)
        knee = (0.22 + 0.05 * np.cos(turn), 0.72 + 0.10 * np.sin(turn), 0.14 * side)
        stage.bar(at(-0.2, 0.97, 0.1 * side), at(*knee), 0.17, trousers, RIDER)
        stage.bar(at(*knee), at(*pedal), 0.13, trousers * 0.95, RIDER)
        heel = at(pedal[0] - 0.05, pedal[1] - 0.02, pedal[2])
        toe = at(pedal[0] + 0.16, pedal[1] - 0.03, pedal[2])
        stage.bar(heel, toe, 0.1, (30, 30, 32), RIDER)
    torso = [(-0.22, 0.95, -0.18), (0.1, 1.42, -0.22), (0.1, 1.42, 0.22), (-0.22, 0.95, 0.18)]
    stage.bar(at(-0.22, 0.93, 0), at(0.1, 1.4, 0), 0.36, coat, RIDER)
    stage.face([at(*point) for point in torso], coat * 0.95, RIDER)
    for side in (-1, 1):
        stage.bar(at(0.1, 1.36, 0.2 * side), at(0.2, 1.14, 0.29 * side), 0.11, coat * 0.85, RIDER)
        stage.bar(at(0.2, 1.14, 0.29 * side), at(0.38, 1.01, 0.24 * side), 0.09, coat * 0.8, RIDER)
    stage.bar(at(0.1, 1.4, 0), at(0.16, 1.52, 0), 0.11, skin, RIDER)
    stage.disc(at(0.17, 1.6, 0), 0.09, 0.12, skin, RIDER)
    helmet = _choose(rng, _CLOTHES) if rng.random() < 0.5 else _choose(rng, _HAIR)
    stage.disc(at(0.16, 1.66, 0), 0.105, 0.085, helmet, RIDER)
