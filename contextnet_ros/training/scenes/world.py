"""What stands and moves along the street of a seed, in metres; nothing here is drawn."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from contextnet_ros.training.scenes.camera import Bend, Camera
from contextnet_ros.training.scenes.randomness import pick, stream
from contextnet_ros.training.scenes.things import Building, Chunk, Item, SideStreet, Strip

CHUNK_M = 40.0
SEEN_M = 190.0


# Kind, x, s relative to the camera at time 0, speed, cycle length, seed, phase.
Actor = tuple[str, float, float, float, float, int, float]
_ZONES = {
    "city": {"shop": 0.5, "terrace": 0.25, "office": 0.25},
    "town": {"shop": 0.25, "terrace": 0.5, "garden": 0.15, "park": 0.1},
    "suburb": {"garden": 0.6, "terrace": 0.2, "park": 0.2},
    "edge": {"park": 0.55, "office": 0.25, "garden": 0.2},
}


class World:
    """The street of a seed: its shape, its houses, its traffic."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        rng = stream(seed, "street")
        self.area = pick(rng, {"city": 0.32, "town": 0.33, "suburb": 0.22, "edge": 0.13})
        straight = rng.random() < 0.4
        self.bend = Bend(
            amplitude_m=float(0.0 if straight else rng.uniform(2, 9)),
            wavelength_m=float(rng.uniform(38, 75)),
            phase=float(rng.uniform(0, 2 * np.pi)),
        )
        self.drive_side = -1 if rng.random() < 0.65 else 1
        self.lane_m = float(rng.uniform(2.9, 3.6))
        self.lanes = 2 if rng.random() < 0.15 else 1
        self.parking = {side: bool(rng.random() < 0.42) for side in (-1, 1)}
        self.pavement = {side: float(rng.uniform(1.8, 4.8)) for side in (-1, 1)}
        self.verge = {side: float(rng.uniform(1, 2.5) * (rng.random() < 0.25)) for side in (-1, 1)}
        self.bare_trees = bool(rng.random() < 0.55)
        self.crowd = float(rng.uniform(0.2, 1.0) * (1.6 if self.area == "city" else 0.8))
        self.parked = float(rng.uniform(0.3, 0.9))
        self.lamp_side = int(rng.choice([-1, 1]))
        self.markings = stream(seed, "markings").random(8)
        self.speed = float(rng.uniform(5, 12))
        self.start = float(rng.uniform(0, 400))
        self.focal = float(rng.uniform(0.78, 1.15))
        self.horizon = float(rng.uniform(0.40, 0.53))
        self.mount = float(rng.uniform(1.15, 1.65))
        self.yaw = float(rng.normal(0, 0.04))
        self.own_x = float(self.drive_side * self.lane_m * (0.5 if self.lanes == 1 else 0.55))
        self.own_x += float(rng.normal(0, 0.15))
        self.bonnet = bool(rng.random() < 0.12)
        self._chunks: dict[int, Chunk] = {}
        self._traffic = self._make_traffic(stream(seed, "traffic"))

    def kerb(self, side: int) -> float:
        """The road's half width on a side, metres."""
        return self.lanes * self.lane_m + (2.2 if self.parking[side] else 0.3)

    def back(self, side: int) -> float:
        """Where the pavement ends, metres from the middle line."""
        return self.kerb(side) + self.verge[side] + self.pavement[side]

    def camera(self, index: int, fps: float, height: int, width: int) -> Camera:
        """Where the camera is at a frame."""
        time = index / fps
        return Camera(
            height=height,
            width=width,
            focal=self.focal,
            horizon=self.horizon + 0.0025 * float(np.sin(7.1 * time) + np.sin(3.3 * time)),
            mount_m=self.mount,
            x=self.own_x + 0.12 * float(np.sin(0.4 * time)),
            s=self.start + self.speed * time,
            bend=self.bend,
            yaw=self.yaw,
        )

    def chunks(self, s: float) -> list[Chunk]:
        """The pieces of street that a camera at s can see, near ones first."""
        first = int(np.floor((s - 45) / CHUNK_M))
        last = int(np.floor((s + SEEN_M) / CHUNK_M))
        return [self._chunk(number) for number in range(first, last + 1)]

    def _chunk(self, number: int) -> Chunk:
        if number not in self._chunks:
            self._chunks[number] = self._make_chunk(number)
        return self._chunks[number]

    def _make_chunk(self, number: int) -> Chunk:
        rng = stream(self.seed, "chunk", number)
        chunk = Chunk()
        begin, end = number * CHUNK_M, (number + 1) * CHUNK_M
        if number % 3 == 0 and rng.random() < 0.75:
            chunk.crossing_s = begin + float(rng.uniform(14, 26))
            chunk.lights = bool(rng.random() < 0.7)
        for side in (-1, 1):
            zone = pick(rng, _ZONES[self.area])
            edges = [begin]
            while end - edges[-1] > 15:
                edges.append(edges[-1] + float(rng.uniform(5.5, 13)))
            edges.append(end)
            gap = int(rng.integers(len(edges) - 1)) if rng.random() < 0.28 else -1
            for place, (s0, s1) in enumerate(pairwise(edges)):
                if place == gap:
                    chunk.side_streets.append(SideStreet(side, s0, s1))
                else:
                    self._plot(chunk, rng, side, s0, s1, zone)
            self._furnish(chunk, rng, side, begin)
        return chunk

    def _plot(
        self, chunk: Chunk, rng: np.random.Generator, side: int, s0: float, s1: float, zone: str
    ) -> None:
        back, seed = self.back(side), int(rng.integers(2**31))
        if zone == "park":
            kind = "hedge" if rng.random() < 0.4 else "fence"
            chunk.strips.append(
                Strip(kind, side * (back + 0.2), s0, s1, float(rng.uniform(0.9, 1.7)), seed)
            )
            for _ in range(int(rng.integers(1, 4))):
                far = back + float(rng.uniform(1.5, 16))
                chunk.items.append(Item("tree", side * far, float(rng.uniform(s0, s1)), 1, seed))
                seed = int(rng.integers(2**31))
            return
        setback = float(rng.uniform(3, 8)) if zone == "garden" else float(rng.uniform(0, 0.5))
        storeys = int(rng.integers(2, 4)) if zone != "office" else int(rng.integers(3, 7))
        kind = {"garden": "terrace"}.get(zone, zone)
        if zone == "shop" and rng.random() < 0.25:
            storeys += 1
        margin = float(rng.uniform(0, 1.2)) if zone == "garden" else 0.0
        pitched = bool(kind != "office" and rng.random() < 0.8)
        chunk.buildings.append(
            Building(side, s0 + margin, s1 - margin, side * (back + setback), storeys, kind,
                     pitched, seed)
        )  # fmt: skip
        if zone == "garden":
            kind = pick(rng, {"hedge": 0.4, "fence": 0.3, "wall": 0.3})
            height = float(rng.uniform(0.7, 1.5))
            chunk.strips.append(Strip(kind, side * (back + 0.15), s0, s1 - 1.2, height, seed + 1))
            if rng.random() < 0.35:
                chunk.items.append(
                    Item("tree", side * (back + 1.6), (s0 + s1) / 2, 1, int(rng.integers(2**31)))
                )

    def _furnish(self, chunk: Chunk, rng: np.random.Generator, side: int, begin: float) -> None:
        kerb, back = self.kerb(side), self.back(side)

        def put(kind: str, x: float, s: float, facing: float = 1.0) -> None:
            chunk.items.append(
                Item(kind, side * x, s, facing, int(rng.integers(2**31)), float(rng.uniform(0, 6)))
            )

        near_kerb = kerb + 0.5
        if side == self.lamp_side or self.lanes == 2 or rng.random() < 0.3:
            put("lamp", near_kerb, begin + float(rng.uniform(6, 12)), side)
        for _ in range(int(rng.integers(0, 4))):
            put("sign", near_kerb, begin + float(rng.uniform(2, 38)))
        if rng.random() < 0.45:
            put("sign", back - 0.2, begin + float(rng.uniform(2, 38)))
        if rng.random() < 0.35:
            for number in range(int(rng.integers(2, 7))):
                put("bollard", kerb + 0.35, begin + 12 + 1.6 * number)
        if rng.random() < 0.2:
            put("box", back - 0.4, begin + float(rng.uniform(2, 38)))
        if rng.random() < 0.25:
            at_s = begin + float(rng.uniform(2, 38))
            put("bicycle", back - 0.5, at_s, float(rng.choice([-1, 1])))
        trees = {"city": 0.25, "town": 0.4, "suburb": 0.6, "edge": 0.6}[self.area]
        if rng.random() < trees:
            x = kerb + (0.5 * self.verge[side] if self.verge[side] else 0.8)
            at = np.arange(begin + rng.uniform(2, 12), begin + CHUNK_M, rng.uniform(9, 16))
            for tree_s in at.tolist():
                put("tree", x, tree_s)
        if rng.random() < 0.22:
            s0 = begin + float(rng.uniform(0, 15))
            chunk.strips.append(
                Strip("fence", side * (kerb + 0.25), s0, s0 + 14, 1.05, int(rng.integers(2**31)))
            )
        if self.parking[side]:
            s = begin + float(rng.uniform(1, 4))
            while s < begin + CHUNK_M - 3:
                free = chunk.crossing_s is not None and abs(s - chunk.crossing_s) < 9
                if rng.random() < self.parked and not free:
                    kind = pick(rng, {"car": 0.86, "van": 0.11, "truck": 0.03})
                    away = 1.0 if side == self.drive_side or rng.random() < 0.3 else -1.0
                    put(kind, kerb - 1.1, s + 2, away)
                s += float(rng.uniform(5.4, 7))
        if chunk.crossing_s is not None and chunk.lights:
            put("traffic_light", kerb + 0.35, chunk.crossing_s + 2.5)
        elif chunk.crossing_s is not None:
            put("beacon", kerb + 0.35, chunk.crossing_s + 2.2)
        for _ in range(int(rng.poisson(0.7 * self.crowd))):
            put("stander", kerb + float(rng.uniform(0.8, max(0.9, back - kerb - 0.3))),
                begin + float(rng.uniform(0, CHUNK_M)), float(rng.choice([-1, 1])))  # fmt: skip

    def _make_traffic(self, rng: np.random.Generator) -> list[Actor]:
        """All that will ever move; `actors` says where at what time."""
        actors: list[Actor] = []
        lane = self.lane_m
        kinds = {"car": 0.74, "van": 0.12, "truck": 0.06, "bus": 0.08}
        side = self.drive_side

        def add(kind: str, x: float, s: float, speed: float, cycle: float) -> None:
            seed, phase = int(rng.integers(2**31)), float(rng.uniform(0, 6))
            actors.append((kind, x, s, speed, cycle, seed, phase))

        # The own lane: all at about the camera's speed, so that nobody drives through anybody.
        ahead = float(rng.uniform(10, 60))
        while ahead < 150:
            add(pick(rng, kinds), side * lane * 0.5, ahead, self.speed, 0.0)
            ahead += float(rng.uniform(12, 60))
        oncoming = float(rng.uniform(5, 25))
        speed = -float(rng.uniform(5, 11))
        while oncoming < 160:
            add(pick(rng, kinds), -side * lane * 0.5, oncoming, speed, 185.0)
            oncoming += float(rng.uniform(14, 75))
        if self.lanes == 2:
            faster = self.speed + float(rng.uniform(-2, 2))
            other = float(rng.uniform(8, 30))
            while other < 160:
                add(pick(rng, kinds), side * lane * 1.5, other, faster, 185.0)
                other += float(rng.uniform(12, 60))
        for _ in range(int(rng.poisson(2.8))):
            way = 1 if rng.random() < 0.65 else -1
            x = way * side * (self.lanes * lane - 0.55)
            add("rider", x, float(rng.uniform(6, 80)), way * float(rng.uniform(3, 5.5)), 110.0)
        for _ in range(int(rng.poisson(14 * self.crowd))):
            way = int(rng.choice([-1, 1]))
            low, high = self.kerb(way) + self.verge[way] + 0.4, self.back(way) - 0.3
            x = way * float(rng.uniform(min(low, high), max(low, high)))
            walk = float(rng.choice([-1, 1]) * rng.uniform(0.9, 1.7))
            add("walker", x, float(rng.uniform(2, 110)), walk, 120.0)
        for _ in range(int(rng.poisson(0.8))):
            add("crosser", 0.0, float(rng.uniform(14, 90)), float(rng.choice([-1, 1])), 150.0)
        return actors

    def actors(self, index: int, fps: float) -> list[Item]:
        """All that moves, where it is at a frame."""
        time = index / fps
        own = self.start + self.speed * time
        items = []
        for kind, x, s, speed, cycle, seed, phase in self._traffic:
            if kind == "crosser":
                ahead = (s - self.speed * time + 8) % cycle - 8
                reach = self.kerb(1) + 1.2
                x = float(np.clip(speed * 1.3 * (ahead - 30) / self.speed, -reach, reach))
                items.append(Item("crosser", x, own + ahead, -speed, seed, phase + 7 * time))
                continue
            ahead = s + (speed - self.speed) * time
            if cycle:
                ahead = (ahead + 8) % cycle - 8
            else:
                ahead += 1.5 * float(np.sin(0.35 * time + phase))
            rate = 4.5 * abs(speed) if kind == "walker" else 2.0 * abs(speed)
            items.append(
                Item(kind, x, own + ahead, float(np.sign(speed)), seed, phase + rate * time)
            )
        return items
