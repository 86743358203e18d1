"""Class names, ids and colours; how Cityscapes classes map onto the 11 of CamVid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

IGNORE_ID = 255
"""The label value of pixels that belong to no class; neither trained on nor scored."""


@dataclass(frozen=True)
class ClassTable:
    """Names and colours of the classes 0 .. num_classes - 1; `palette` holds (R, G, B) bytes."""

    name: str
    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        if not self.names or len(self.names) != len(self.palette) or len(self.names) >= IGNORE_ID:
            raise ValueError(
                f"class table {self.name!r}: {len(self.names)} names and {len(self.palette)} "
                f"colours; give one colour for each of 1 to {IGNORE_ID - 1} classes"
            )
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"class table {self.name!r} names a class twice: {self.names}")
        for colour in self.palette:
            if len(colour) != 3 or not all(0 <= value <= 255 for value in colour):
                raise ValueError(f"class table {self.name!r}: {colour} is no colour in RGB bytes")

    @property
    def num_classes(self) -> int:
        return len(self.names)

    def palette_bgr(self) -> Pixels:
        """Lookup table (256, 3) uint8 in OpenCV's channel order; black outside the table."""
        table = np.zeros((256, 3), np.uint8)
        table[: self.num_classes] = np.asarray(self.palette, np.uint8)[:, ::-1]
        return table

    def colorize(self, label: Pixels) -> Pixels:
        """Colour picture (H, W, 3) uint8 BGR of a label map (H, W) uint8."""
        return np.asarray(self.palette_bgr()[label], np.uint8)

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "names": list(self.names),
            "palette": [list(colour) for colour in self.palette],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ClassTable:
        """The table of `to_dict`; raises KeyError, TypeError or ValueError if it is none."""
        palette: Sequence[Sequence[int]] = data["palette"]
        return cls(
            name=str(data["name"]),
            names=tuple(str(name) for name in data["names"]),
            palette=tuple((int(r), int(g), int(b)) for r, g, b in palette),
        )


CITYSCAPES = ClassTable(
    name="cityscapes",
    names=(
        "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light",
        "traffic sign", "vegetation", "terrain", "sky", "person", "rider", "car", "truck",
        "bus", "train", "motorcycle", "bicycle",
    ),
    palette=(
        (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153),
        (153, 153, 153), (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152),
        (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100),
        (0, 80, 100), (0, 0, 230), (119, 11, 32),
    ),
)  # fmt: skip
"""The 19 evaluated classes of Cityscapes by train id, in its official colours."""

CAMVID = ClassTable(
    name="camvid",
    names=(
        "sky", "building", "pole", "road", "pavement", "tree", "sign symbol", "fence", "car",
        "pedestrian", "bicyclist",
    ),
    palette=(
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222),
        (128, 128, 0), (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    ),
)  # fmt: skip
"""The 11 classes of CamVid in the order of the SegNet split, in that tutorial's colours."""

CITYSCAPES_LABEL_IDS = (
    7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33
)  # fmt: skip
"""The label id, as Cityscapes' files hold it, of each train id; the others are not scored."""

CITYSCAPES_NUM_LABEL_IDS = 34
"""Label ids are 0 .. 33."""

CITYSCAPES_CATEGORIES = {
    "flat": ("road", "sidewalk"),
    "construction": ("building", "wall", "fence"),
    "object": ("pole", "traffic light", "traffic sign"),
    "nature": ("vegetation", "terrain"),
    "sky": ("sky",),
    "human": ("person", "rider"),
    "vehicle": ("car", "truck", "bus", "train", "motorcycle", "bicycle"),
}
"""The evaluated classes of Cityscapes by category."""

TABLES = {table.name: table for table in (CITYSCAPES, CAMVID)}

CAMVID_OF_CITYSCAPES = {
    "road": "road",
    "sidewalk": "pavement",
    "building": "building",
    "wall": "building",
    "fence": "fence",
    "pole": "pole",
    "traffic light": "sign symbol",
    "traffic sign": "sign symbol",
    "vegetation": "tree",
    "terrain": None,
    "sky": "sky",
    "person": "pedestrian",
    "rider": "bicyclist",
    "car": "car",
    "truck": "car",
    "bus": "car",
    "train": None,
    "motorcycle": "bicyclist",
    "bicycle": "bicyclist",
}
"""CamVid's class of a Cityscapes class; None where CamVid has no such class."""


def _camvid_lookup() -> Pixels:
    lookup = np.full(256, IGNORE_ID, np.uint8)
    for source, target in CAMVID_OF_CITYSCAPES.items():
        if target is not None:
            lookup[CITYSCAPES.names.index(source)] = CAMVID.names.index(target)
    lookup.setflags(write=False)
    return lookup


CITYSCAPES_TO_CAMVID = _camvid_lookup()
"""(256,) uint8: CamVid id of a Cityscapes train id; 255 where CamVid has no such class."""


def _train_id_lookup() -> Pixels:
    lookup = np.full(256, IGNORE_ID, np.uint8)
    lookup[list(CITYSCAPES_LABEL_IDS)] = np.arange(CITYSCAPES.num_classes)
    lookup.setflags(write=False)
    return lookup


CITYSCAPES_TRAIN_ID_OF_LABEL_ID = _train_id_lookup()
"""(256,) uint8: train id of a Cityscapes label id; 255 for every id that is not scored."""
