"""Scores as pictures: the confusion matrix, and a frame beside its truth and its prediction."""

from __future__ import annotations

import cv2
import numpy as np

from contextnet_ros.labels import ClassTable, Pixels
from contextnet_ros.training.scoring import ConfusionMatrix

_CELL = 44
_MARGIN = 150
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def confusion_picture(confusion: ConfusionMatrix, table: ClassTable) -> Pixels:
    """BGR picture: a row for each true class, a column for each predicted one, and "none".

    Cells hold the percentage of the row's pixels; darker is more.
    """
    counts = confusion.counts.astype(np.float64)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    rows, columns = shares.shape
    picture = np.full((_MARGIN + rows * _CELL, _MARGIN + columns * _CELL, 3), 255, np.uint8)
    for row, name in enumerate(table.names):
        _write(picture, name, (6, _MARGIN + row * _CELL + 27))
    for column, name in enumerate((*table.names, "none")):
        # Written along a strip that is then turned: OpenCV writes no vertical text.
        strip = np.full((_CELL, _MARGIN, 3), 255, np.uint8)
        _write(strip, name, (6, 27))
        left = _MARGIN + column * _CELL
        picture[:_MARGIN, left : left + _CELL] = cv2.rotate(strip, cv2.ROTATE_90_COUNTERCLOCKWISE)
    for row, column in np.ndindex(rows, columns):
        share = shares[row, column]
        top, left = _MARGIN + row * _CELL, _MARGIN + column * _CELL
        picture[top : top + _CELL, left : left + _CELL] = (
            255,
            round(255 - 150 * share),
            round(255 - 220 * share),
        )
        if share >= 0.005:
            _write(picture, f"{100 * share:.0f}", (left + 8, top + 27), dark=share < 0.6)
    return picture


def compared(image: Pixels, truth: Pixels, prediction: Pixels, table: ClassTable) -> Pixels:
    """BGR picture (H, 3 W, 3): the frame, the truth and the prediction; unscored pixels black."""
    return np.concatenate([image, table.colorize(truth), table.colorize(prediction)], axis=1)


def _write(picture: Pixels, text: str, place: tuple[int, int], dark: bool = True) -> None:
    colour = (40, 40, 40) if dark else (255, 255, 255)
    cv2.putText(picture, text, place, _FONT, 0.45, colour, 1, cv2.LINE_AA)
