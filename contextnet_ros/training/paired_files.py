"""Images with label maps in files of their own, whole and of one size, or refused."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from contextnet_ros.files import UserError, one_line
from contextnet_ros.labels import ClassTable, Pixels
from contextnet_ros.training.datasets import LabelledFrames

_PNG_END = b"IEND\xaeB`\x82"
"""A PNG's last chunk, with its checksum."""

_PALETTE = 3
"""A PNG's kind of colours."""

_JPEG_END = b"\xff\xd9"


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
        data = _bytes(path)
        bits, kind = _pixel_format(data)
        values = _decoded(path, data, cv2.IMREAD_UNCHANGED)
        if kind == _PALETTE:
            raise UserError(
                f"{path} is a PNG with a palette, which is read as its colours: save its values as "
                "gray, with Pillow `Image.fromarray(numpy.array(Image.open(path))).save(path)`"
            )
        if bits < 8:
            step = 255 // (2**bits - 1)
            raise UserError(
                f"{path} has {bits} bit(s) a pixel, whose highest value is read as 255: save its "
                "values in a byte each, with Pillow `Image.fromarray(numpy.array(Image.open(path)"
                f".convert('L')) // {step}).save(path)`"
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
    return _decoded(path, _bytes(path), flags)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}") from error


def _decoded(path: Path, data: bytes, flags: int) -> Pixels:
    # OpenCV fills up what is missing of a JPEG with gray. An end ahead is a thumbnail's.
    if data.startswith(b"\xff\xd8") and data.rfind(_JPEG_END) < len(data.rstrip(b"\0")) // 2:
        raise UserError(
            f"{path} is cut off, or its end is not marked (FF D9): copy it again, or save it anew"
        )
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error as error:
        raise UserError(f"{path} is no readable image: {one_line(error)}") from error
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


def _pixel_format(data: bytes) -> tuple[int, int]:
    """Bits, of a channel in a PNG and of a pixel in a BMP, and a PNG's kind of colours; 8 and 0 of
    other files."""
    if data.startswith(b"\x89PNG") and len(data) > 25:
        return data[24], data[25]
    if data.startswith(b"BM") and len(data) > 29:
        return int.from_bytes(data[28:30], "little"), 0
    return 8, 0


def _image_size(path: Path) -> tuple[int, int]:
    """(height, width); of a PNG out of its first bytes, since decoding all takes minutes.

    Raises UserError for one that was cut off.
    """
    try:
        with path.open("rb") as file:
            head = file.read(24)
            # Not the very last bytes: some writers leave a few behind the picture's end.
            file.seek(max(0, path.stat().st_size - 4096))
            tail = file.read()
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}") from error
    if head.startswith(b"\x89PNG") and len(head) == 24:
        if _PNG_END not in tail:
            raise UserError(f"{path} is cut off: copy it again")
        width, height = struct.unpack(">II", head[16:])
        return height, width
    height, width = _read(path, cv2.IMREAD_COLOR).shape[:2]
    return height, width
