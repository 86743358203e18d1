"""Data sets: frames with their labels, checked before an hour is spent on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
from tqdm import tqdm

from contextnet_ros.files import UserError
from contextnet_ros.labels import (
    CAMVID,
    CITYSCAPES,
    CITYSCAPES_TO_CAMVID,
    ClassTable,
    Pixels,
)
from contextnet_ros.training.scenes import MIN_SIDE, render_frame

FIRST_UNSEEN_SEED = 900_000
"""Scenes from this seed on are never trained on: scores and demonstrations use them."""

GENERATED_LICENCE = "generated scenes: no restriction"


def combined_licence(licences: Sequence[str]) -> str:
    """What weights may be used for whose data, or whose start, came under all of `licences`."""
    parts = {part.strip() for licence in licences for part in licence.split(";")}
    return "; ".join(sorted(parts))


class LabelledFrames(ABC):
    """Frames by index, each BGR (H, W, 3) uint8 with a label (H, W) uint8 in `table`'s ids."""

    table: ClassTable
    licence: str
    description: str
    split: str | None = None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> tuple[Pixels, Pixels]: ...

    @abstractmethod
    def name(self, index: int) -> str:
        """The frame's name, unique in this data set."""

    def label(self, index: int) -> Pixels:
        """The label alone, which a data set of files reads faster than the whole frame."""
        return self[index][1]

    def check(self) -> None:
        """Read every frame; raises UserError for the first that is wrong."""
        for index in range(len(self)):
            self[index]

    def __iter__(self) -> Iterator[tuple[Pixels, Pixels]]:
        return (self[index] for index in range(len(self)))


class GeneratedScenes(LabelledFrames):
    """One frame of each seed `first_seed` .. `first_seed + num_scenes - 1`, in `table`'s ids."""

    def __init__(
        self,
        first_seed: int,
        num_scenes: int,
        size: tuple[int, int] = (1024, 2048),
        table: ClassTable = CAMVID,
    ) -> None:
        if table not in (CAMVID, CITYSCAPES):
            raise UserError(f"generated scenes have no labels in class table {table.name!r}")
        if first_seed < 0 or num_scenes < 1 or min(size) < MIN_SIDE:
            raise UserError(
                f"{num_scenes} generated scenes of {size[0]} x {size[1]} from seed {first_seed} "
                f"can't be drawn: give at least one, at least {MIN_SIDE} pixels a side, and a seed "
                "from 0 on"
            )
        self.table = table
        self.licence = GENERATED_LICENCE
        self.first_seed = first_seed
        self.num_scenes = num_scenes
        self.size = size
        self.description = (
            f"generated scenes, seeds {first_seed} to {first_seed + num_scenes - 1}, "
            f"{size[0]} x {size[1]}"
        )

    def __len__(self) -> int:
        return self.num_scenes

    def name(self, index: int) -> str:
        return f"scene_{self.first_seed + index}"

    def __getitem__(self, index: int) -> tuple[Pixels, Pixels]:
        seed = self.first_seed + index
        # Another moment of every street: the first frame of all would park the same way.
        frame = render_frame(seed, seed % 50, *self.size)
        image, label = frame.image_bgr, frame.label
        if self.table == CAMVID:
            label = CITYSCAPES_TO_CAMVID[label]
        return image, np.asarray(label, np.uint8)


class Mapped(LabelledFrames):
    """Another data set in the ids of `table`: `lookup` (256,) uint8 gives them of the source's."""

    def __init__(self, source: LabelledFrames, table: ClassTable, lookup: Pixels) -> None:
        self.source = source
        self.table = table
        self.lookup = lookup
        self.licence = source.licence
        self.split = source.split
        self.description = f"{source.description} as {table.name}"

    def __len__(self) -> int:
        return len(self.source)

    def name(self, index: int) -> str:
        return self.source.name(index)

    def __getitem__(self, index: int) -> tuple[Pixels, Pixels]:
        image, label = self.source[index]
        return image, np.asarray(self.lookup[label], np.uint8)

    def label(self, index: int) -> Pixels:
        return np.asarray(self.lookup[self.source.label(index)], np.uint8)

    def check(self) -> None:
        self.source.check()


KEPT_BYTES = 4 << 30
"""Data sets up to this size are kept in memory; larger ones are read as they are needed."""


def ready(source: LabelledFrames) -> LabelledFrames:
    """The data set, checked frame by frame; in memory where it is small. Raises UserError."""
    if isinstance(source, GeneratedScenes):
        return InMemory(source)
    image, label = source[0]
    if (image.nbytes + label.nbytes) * len(source) <= KEPT_BYTES:
        return InMemory(source)
    source.check()
    return source


class InMemory(LabelledFrames):
    """All frames of another data set, read or rendered once and checked on the way."""

    def __init__(self, source: LabelledFrames) -> None:
        self.table = source.table
        self.licence = source.licence
        self.split = source.split
        self.description = source.description
        self._names = [source.name(index) for index in range(len(source))]
        self._frames: list[tuple[Pixels, Pixels]] = list(
            tqdm(source, total=len(source), desc=f"reading {source.description}", delay=2)
        )

    def __len__(self) -> int:
        return len(self._frames)

    def name(self, index: int) -> str:
        return self._names[index]

    def __getitem__(self, index: int) -> tuple[Pixels, Pixels]:
        return self._frames[index]
