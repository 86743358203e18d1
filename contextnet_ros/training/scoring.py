"""Scores of label maps against the truth, as Cityscapes defines them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from contextnet_ros.labels import (
    CITYSCAPES,
    CITYSCAPES_CATEGORIES,
    IGNORE_ID,
    ClassTable,
    Pixels,
)


class ConfusionMatrix:
    """Pixel counts over all images: `counts[truth, prediction]`.

    Pixels whose truth is `ignore_id` are dropped. A prediction outside the classes on a scored
    pixel is a false negative of the truth and of nobody a false positive: the last column.
    """

    def __init__(self, num_classes: int, ignore_id: int = IGNORE_ID) -> None:
        self.num_classes = num_classes
        self.ignore_id = ignore_id
        self.counts = np.zeros((num_classes, num_classes + 1), np.int64)

    def update(self, prediction: Pixels, truth: Pixels) -> None:
        """Add one image: two (H, W) integer arrays; raises ValueError if they don't match."""
        if prediction.shape != truth.shape:
            raise ValueError(
                f"prediction is {prediction.shape}, truth is {truth.shape}: "
                "score at the size of the truth"
            )
        scored = truth != self.ignore_id
        true = truth[scored].astype(np.int64)
        if true.size and true.max() >= self.num_classes:
            raise ValueError(
                f"truth holds the value {true.max()}, the table has {self.num_classes} classes: "
                f"map others to {self.ignore_id}"
            )
        predicted = np.minimum(prediction[scored].astype(np.int64), self.num_classes)
        columns = self.num_classes + 1
        self.counts += np.bincount(true * columns + predicted, minlength=self.counts.size).reshape(
            self.counts.shape
        )

    def iou(self) -> npt.NDArray[np.float64]:
        """(num_classes,) intersection over union; nan for a class that neither side has."""
        hits = np.diag(self.counts[:, :-1]).astype(np.float64)
        union = self.counts.sum(1) + self.counts[:, :-1].sum(0) - hits
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.where(union > 0, hits / union, np.nan))

    def miou(self) -> float:
        """Mean of `iou` over the classes that occur; nan if none does."""
        iou = self.iou()
        return float(np.nanmean(iou)) if np.isfinite(iou).any() else float("nan")

    def category_iou(self) -> dict[str, float]:
        """IoU of Cityscapes' categories, whose classes may be mistaken for each other."""
        result = {}
        for category in CITYSCAPES_CATEGORIES:
            inside = category_ids(category)
            hits = self.counts[np.ix_(inside, inside)].sum()
            union = self.counts[inside].sum() + self.counts[:, inside].sum() - hits
            result[category] = float(hits / union) if union else float("nan")
        return result

    def pixel_accuracy(self) -> float:
        """Share of scored pixels that are right; nan if there are none."""
        total = self.counts.sum()
        return float(np.trace(self.counts[:, :-1]) / total) if total else float("nan")

    def to_dict(self, table: ClassTable) -> dict[str, Any]:
        """Percentages for a JSON result; None where a class does not occur."""
        result = {
            "miou_percent": percent(self.miou()),
            "pixel_accuracy_percent": percent(self.pixel_accuracy()),
            "iou_percent": percents(dict(zip(table.names, self.iou().tolist(), strict=True))),
            "scored_pixels": int(self.counts.sum()),
        }
        if table == CITYSCAPES:
            categories = self.category_iou()
            result["category_miou_percent"] = percent(mean(categories))
            result["category_iou_percent"] = percents(categories)
        return result


def category_ids(category: str) -> list[int]:
    """Train ids of a Cityscapes category."""
    return [CITYSCAPES.names.index(name) for name in CITYSCAPES_CATEGORIES[category]]


def mean(scores: dict[str, float]) -> float:
    """Mean of the scores that are not nan; nan if none is left."""
    values = [value for value in scores.values() if np.isfinite(value)]
    return float(np.mean(values)) if values else float("nan")


def percents(scores: dict[str, float]) -> dict[str, float | None]:
    """`percent` of every score."""
    return {name: percent(value) for name, value in scores.items()}


def percent(share: float) -> float | None:
    """A share in percent, unrounded, as results are compared by it; None for nan."""
    return 100 * float(share) if np.isfinite(share) else None
