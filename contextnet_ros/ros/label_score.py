"""Score labels that a node published against truth by frame name, in the 11 CamVid classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import cv2
import numpy as np

from contextnet_ros.files import UserError
from contextnet_ros.labels import CAMVID, CITYSCAPES, CITYSCAPES_TO_CAMVID, ClassTable, Pixels
from contextnet_ros.ros.bag_make import read_classes
from contextnet_ros.tools.media import read_image
from contextnet_ros.training.scoring import ConfusionMatrix

_IDENTITY = np.arange(256, dtype=np.uint8)


def camvid_lookup(table: ClassTable) -> Pixels | None:
    """(256,) uint8 from the ids of `table` to CamVid's; None where its classes are others."""
    if table.names == CAMVID.names:
        return _IDENTITY
    if table.names == CITYSCAPES.names:
        return CITYSCAPES_TO_CAMVID
    return None


class Truth:
    """Truth labels by frame name: a folder as `contextnet-bag-make --truth` writes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.table = read_classes(folder)

    def label(self, name: str) -> Pixels | None:
        """Label (H, W) uint8 of a frame in the ids of `table`; None where the frame has none."""
        path = self.folder / f"{name}.png"
        return read_image(path, cv2.IMREAD_UNCHANGED) if path.is_file() else None


def score_labels(
    labels: Iterable[tuple[int, Pixels]],
    names: Mapping[int, str],
    truth: Truth,
    table: ClassTable,
) -> dict[str, object]:
    """Percentages of IoU per class and their mean over (header stamp, label (H, W)) pairs.

    `table` names the labels' ids. Raises UserError when either table has no way to CamVid's
    classes, or when a label and its truth differ in size.
    """
    of_label, of_truth = camvid_lookup(table), camvid_lookup(truth.table)
    if of_label is None or of_truth is None:
        raise UserError(
            f"classes {table.name!r} cannot be scored against {truth.table.name!r}: only CamVid's "
            "and Cityscapes' classes can be brought together"
        )
    matrix = ConfusionMatrix(CAMVID.num_classes)
    frames = 0
    for stamp_ns, label in labels:
        true = truth.label(names[stamp_ns]) if stamp_ns in names else None
        if true is None:
            continue
        if true.shape != label.shape:
            sizes = f"label {label.shape} and truth {true.shape}"
            raise UserError(f"frame {names[stamp_ns]}: {sizes} differ in size")
        matrix.update(of_label[label], of_truth[true])
        frames += 1
    return {"classes": CAMVID.name, "frames": frames, **matrix.to_dict(CAMVID)}
