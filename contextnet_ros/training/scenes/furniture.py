"""Draws lamp posts, signs, traffic lights, bollards, boxes, fences, hedges and trees."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from contextnet_ros.training.scenes import facades, plants
from contextnet_ros.training.scenes.kinds import Colour, Point
from contextnet_ros.training.scenes.randomness import stream
from contextnet_ros.training.scenes.stage import (
    FENCE,
    KERB_M,
    POLE,
    TO_CAMERA,
    TRAFFIC_LIGHT,
    TRAFFIC_SIGN,
    VEGETATION,
    WALL,
    Stage,
)
from contextnet_ros.training.scenes.things import Item, Strip

_STEEL = ((125, 125, 122), (95, 98, 96), (45, 48, 45), (70, 72, 70), (60, 75, 60))
_RED, _BLUE, _WHITE, _BLACK = (45, 40, 190), (165, 85, 30), (232, 234, 234), (28, 28, 30)
_GREEN, _YELLOW = (70, 105, 30), (50, 190, 235)


def _steel(seed: int) -> tuple[float, float, float]:
    return _STEEL[seed % len(_STEEL)]


def draw_lamp(stage: Stage, item: Item) -> None:
    """Draw a lamp post; `facing` is the side of the street it stands on."""
    rng = stream(stage.world.seed, "lamps")
    height, arm = float(rng.uniform(5, 9)), float(rng.uniform(0.6, 2.0))
    steel = _steel(int(rng.integers(9)))
    top = (item.x, height, item.s)
    stage.bar((item.x, KERB_M, item.s), (item.x, 1.4, item.s), 0.2, steel, POLE)
    stage.bar((item.x, 1.3, item.s), top, 0.12, steel, POLE)
    inward = item.x - np.sign(item.x) * arm
    stage.bar(top, (inward, height + 0.25, item.s), 0.08, steel, POLE)
    end = inward - np.sign(item.x) * 0.55
    stage.bar((inward, height + 0.25, item.s), (end, height + 0.22, item.s), 0.17,
              (150, 150, 148), POLE)  # fmt: skip


def draw_sign(stage: Stage, item: Item) -> None:
    """Draw a traffic sign on its post, of one of seven kinds."""
    rng = stream(item.seed, "sign")
    steel = _steel(item.seed)
    low = float(rng.uniform(2.0, 2.6))
    size = float(rng.uniform(0.3, 0.52))
    stage.bar((item.x, KERB_M, item.s), (item.x, low + size, item.s), 0.08, steel, POLE)
    kinds = rng.permutation(7)[: 2 if rng.random() < 0.3 else 1]
    for place, kind in enumerate(kinds):
        centre = (item.x, low + place * -2.1 * size, item.s - 0.06)
        if rng.random() < 0.2:
            # Signs for the other direction show their grey backs.
            corners = 16 if kind < 3 else 4
            stage.disc(centre, size, size, (135, 135, 132), TRAFFIC_SIGN, corners, np.pi / corners)
            continue
        _sign_face(stage, rng, int(kind), centre, size)


def _sign_face(
    stage: Stage, rng: np.random.Generator, kind: int, centre: Point, size: float
) -> None:
    x, y, s = centre

    def disc(share: float, colour: Colour, corners: int = 16, turn: float = 0.0) -> None:
        stage.disc(centre, share * size, share * size, colour, TRAFFIC_SIGN, corners, turn)

    def patch(left: float, low: float, right: float, high: float, colour: Colour) -> None:
        points = [
            (x + left * size, y + low * size, s),
            (x + right * size, y + low * size, s),
            (x + right * size, y + high * size, s),
            (x + left * size, y + high * size, s),
        ]
        stage.face(points, colour, TRAFFIC_SIGN)

    if kind == 0:
        disc(1.0, _RED)
        disc(0.74, _WHITE)
        patch(-0.4, -0.3, -0.08, 0.32, _BLACK)
        patch(0.08, -0.3, 0.4, 0.32, _BLACK)
        patch(0.18, -0.15, 0.3, 0.18, _WHITE)
    elif kind == 1:
        disc(1.0, _BLUE)
        patch(-0.12, -0.6, 0.12, 0.3, _WHITE)
        stage.disc((x, y + 0.4 * size, s), 0.4 * size, 0.3 * size, _WHITE, TRAFFIC_SIGN, 3)
    elif kind == 2:
        disc(1.0, _RED)
        patch(-0.7, -0.16, 0.7, 0.16, _WHITE)
    elif kind == 3:
        disc(1.25, _RED, 3)
        disc(0.82, _WHITE, 3)
        patch(-0.08, -0.2, 0.08, 0.4, _BLACK)
    elif kind == 4:
        disc(1.2, _BLUE, 4, np.pi / 4)
        patch(-0.35, -0.6, -0.05, 0.6, _WHITE)
        patch(-0.35, 0.0, 0.4, 0.6, _WHITE)
        patch(-0.1, 0.2, 0.2, 0.42, _BLUE)
    elif kind == 5:
        colour = (_GREEN, _WHITE, _BLUE, _YELLOW)[int(rng.integers(4))]
        ink = _BLACK if colour in (_WHITE, _YELLOW) else _WHITE
        patch(-1.9, -1.1, 1.9, 1.1, ink)
        patch(-1.82, -1.02, 1.82, 1.02, colour)
        for line in (0.55, 0.0, -0.55):
            left = -1.5
            while left < 1.3 and rng.random() < 0.9:
                long = rng.uniform(0.12, 0.3)
                patch(left, line - 0.16, left + long, line + 0.18, ink)
                left += long + 0.1
    else:
        patch(-0.6, -0.95, 0.6, 0.95, _YELLOW if rng.random() < 0.4 else _WHITE)
        patch(-0.45, 0.2, 0.45, 0.75, _RED if rng.random() < 0.5 else _BLACK)
        for line in (-0.1, -0.4, -0.7):
            patch(-0.4, line - 0.07, 0.4, line + 0.07, _BLACK)


def draw_traffic_light(stage: Stage, item: Item) -> None:
    """Draw a traffic light that shows its lamps to the camera or its back."""
    rng = stream(item.seed, "light")
    x, s = item.x, item.s
    steel = _STEEL[2] if rng.random() < 0.6 else _STEEL[0]
    stage.bar((x, KERB_M, s), (x, 3.3, s), 0.11, steel, POLE)
    towards = item.x * stage.world.drive_side > 0 or rng.random() < 0.5
    board = rng.random() < 0.6
    low, high, half = 2.35, 3.3, 0.17

    def box(grow: float, colour: Colour, nearer: float) -> None:
        left, right, at = x - half - grow, x + half + grow, s - nearer
        stage.face([(left, low - grow, at), (right, low - grow, at), (right, high + grow, at),
                    (left, high + grow, at)], colour, TRAFFIC_LIGHT, TO_CAMERA)  # fmt: skip

    if board:
        box(0.11, (225, 225, 225), 0.08)
        box(0.08, _BLACK, 0.085)
    box(0.0, (36, 36, 38), 0.1)
    if not towards:
        return
    bright = int(rng.integers(3))
    lamps = ((60, 55, 235), (60, 180, 245), (150, 225, 90))
    for number, colour in enumerate(lamps):
        lit = number == bright
        shade = np.asarray(colour) * (2.2 if lit else 0.28)
        centre = (x, high - 0.16 - 0.31 * number, s - 0.12)
        stage.disc(centre, 0.115, 0.115, shade, TRAFFIC_LIGHT)


def draw_beacon(stage: Stage, item: Item) -> None:
    """Draw a striped post with an amber globe, as stands at a zebra crossing."""
    for part in range(6):
        tone = _BLACK if part % 2 else _WHITE
        low = KERB_M + 0.43 * part
        stage.bar((item.x, low, item.s), (item.x, low + 0.44, item.s), 0.1, tone, POLE)
    stage.disc((item.x, 2.85, item.s), 0.17, 0.17, (40, 165, 245), POLE)


def draw_bollard(stage: Stage, item: Item) -> None:
    """Draw a bollard."""
    steel = _STEEL[2 + stage.world.seed % 2]
    stage.bar((item.x, KERB_M, item.s), (item.x, 1.0, item.s), 0.15, steel, POLE)
    stage.bar((item.x, 0.82, item.s), (item.x, 0.9, item.s), 0.16, _WHITE, POLE)


def draw_box(stage: Stage, item: Item) -> None:
    """Draw a letter box or a cabinet; it belongs to no class of its own and counts as pole."""
    red = item.seed % 2 == 0
    tone = (40, 35, 165) if red else (75, 95, 80)
    high, half = (1.6, 0.24) if red else (1.25, 0.4)
    x, s = item.x, item.s
    stage.face([(x - half, KERB_M, s), (x + half, KERB_M, s), (x + half, high, s),
                (x - half, high, s)], tone, POLE, TO_CAMERA)  # fmt: skip
    inner = x - np.sign(x) * half
    stage.face([(inner, KERB_M, s), (inner, high, s), (inner, high, s + 0.5),
                (inner, KERB_M, s + 0.5)], np.asarray(tone) * 0.8, POLE)  # fmt: skip


def draw_tree(stage: Stage, item: Item) -> None:
    """Draw a tree: one of the scene's six, at its own size, mirrored or not."""
    rng = stream(item.seed, "place")
    number, mirrored = int(rng.integers(6)), bool(rng.random() < 0.5)
    high = float(rng.uniform(4.5, 9.5))
    bare = stage.world.bare_trees and number != 5
    seed = stage.world.seed * 8 + number
    texture = stage.texture(("tree", number), lambda: plants.tree(seed, bare))
    half = 0.4 * high * (-1 if mirrored else 1)
    x, s = item.x, item.s
    if s < stage.camera.s + 1.5:
        return
    base = 0.0
    corners = [(x - half, high, s), (x + half, high, s), (x + half, base, s), (x - half, base, s)]
    stage.sheet(texture, corners, VEGETATION, (0.0, 0.7, -0.5))


