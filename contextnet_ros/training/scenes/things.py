"""What a street is made of, as places and sizes in metres."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Building:
    """A house from s0 to s1; x is its front, side -1 left or 1 right of the road."""

    side: int
    s0: float
    s1: float
    x: float
    storeys: int
    kind: str
    pitched: bool
    seed: int


@dataclass(frozen=True)
class Strip:
    """A hedge, fence or wall along the street."""

    kind: str
    x: float
    s0: float
    s1: float
    height: float
    seed: int


@dataclass(frozen=True)
class Item:
    """Anything with one place: kind, x, s, the way it faces (1 away), and its own seed.

    `phase` is a walker's or a pedaller's, in radians.
    """

    kind: str
    x: float
    s: float
    facing: float
    seed: int
    phase: float = 0.0


@dataclass(frozen=True)
class SideStreet:
    """A road that leaves to one side between s0 and s1."""

    side: int
    s0: float
    s1: float


@dataclass
class Chunk:
    """All that stands still in CHUNK_M metres of street."""

    buildings: list[Building] = field(default_factory=list)
    strips: list[Strip] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    side_streets: list[SideStreet] = field(default_factory=list)
    crossing_s: float | None = None
    lights: bool = False
