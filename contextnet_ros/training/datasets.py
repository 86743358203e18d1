"""Data sets: frames with their labels, checked before an hour is spent on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from contextnet_ros.files import UserError
from contextnet_ros.labels import (
    CAMVID,
    CITYSCAPES,
    CITYSCAPES_TO_CAMVID,
    IGNORE_ID,
    ClassTable,
    Pixels,
)
from contextnet_ros.training.scenes import MIN_SIDE, render_frame

FIRST_UNSEEN_SEED = 900_000
"""Scenes from this seed on are never trained on: scores and demonstrations use them."""

CAMVID_LICENCE = "CamVid labels and frames: CC BY-NC 4.0, personal and research use only"
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

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> tuple[Pixels, Pixels]: ...

    @abstractmethod
    def name(self, index: int) -> str:
        """The frame's name, unique in this data set."""

    def __iter__(self) -> Iterator[tuple[Pixels, Pixels]]:
        return (self[index] for index in range(len(self)))


class CamVid(LabelledFrames):
    """`root/split` with images and `root/splitannot` with label PNGs of the same names.

    Raises UserError for a folder or a partner that is missing.
    """

    UNLABELLED = 11

    def __init__(self, root: Path, split: str) -> None:
        self.table = CAMVID
        self.licence = CAMVID_LICENCE
        images, labels = root / split, root / f"{split}annot"
        for folder in (images, labels):
            if not folder.is_dir():
                raise UserError(
                    f"CamVid folder {folder} does not exist: give the folder that holds "
                    f"{split}/ and {split}annot/ as --root"
                )
        self.pairs = [(path, labels / path.name) for path in sorted(images.glob("*.png"))]
        missing = [label for _, label in self.pairs if not label.is_file()]
        if missing or not self.pairs:
            example = f", for example {missing[0]}" if missing else ""
            raise UserError(
                f"CamVid {split}: {len(self.pairs) - len(missing)} pairs found in {root}, "
                f"{len(missing)} labels missing{example}"
            )
        self.description = f"camvid {split} ({len(self.pairs)} frames)"

    def __len__(self) -> int:
        return len(self.pairs)

    def name(self, index: int) -> str:
        return self.pairs[index][0].stem

    def __getitem__(self, index: int) -> tuple[Pixels, Pixels]:
        image_path, label_path = self.pairs[index]
        image = _read(image_path, cv2.IMREAD_COLOR)
        label = _read(label_path, cv2.IMREAD_GRAYSCALE)
        if image.shape[:2] != label.shape:
            raise UserError(f"{image_path} is {image.shape[:2]}, its label {label.shape}")
        outside = label > self.UNLABELLED
        if outside.any():
            raise UserError(
                f"{label_path} holds the value {label[outside][0]} at {outside.sum()} pixels; "
                f"CamVid labels are 0 to {self.UNLABELLED}"
            )
        label[label == self.UNLABELLED] = IGNORE_ID
        return image, label


def _read(path: Path, flags: int) -> Pixels:
    image = cv2.imread(str(path), flags)
    if image is None:
        raise UserError(f"{path} is no readable image: copy it again")
    return np.asarray(image, np.uint8)


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


class InMemory(LabelledFrames):
    """All frames of another data set, read or rendered once and checked on the way."""

    def __init__(self, source: LabelledFrames) -> None:
        self.table = source.table
        self.licence = source.licence
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