def draw_strip(stage: Stage, strip: Strip) -> None:
    """Draw a hedge, fence or wall in pieces of a few metres, far ones first."""
    makers = {"hedge": plants.hedge, "fence": plants.railing}
    label = {"hedge": VEGETATION, "fence": FENCE, "wall": WALL}[strip.kind]
    number = strip.seed % 4
    seed = stage.world.seed * 4 + number
    if strip.kind == "wall":
        texture = stage.texture(("wall", number), lambda: facades.blank_wall(seed))
    else:
        texture = stage.texture((strip.kind, number), lambda: makers[strip.kind](seed))
    side = 1 if strip.x > 0 else -1
    pieces = max(1, round((strip.s1 - strip.s0) / 5))
    edges = np.linspace(strip.s1, strip.s0, pieces + 1)
    for s1, s0 in pairwise(edges):
        if s1 < stage.camera.s + 0.8:
            continue
        if strip.kind == "hedge":
            depth = strip.x + side * 1.2
            left, right = (depth, strip.x) if side < 0 else (strip.x, depth)
            if s0 > stage.camera.s + 1:
                ends = [(left, strip.height, s0), (right, strip.height, s0), (right, 0, s0),
                        (left, 0, s0)]  # fmt: skip
                stage.sheet(texture, ends, label, TO_CAMERA, 0.9)
        first, second = (s0, s1) if side < 0 else (s1, s0)
        corners = [(strip.x, strip.height, first), (strip.x, strip.height, second),
                   (strip.x, 0, second), (strip.x, 0, first)]  # fmt: skip
        stage.sheet(texture, corners, label, (float(-side), 0.2, 0.0))
