"""Data sets: frames with their labels, checked before an hour is spent on them."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
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

_PNG_END = b"IEND\xaeB`\x82"
"""A PNG's last chunk, with its checksum."""

_JPEG_END = b"\xff\xd9"

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


class PairedFiles(LabelledFrames):
    """Images with label maps in files of their own.

    `pairs`: (image, label) paths. `ids`: class id, or IGNORE_ID, of each value that the label
    files may hold; another one raises UserError when it is read.
    """

    def __init__(
        self,
        table: ClassTable,
        licence: str,
        description: str,
        pairs: Sequence[tuple[Path, Path]],
        ids: Mapping[int, int],
    ) -> None:
        self.table = table
        self.licence = licence
        self.pairs = list(pairs)
        self.description = f"{description} ({len(self.pairs)} frames)"
        self._ids = np.full(256, -1, np.int16)
        for value, class_id in ids.items():
            self._ids[value] = class_id

    def __len__(self) -> int:
        return len(self.pairs)

    def name(self, index: int) -> str:
        return self.pairs[index][0].stem

    def __getitem__(self, index: int) -> tuple[Pixels, Pixels]:
        image_path, _ = self.pairs[index]
        image = _read(image_path, cv2.IMREAD_COLOR)
        label = self.label(index)
        _check_size(image_path, image.shape[:2], label)
        return image, label

    def label(self, index: int) -> Pixels:
        path = self.pairs[index][1]
        values = _read(path, cv2.IMREAD_UNCHANGED)
        if values.ndim != 2 and _has_palette(path):
            raise UserError(
                f"{path} is a PNG with a palette, which is read as its colours: save its values as "
                "gray, with Pillow `Image.fromarray(numpy.array(Image.open(path))).save(path)`"
            )
        if values.ndim != 2 or values.dtype != np.uint8:
            raise UserError(
                f"{path} is {values.dtype} {values.shape}: a label has one byte a pixel"
            )
        ids = self._ids[values]
        outside = ids < 0
        if outside.any():
            known = np.flatnonzero(self._ids >= 0)
            first = values[outside][0]
            raise UserError(
                f"{path} holds the value {first} at {(values == first).sum()} pixels; "
                f"its labels may be {', '.join(map(str, known))}"
            )
        return ids.astype(np.uint8)

    def check(self) -> None:
        """Read every label, and the size of every image; raises UserError for the first wrong."""
        for index, (image_path, _) in enumerate(
            tqdm(self.pairs, desc=f"checking {self.description}", delay=2)
        ):
            _check_size(image_path, _image_size(image_path), self.label(index))


def pair_up(
    what: str, root: Path, images: Mapping[str, Path], labels: Mapping[str, Path]
) -> list[tuple[Path, Path]]:
    """Images and labels with equal keys, by key; raises UserError if any lacks its partner."""
    pairs = [(images[key], labels[key]) for key in sorted(images.keys() & labels.keys())]
    complaints = []
    for kind, mine, theirs in (("labels", images, labels), ("images", labels, images)):
        lone = sorted(mine.keys() - theirs.keys())
        if lone:
            complaints.append(f"{len(lone)} {kind} missing, for example that of {mine[lone[0]]}")
    if complaints or not pairs:
        found = "; ".join(complaints) or "no images and no labels"
        raise UserError(f"{what}: {len(pairs)} pairs found in {root}, {found}")
    return pairs


def _read(path: Path, flags: int) -> Pixels:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}") from error
    # OpenCV fills up what is missing of a JPEG with gray. An end ahead is a thumbnail's.
    if data.startswith(b"\xff\xd8") and data.rfind(_JPEG_END) < len(data) // 2:
        raise UserError(f"{path} is cut off: copy it again")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if image is None:
        raise UserError(f"{path} is no readable image: copy it again")
    return np.asarray(image)


def _check_size(path: Path, size: tuple[int, ...], label: Pixels) -> None:
    if size != label.shape:
        (height, width), (rows, columns) = size, label.shape
        raise UserError(
            f"{path} is {width} x {height}, its label {columns} x {rows}: resize the image, or "
            "take the label that belongs to it"
        )


def _has_palette(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(26)
    return head.startswith(b"\x89PNG") and head[25:] == b"\x03"


def _image_size(path: Path) -> tuple[int, int]:
    """(height, width); of a PNG out of its first bytes, since decoding all takes minutes.

    Raises UserError for one that was cut off.
    """
    with path.open("rb") as file:
        head = file.read(24)
        # Not the very last bytes: some writers leave a few behind the picture's end.
        file.seek(max(0, path.stat().st_size - 4096))
        tail = file.read()
    if head.startswith(b"\x89PNG") and len(head) == 24:
        if _PNG_END not in tail:
            raise UserError(f"{path} is cut off: copy it again")
        width, height = struct.unpack(">II", head[16:])
        return height, width
    height, width = _read(path, cv2.IMREAD_COLOR).shape[:2]
    return height, width


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
        source = InMemory(source)
    else:
        source.check()
    if all((source.label(index) == IGNORE_ID).all() for index in range(len(source))):
        raise UserError(
            f"{source.description}: no pixel of its labels belongs to a class; compare the values "
            "in them with the class table, and its `ignore`"
        )
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
