"""Scores of a network on a data set, at the size of the labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from contextnet_ros.inference import Segmenter
from contextnet_ros.labels import Pixels
from contextnet_ros.training.datasets import LabelledFrames
from contextnet_ros.training.folders import Cityscapes
from contextnet_ros.training.instance_scoring import InstanceScores
from contextnet_ros.training.scoring import ConfusionMatrix, mean, percent, percents


@dataclass(frozen=True)
class FrameScore:
    """What one frame got alone; its mIoU is over the classes that occur in it, nan if none do."""

    index: int
    name: str
    miou: float
    pixel_accuracy: float


class Evaluation:
    """Scores of label maps, gathered frame by frame over `frames`."""

    def __init__(self, frames: LabelledFrames, ignore_id: int) -> None:
        self.frames = frames
        self.ignore_id = ignore_id
        self.confusion = ConfusionMatrix(frames.table.num_classes, ignore_id)
        self.instances = InstanceScores()
        self.frames_with_instances = 0
        self.per_frame: list[FrameScore] = []

    def run(self, predict: Callable[[Pixels], Pixels]) -> None:
        """Score `predict(image) -> label` on every frame."""
        frames = self.frames
        for index, (image, truth) in enumerate(
            tqdm(frames, total=len(frames), desc="scoring", delay=2, leave=False)
        ):
            prediction = predict(image)
            alone = ConfusionMatrix(frames.table.num_classes, self.ignore_id)
            alone.update(prediction, truth)
            self.confusion.counts += alone.counts
            self.per_frame.append(
                FrameScore(index, frames.name(index), alone.miou(), alone.pixel_accuracy())
            )
            self._add_instances(index, prediction)

    def _add_instances(self, index: int, prediction: Pixels) -> None:
        instances = self.frames.instances(index) if isinstance(self.frames, Cityscapes) else None
        if instances is not None:
            self.frames_with_instances += 1
            self.instances.update(prediction, instances)

    def worst(self, count: int = 10) -> list[FrameScore]:
        """The frames with the lowest mIoU of their own, lowest first."""
        scored = [score for score in self.per_frame if score.miou == score.miou]
        return sorted(scored, key=lambda score: score.miou)[:count]

    def to_dict(self) -> dict[str, Any]:
        """Percentages for a JSON result."""
        result = {
            "data": self.frames.description,
            "split": self.frames.split,
            "frames": len(self.frames),
            **self.confusion.to_dict(self.frames.table),
        }
        missing = len(self.frames) - self.frames_with_instances
        if isinstance(self.frames, Cityscapes) and missing:
            # Its hits would be those of some frames, its false positives those of all.
            result["iiou_left_out"] = (
                f"instanceIds of {missing} of {len(self.frames)} frames are missing"
            )
        elif self.frames_with_instances:
            classes = self.instances.iou(self.confusion)
            categories = self.instances.category_iou(self.confusion)
            result["iiou_mean_percent"] = percent(mean(classes))
            result["iiou_percent"] = percents(classes)
            result["category_iiou_mean_percent"] = percent(mean(categories))
            result["category_iiou_percent"] = percents(categories)
        return result


def evaluate(segmenter: Segmenter, frames: LabelledFrames) -> dict[str, Any]:
    """What a user of this Segmenter gets: class IoU, mIoU and pixel accuracy in percent.

    One confusion matrix over all frames. Raises ValueError if the class tables differ.
    """
    table = segmenter.header.table
    if table != frames.table:
        raise ValueError(f"weights have {table.name} classes, the data {frames.table.name}")
    evaluation = Evaluation(frames, segmenter.header.ignore_id)
    evaluation.run(lambda image: segmenter(image).label)
    return evaluation.to_dict()
