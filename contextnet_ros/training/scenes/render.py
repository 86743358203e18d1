"""Puts a frame together: from a seed and an index to an image and its label."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from contextnet_ros.labels import IGNORE_ID
from contextnet_ros.training.scenes.canvas import Canvas, Texture
from contextnet_ros.training.scenes.furniture import (
    draw_beacon,
    draw_bollard,
    draw_box,
    draw_lamp,
    draw_sign,
    draw_strip,
    draw_traffic_light,
    draw_tree,
)
from contextnet_ros.training.scenes.ground import Ground
from contextnet_ros.training.scenes.houses import draw_building, draw_skyline
from contextnet_ros.training.scenes.kinds import Array, Key
from contextnet_ros.training.scenes.light import Light, Sky, develop, make_light
from contextnet_ros.training.scenes.people import draw_bicycle, draw_person, draw_rider
from contextnet_ros.training.scenes.shadows import cast_shadows, contact_shadows
from contextnet_ros.training.scenes.stage import Stage
from contextnet_ros.training.scenes.things import Building, Item, Strip
from contextnet_ros.training.scenes.vehicles import draw_vehicle
from contextnet_ros.training.scenes.world import SEEN_M, World

MIN_SIDE = 16

_DRAW: dict[str, Callable[[Stage, Item], None]] = {
    "car": draw_vehicle,
    "van": draw_vehicle,
    "truck": draw_vehicle,
    "bus": draw_vehicle,
    "walker": draw_person,
    "stander": draw_person,
    "crosser": draw_person,
    "rider": draw_rider,
    "bicycle": draw_bicycle,
    "lamp": draw_lamp,
    "sign": draw_sign,
    "traffic_light": draw_traffic_light,
    "beacon": draw_beacon,
    "bollard": draw_bollard,
    "box": draw_box,
    "tree": draw_tree,
}
# Length along the street, width, height in metres, and the share of sunlight held back.
_FOOTPRINTS = {
    "car": (4.2, 1.7, 1.1, 1.0),
    "van": (4.8, 1.9, 1.9, 1.0),
    "truck": (7.5, 2.3, 3.2, 1.0),
    "bus": (10.6, 2.4, 3.0, 1.0),
    "walker": (0.35, 0.4, 1.6, 0.9),
    "stander": (0.35, 0.4, 1.6, 0.9),
    "crosser": (0.35, 0.4, 1.6, 0.9),
    "rider": (1.5, 0.3, 1.5, 0.8),
    "lamp": (0.1, 0.1, 7.0, 0.8),
    "sign": (0.08, 0.08, 2.4, 0.8),
    "traffic_light": (0.15, 0.15, 3.2, 0.9),
    "tree": (0.3, 0.3, 4.0, 0.75),
}


@dataclass(frozen=True)
class SceneFrame:
    """A generated frame: image (H, W, 3) BGR uint8, label (H, W) uint8 of Cityscapes train ids."""

    image_bgr: Array
    label: Array
    index: int
    name: str


class _Scene:
    """What the frames of one seed share. Nothing here changes what a frame looks like."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.world = World(seed)
        self.light: Light = make_light(seed)
        self.sky = Sky(self.light)
        self.ground = Ground(seed)
        self.textures: dict[Key, Texture] = {}

    def frame(self, index: int, height: int, width: int, fps: float) -> SceneFrame:
        camera = self.world.camera(index, fps, height, width)
        canvas = Canvas(height, width)
        if len(self.textures) > 400:
            self.textures.clear()
        stage = Stage(canvas, camera, self.light, self.world, self.textures)
        chunks = self.world.chunks(camera.s)
        buildings = [house for chunk in chunks for house in chunk.buildings]
        items = [item for chunk in chunks for item in chunk.items]
        items += self.world.actors(index, fps)
        strips = [strip for chunk in chunks for strip in chunk.strips]
        self.sky.paint(canvas, camera)
        draw_skyline(stage)
        self.ground.paint_surfaces(stage)
        shadows = cast_shadows(stage, buildings, items, _FOOTPRINTS)
        contact = contact_shadows(stage, items, _FOOTPRINTS)
        self.ground.light_up(stage, shadows, contact)
        for thing in _far_to_near(camera.s, buildings, strips, items):
            if isinstance(thing, Building):
                draw_building(stage, thing)
            elif isinstance(thing, Strip):
                draw_strip(stage, thing)
            else:
                _DRAW[thing.kind](stage, thing)
        if self.world.bonnet:
            _draw_bonnet(stage)
        image = develop(canvas.image, self.light, index)
        name = f"scene_{self.seed:04d}_{index:04d}"
        return SceneFrame(image, canvas.label, index, name)


def _far_to_near(
    s: float, buildings: list[Building], strips: list[Strip], items: list[Item]
) -> list[Building | Strip | Item]:
    """Painter's order. A house or strip goes by its far end: what stands in front comes later."""
    keyed: list[tuple[float, float, Building | Strip | Item]] = []
    for house in buildings:
        keyed.append((house.s1 + 0.02, abs(house.x), house))
    for strip in strips:
        keyed.append((strip.s1, abs(strip.x), strip))
    for item in items:
        if -12 < item.s - s < SEEN_M:
            keyed.append((item.s, abs(item.x), item))
    keyed.sort(key=lambda entry: (-entry[0], -entry[1]))
    return [thing for _, _, thing in keyed]


def _draw_bonnet(stage: Stage) -> None:
    height, width = stage.canvas.height, stage.canvas.width
    across = np.linspace(-0.05, 1.05, 25)
    top = height * (0.93 + 0.16 * (across - 0.5) ** 2)
    outline = np.column_stack([across * width, top])
    outline = np.vstack([outline, [(1.05 * width, height + 2), (-0.05 * width, height + 2)]])
    tone = stage.tone((70, 66, 62), (0.0, 1.0, 0.0), stage.camera.s)
    stage.canvas.polygon(outline, tone, IGNORE_ID)


@lru_cache(maxsize=3)
def _scene(seed: int) -> _Scene:
    return _Scene(seed)


def render_frame(seed: int, index: int, height: int, width: int, fps: float = 10.0) -> SceneFrame:
    """Frame `index` of the drive through the street of `seed`, seen at `fps` frames a second.

    The same arguments give the same bytes; another size shows the same scene.
    Raises ValueError for a side below `MIN_SIDE` pixels, a negative seed or index, or fps not
    above 0.
    """
    if min(height, width) < MIN_SIDE:
        raise ValueError(f"a scene needs at least {MIN_SIDE} pixels a side, got {height} x {width}")
    if seed < 0 or index < 0 or not fps > 0:
        raise ValueError(f"need seed >= 0, index >= 0, fps > 0; got {seed}, {index}, {fps}")
    return _scene(seed).frame(index, height, width, fps)


def render_sequence(
    seed: int, num_frames: int, height: int, width: int, start: int = 0, fps: float = 10.0
) -> Iterator[SceneFrame]:
    """Frames `start` to `start + num_frames - 1` of a drive; each equals what render_frame gives.

    Raises as render_frame does.
    """
    for index in range(start, start + num_frames):
        yield render_frame(seed, index, height, width, fps)
