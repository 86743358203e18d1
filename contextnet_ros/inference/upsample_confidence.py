"""Confidence on the CPU: the largest softmax of every pixel's interpolated logits.

Within a cell (see `upsample_argmax`) the interpolated logits are linear along a row or a column of
pixels, so that their exponentials are a geometric series: few exponentials are enough, the rest are
multiplications. Logits too far apart for float32's exponentials are computed densely.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from contextnet_ros.inference.team import ALONE, Team
from contextnet_ros.inference.upsample import (
    Axis,
    FloatArray,
    LabelArray,
    confidence,
    interpolate,
)

# Rows of cells evaluated together: few enough that their values stay in the processor's cache.
_BAND = 64
# Exponentials of more, and of less than its negative, leave float32's range.
_LARGEST = 80.0


Series = Callable[[FloatArray], LabelArray]
"""From logits less the largest of their place, float32 (C, h, w), to confidence, uint8 (H, W)."""


def upsample_confidence(
    logits: FloatArray, rows: Axis, columns: Axis, series: Series
) -> LabelArray:
    """Return round(255 * largest softmax of the interpolated logits), uint8 (H, W), a new array.

    `logits`: float32 (C, h, w).
    """
    # The softmax is the same, and no exponential is larger than one.
    lag = logits - logits.max(axis=0)
    furthest = max(1, rows.spacing, columns.spacing, 2 * rows.spacing * columns.spacing)
    # Nor are those in range that are no numbers.
    if not -lag.min() * furthest <= _LARGEST:
        return confidence(interpolate(torch.from_numpy(logits), rows, columns)).numpy()
    return series(lag)


@dataclass(frozen=True)
class NumpySeries:
    """A `Series` for frames of one size.

    Of the series along the rows of a cell, the first terms and the ratios are series too: four
    exponentials for each class and cell.
    """

    rows: Axis
    columns: Axis
    team: Team = ALONE

    def __call__(self, lag: FloatArray) -> LabelArray:
        rows, columns = self.rows, self.columns
        slots = rows.cell_weight.shape[1], columns.cell_weight.shape[1]
        canvas = np.empty((len(rows.cell_low), slots[0], len(columns.cell_low), slots[1]), np.uint8)

        def work(part: slice) -> None:
            for start in range(part.start, part.stop, _BAND):
                band = slice(start, min(start + _BAND, part.stop))
                _fill(canvas[band], lag, rows, columns, band)

        self.team.share_out(len(canvas), work)
        flat = canvas.reshape(len(rows.cell_low) * slots[0], -1)
        return np.ascontiguousarray(flat[rows.pixels()][:, columns.pixels()])


def _fill(canvas: LabelArray, lag: FloatArray, rows: Axis, columns: Axis, band: slice) -> None:
    """Write the confidence of a band of rows of cells, (cells, slots, cells, slots)."""
    top, bottom = lag[:, rows.cell_low[band]], lag[:, rows.cell_high[band]]
    down = bottom - top
    top += down * rows.cell_start[band, None]
    shape = canvas.shape[0], canvas.shape[2]
    # Of the first row of pixels, and of what each row is multiplied with to be the next: the first
    # pixel, and what each pixel is multiplied with to be the next.
    down *= np.float32(rows.spacing)
    (row, ratio), (row_factor, ratio_factor) = _series(top, columns), _series(down, columns)
    values = np.empty_like(row)
    total, largest = np.empty_like(row[0]), np.empty_like(row[0])
    for y in range(canvas.shape[1]):
        if y:
            row *= row_factor
            ratio *= ratio_factor
        values[...] = row
        for x in range(canvas.shape[3]):
            if x:
                values *= ratio
            np.add.reduce(values, axis=0, out=total)
            np.maximum.reduce(values, axis=0, out=largest)
            largest *= 255
            largest /= total
            canvas[:, y, :, x] = np.rint(largest, out=largest).reshape(shape)


def _series(values: FloatArray, columns: Axis) -> tuple[FloatArray, FloatArray]:
    """Return the exponentials at the first pixel of every cell and their ratio from one pixel to
    the next, (C, rows * cells), of values (C, rows, w) at the logits."""
    left = values.take(columns.cell_low, axis=2)
    step = values.take(columns.cell_high, axis=2)
    step -= left
    left += step * columns.cell_start
    step *= np.float32(columns.spacing)
    flat = len(values), -1
    return np.exp(left, out=left).reshape(flat), np.exp(step, out=step).reshape(flat)
