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
    in `cell_weight.ravel()`.
    """

    low: IntArray
    high: IntArray
    weight: FloatArray
    cell_low: IntArray
    cell_high: IntArray
    cell_weight: FloatArray
    slot: IntArray

    @classmethod
    def between(cls, frame: int, network: int, logits: int) -> Axis:
        """Map an axis of `frame` pixels that the network saw as `network` pixels, in `logits`
        outputs.

        `logits` counts those of the padding too, which pixels near the border read as the network
        left them.
        """
        position = (np.arange(frame) + 0.5) * (network / (STRIDE * frame)) - 0.5
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
        return cls(low, high, weight, low[start], high[start], cell_weight, slot)

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


def upsample_confidence(logits: FloatArray, rows: Axis, columns: Axis) -> LabelArray:
    """Return round(255 * largest softmax of the interpolated logits), uint8 (H, W), on the CPU.

    `logits`: float32 (C, h, w).
    """
    share = columns.weight
    wide = logits.take(columns.low, axis=2) * (1 - share)
    wide += logits.take(columns.high, axis=2) * share
    confidence = np.empty((len(rows.low), len(columns.low)), np.uint8)
    # A band of cells stays in the processor's cache, which is several times faster than the whole
    # frame.
    edges = np.flatnonzero(np.diff(rows.low + rows.high)) + 1
    for start, end in zip([0, *edges], [*edges, len(rows.low)], strict=True):
        share = rows.weight[start:end, None]
        band = wide[:, rows.low[start], None] * (1 - share)
        band += wide[:, rows.high[start], None] * share
        band -= band.max(axis=0)
        # The largest logit's own term is now exp(0), so the largest softmax is one over the sum.
        confidence[start:end] = np.rint(255 / np.exp(band, out=band).sum(axis=0))
    return confidence
