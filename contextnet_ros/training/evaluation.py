"""Scores of a Segmenter on a data set, at the size of the labels."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm

from contextnet_ros.inference import Segmenter
from contextnet_ros.training.datasets import LabelledFrames
from contextnet_ros.training.scoring import ConfusionMatrix


def evaluate(segmenter: Segmenter, frames: LabelledFrames) -> dict[str, Any]:
    """What a user of this Segmenter gets: class IoU, mIoU and pixel accuracy in percent.

    One confusion matrix over all frames. Raises ValueError if the class tables differ.
    """
    table = segmenter.header.table
    if table != frames.table:
        raise ValueError(f"weights have {table.name} classes, the data {frames.table.name}")
    confusion = ConfusionMatrix(table.num_classes, segmenter.header.ignore_id)
    for image, label in tqdm(frames, total=len(frames), desc="scoring", delay=2, leave=False):
        confusion.update(segmenter(image).label, label)
    return {"data": frames.description, "frames": len(frames), **confusion.to_dict(table)}
