"""Cityscapes' iIoU: every instance counts alike, whatever its size."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from contextnet_ros.labels import (
    CITYSCAPES,
    CITYSCAPES_CATEGORIES,
    CITYSCAPES_TRAIN_ID_OF_LABEL_ID,
    IGNORE_ID,
    Pixels,
)
from contextnet_ros.training.scoring import ConfusionMatrix, category_ids

MEAN_INSTANCE_PIXELS = {
    "bicycle": 4672.3249222261,
    "motorcycle": 6298.7200839748,
    "rider": 3930.4788056518,
    "bus": 35732.1511111111,
    "train": 67583.7075812274,
    "car": 12794.0202738185,
    "person": 3462.4756337644,
    "truck": 27855.1264367816,
}
"""Mean size of an instance in the training set, as the official scripts have it."""

CATEGORIES = ("human", "vehicle")
"""The categories whose classes all have instances."""


class InstanceScores:
    """Weighted hits and misses of instances, next to a confusion matrix of the same images."""

    def __init__(self) -> None:
        self.hits = np.zeros(CITYSCAPES.num_classes)
        self.misses = np.zeros(CITYSCAPES.num_classes)
        self.category_hits = dict.fromkeys(CATEGORIES, 0.0)
        self.category_misses = dict.fromkeys(CATEGORIES, 0.0)

    def update(self, prediction: Pixels, instances: npt.NDArray[np.int32]) -> None:
        """Add one image: train ids, and label id x 1000 + number where instances are told apart."""
        ids, places = np.unique(instances, return_inverse=True)
        places = places.reshape(instances.shape)
        sizes = np.bincount(places.ravel(), minlength=len(ids))
        columns = np.minimum(prediction, CITYSCAPES.num_classes).astype(np.int64)
        width = CITYSCAPES.num_classes + 1
        predicted = np.bincount(
            (places * width + columns).ravel(), minlength=len(ids) * width
        ).reshape(len(ids), width)
        for instance, size, counts in zip(ids, sizes, predicted, strict=True):
            train_id = CITYSCAPES_TRAIN_ID_OF_LABEL_ID[instance // 1000]
            if instance <= 1000 or train_id == IGNORE_ID:
                continue
            name = CITYSCAPES.names[train_id]
            weight = MEAN_INSTANCE_PIXELS[name] / size
            self.hits[train_id] += weight * counts[train_id]
            self.misses[train_id] += weight * (size - counts[train_id])
            for category in CATEGORIES:
                if name in CITYSCAPES_CATEGORIES[category]:
                    hits = counts[category_ids(category)].sum()
                    self.category_hits[category] += weight * hits
                    self.category_misses[category] += weight * (size - hits)

    def iou(self, confusion: ConfusionMatrix) -> dict[str, float]:
        """iIoU by class that has instances; nan for a class that neither side has."""
        false = confusion.counts[:, :-1].sum(0) - np.diag(confusion.counts[:, :-1])
        result = {}
        for train_id, name in enumerate(CITYSCAPES.names):
            if name in MEAN_INSTANCE_PIXELS:
                total = self.hits[train_id] + self.misses[train_id] + false[train_id]
                result[name] = self.hits[train_id] / total if total else float("nan")
        return result

    def category_iou(self, confusion: ConfusionMatrix) -> dict[str, float]:
        """iIoU by category whose classes all have instances; nan where there are none."""
        result = {}
        for category in CATEGORIES:
            inside = category_ids(category)
            columns = confusion.counts[:, inside]
            false = columns.sum() - columns[inside].sum()
            hits = self.category_hits[category]
            total = hits + self.category_misses[category] + false
            result[category] = hits / total if total else float("nan")
        return result
