"""The one interpolation from the stride-8 logits to the frame, as a map of each axis and as the
logits of every pixel.

A frame pixel reads the logits at `(pixel + 0.5) * network / (8 * frame) - 0.5`, clamped to the
first and last logit: `align_corners=False` through the resize and the stride at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from contextnet_ros.network.variants import STRIDE

IntArray = npt.NDArray[np.intp]
FloatArray = npt.NDArray[np.float32]
LabelArray = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Axis:
    """How the pixels of one axis of the frame read the logits.

    `low`, `high`, `weight`: (pixels,), the two logits that a pixel lies between and the share of
    the second. A cell is a run of pixels that lie between the same two logits; no cell is empty.
    `cell_low`, `cell_high`: (cells,), its logits. `cell_weight`: (cells, slots), the `weight` of
    its pixels, one slot for each pixel of the longest cell. `slot`: (pixels,), where a pixel stands
    in `cell_weight.ravel()`. `cell_start`: (cells,), the weight of the first slot, and `spacing`,
    what it grows by from one slot to the next, where the cell has two logits. `edge`: (cells + 1,),
    the first pixel of each cell, and the number of pixels.
    """

    low: IntArray
    high: IntArray
    weight: FloatArray
    cell_low: IntArray
    cell_high: IntArray
    cell_weight: FloatArray
    slot: IntArray
    cell_start: FloatArray
    spacing: float
    edge: IntArray

    @classmethod
    def between(cls, frame: int, network: int, logits: int) -> Axis:
        """Map an axis of `frame` pixels that the network saw as `network` pixels, in `logits`
        outputs.

        `logits` counts those of the padding too, which pixels near the border read as the network
        left them.
        """
        spacing = network / (STRIDE * frame)
        position = (np.arange(frame) + 0.5) * spacing - 0.5
        # Pixels before the first logit's centre form a cell of their own, and so do those after the
        # last.
        interval = np.clip(np.floor(position).astype(np.intp), -1, logits - 1)
        low = np.maximum(interval, 0)
        high = np.minimum(interval + 1, logits - 1)
        weight = np.where(low == high, 0.0, position - low).astype(np.float32)

        _, start, cell, count = np.unique(
            interval, return_index=True, return_inverse=True, return_counts=True
        )
        slots = count.max()
        within = np.arange(frame) - start[cell]
        # The first cell ends where the next begins: with equal cells behind it, slots then run as
        # pixels do.
        within[: count[0]] += slots - count[0]
        slot = cell * slots + within
        cell_weight = np.zeros((len(start), slots), np.float32)
        cell_weight.reshape(-1)[slot] = weight
        cell_start = (weight[start] - within[start] * spacing).astype(np.float32)
        cells = low[start], high[start], cell_weight
        edge = np.append(start, frame)
        return cls(low, high, weight, *cells, slot, cell_start, spacing, edge)

    def on(self, device: torch.device, part: slice = slice(None)) -> PlacedAxis:
        """Put what a `part` of the pixels reads on a device."""
        arrays = self.low[part], self.high[part], self.weight[part]
        return PlacedAxis(*(torch.from_numpy(array).to(device) for array in arrays))

    def pixels(self) -> slice | IntArray:
        """Return what picks the pixels, in order, from an axis of cells x slots."""
        first, last = int(self.slot[0]), int(self.slot[-1])
        return slice(first, last + 1) if last - first == len(self.slot) - 1 else self.slot


@dataclass(frozen=True)
class PlacedAxis:
    """`low`, `high` and `weight` of an Axis, or of a part of its pixels, on a device."""

    low: torch.Tensor
    high: torch.Tensor
    weight: torch.Tensor


def interpolate(
    logits: torch.Tensor, rows: Axis | PlacedAxis, columns: Axis | PlacedAxis
) -> torch.Tensor:
    """Return the logits of every frame pixel, float32 (C, H, W), on the device of `logits` (C,
    h, w)."""
    rows, columns = (
        axis.on(logits.device) if isinstance(axis, Axis) else axis for axis in (rows, columns)
    )
    logits = logits.float()
    share = columns.weight
    wide = logits[:, :, columns.low] * (1 - share) + logits[:, :, columns.high] * share
    share = rows.weight[:, None]
    return wide[:, rows.low] * (1 - share) + wide[:, rows.high] * share


def confidence(logits: torch.Tensor) -> torch.Tensor:
    """Return round(255 * largest softmax) over the first axis, uint8 (H, W), of logits (C, H,
    W)."""
    return (255 * logits.softmax(0).amax(0)).round().to(torch.uint8)
