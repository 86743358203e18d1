"""The two ends of the network on a GPU, one Triton kernel each.

Importing this needs Triton. Both kernels also run in Triton's interpreter (TRITON_INTERPRET=1,
set before Triton is first imported), which is how they are tested without a GPU. The
interpreter of Triton 3.0, which is torch 2.4's, takes no annotations that are strings: nothing of
__future__ here.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import triton
import triton.language as tl

from contextnet_ros.inference.upsample import Axis

# Frame columns of one program of `prepare`; every context scale divides it.
_COLUMNS = 128
# Frame pixels of one row, and rows, of one program of `finish`: few, so that most programs see
# cells with one winner only.
_ROW_PIXELS = 32
_ROWS = 8


@triton.jit
def _prepare(
    frame,
    table,
    images,
    reduced,
    height,
    width,
    images_row,
    reduced_row,
    SWAP: tl.constexpr,
    SCALE: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    band = tl.program_id(0)
    first = tl.program_id(1) * COLUMNS
    y = band * SCALE + tl.arange(0, SCALE)[:, None]
    x = first + tl.arange(0, COLUMNS)[None, :]
    inside = (y < height) & (x < width)
    small_x = first // SCALE + tl.arange(0, COLUMNS // SCALE)
    for channel in tl.static_range(3):
        source = 2 - channel if SWAP else channel
        level = tl.load(frame + (y * width + x) * 3 + source, mask=inside, other=0).to(tl.int32)
        # Outside the frame is the padding, zero after normalization.
        value = tl.load(table + level * 3 + channel, mask=inside, other=0.0)
        tl.store(
            images + y * images_row + x * 3 + channel,
            value.to(images.dtype.element_ty),
            mask=inside,
        )
        sums = tl.sum(tl.reshape(tl.sum(value, axis=0), (COLUMNS // SCALE, SCALE)), axis=1)
        tl.store(
            reduced + band * reduced_row + small_x * 3 + channel,
            (sums * (1.0 / (SCALE * SCALE))).to(reduced.dtype.element_ty),
            mask=small_x * SCALE < width,
        )


def prepare(
    frame: torch.Tensor,
    table: torch.Tensor,
    images: torch.Tensor,
    reduced: torch.Tensor,
    scale: int,
    swap: bool,
) -> None:
    """Normalize a frame into the network's two inputs, in one launch.

    `frame`: uint8 BGR (H, W, 3). `table`: float32 (256, 3), what each byte becomes, channels in the
    network's order; `swap`: that order is RGB. `images`: (1, 3, padded H, padded W) and `reduced`:
    the same over `scale`, a power of two, both channels last and zero where the padding is, which
    is never written.
    """
    height, width = frame.shape[:2]
    grid = (triton.cdiv(height, scale), triton.cdiv(width, _COLUMNS))
    _prepare[grid](
        frame,
        table,
        images,
        reduced,
        height,
        width,
        images.stride(2),
        reduced.stride(2),
        SWAP=swap,
        SCALE=scale,
        COLUMNS=_COLUMNS,
        num_warps=4,
        enable_fp_fusion=True,
    )


@triton.jit
def _winner(corner, valid, CLASSES: tl.constexpr, WIDE: tl.constexpr):
    """The class of the largest of the logits at `corner` (cells, 1); the lowest on a tie."""
    classes = tl.arange(0, WIDE)[None, :]
    logits = tl.load(corner + classes, mask=valid & (classes < CLASSES), other=float("-inf"))
    return tl.argmax(logits.to(tl.float32), axis=1, tie_break_left=True).to(tl.int32)


@triton.jit
def _interpolate(top_left, top_right, bottom_left, bottom_right, number, x_share, y_share, mask):
    top = tl.load(top_left + number, mask=mask, other=0.0).to(tl.float32) * (1 - x_share)
    top += tl.load(top_right + number, mask=mask, other=0.0).to(tl.float32) * x_share
    bottom = tl.load(bottom_left + number, mask=mask, other=0.0).to(tl.float32) * (1 - x_share)
    bottom += tl.load(bottom_right + number, mask=mask, other=0.0).to(tl.float32) * x_share
    return top * (1 - y_share) + bottom * y_share


@triton.jit
def _finish(
    logits,
    frame,
    label_out,
    overlay_out,
    confidence_out,
    frame_part,
    colour_part,
    width,
    row_stride,
    column_stride,
    column_cells,
    row_low,
    row_high,
    row_start,
    row_count,
    row_weight,
    column_low,
    column_high,
    column_start,
    column_count,
    column_weight,
    CHUNKS: tl.constexpr,
    CLASSES: tl.constexpr,
    WIDE: tl.constexpr,
    ROWS: tl.constexpr,
    CELLS: tl.constexpr,
    SLOTS: tl.constexpr,
    OVERLAY: tl.constexpr,
    CONFIDENCE: tl.constexpr,
):
    PIXELS: tl.constexpr = ROWS * CELLS * SLOTS
    row_cell = tl.program_id(0) // CHUNKS
    chunk = tl.program_id(0) % CHUNKS
    top = logits + tl.load(row_low + row_cell) * row_stride
    bottom = logits + tl.load(row_high + row_cell) * row_stride
    first_cell = tl.program_id(1) * CELLS

    # A class that wins at all four corners of a cell wins everywhere in it.
    cell = first_cell + tl.arange(0, CELLS)
    left = tl.load(column_low + cell, mask=cell < column_cells, other=0)[:, None] * column_stride
    right = tl.load(column_high + cell, mask=cell < column_cells, other=0)[:, None] * column_stride
    valid = (cell < column_cells)[:, None]
    winner = _winner(top + left, valid, CLASSES, WIDE)
    differs = (
        (winner != _winner(top + right, valid, CLASSES, WIDE)).to(tl.int32)
        + (winner != _winner(bottom + left, valid, CLASSES, WIDE)).to(tl.int32)
        + (winner != _winner(bottom + right, valid, CLASSES, WIDE)).to(tl.int32)
    )

    # Neighbouring lanes write neighbouring bytes: rows, then cells, then the pixels of a cell.
    pixel = tl.arange(0, PIXELS)
    cell = first_cell + pixel // SLOTS % CELLS
    in_column = pixel % SLOTS
    in_row = chunk * ROWS + pixel // (CELLS * SLOTS)
    known = cell < column_cells
    mask = known & (in_row < tl.load(row_count + row_cell))
    mask = mask & (in_column < tl.load(column_count + cell, mask=known, other=0))
    y = tl.load(row_start + row_cell) + in_row
    x = tl.load(column_start + cell, mask=known, other=0) + in_column
    y_share = tl.load(row_weight + y, mask=mask, other=0.0)
    x_share = tl.load(column_weight + x, mask=mask, other=0.0)
    left = tl.load(column_low + cell, mask=known, other=0) * column_stride
    right = tl.load(column_high + cell, mask=known, other=0) * column_stride

    label = tl.reshape(tl.broadcast_to(winner[None, :, None], (ROWS, CELLS, SLOTS)), (PIXELS,))
    if tl.sum(differs, axis=0) + CONFIDENCE > 0:
        best = _interpolate(
            top + left, top + right, bottom + left, bottom + right, 0, x_share, y_share, mask
        )
        label = tl.zeros((PIXELS,), tl.int32)
        for number in range(1, CLASSES):
            value = _interpolate(
                top + left, top + right, bottom + left, bottom + right, number, x_share, y_share,
                mask,
            )  # fmt: skip
            larger = value > best
            best = tl.where(larger, value, best)
            label = tl.where(larger, number, label)
        if CONFIDENCE:
            total = tl.zeros((PIXELS,), tl.float32)
            for number in range(CLASSES):
                value = _interpolate(
                    top + left, top + right, bottom + left, bottom + right, number, x_share,
                    y_share, mask,
                )  # fmt: skip
                total += tl.exp(value - best)
            # Adding 1.5 * 2 ** 23 leaves no bits for a fraction: rounds to nearest, ties to even.
            rounded = (255.0 / total + 12582912.0) - 12582912.0
            tl.store(confidence_out + y * width + x, rounded.to(tl.uint8), mask=mask)
    tl.store(label_out + y * width + x, label.to(tl.uint8), mask=mask)
    if OVERLAY:
        for channel in tl.static_range(3):
            at = (y * width + x) * 3 + channel
            level = tl.load(frame + at, mask=mask, other=0).to(tl.int32)
            blended = tl.load(frame_part + level, mask=mask, other=0).to(tl.int32)
            blended += tl.load(colour_part + label * 3 + channel, mask=mask, other=0).to(tl.int32)
            tl.store(overlay_out + at, tl.minimum(blended, 255).to(tl.uint8), mask=mask)


@dataclass(frozen=True)
class Cells:
    """An axis of the frame on the device, as `finish` reads it: int32 (cells,), and float32
    (pixels,) for `weight`. `slots`: the pixels of the largest cell."""

    low: torch.Tensor
    high: torch.Tensor
    start: torch.Tensor
    count: torch.Tensor
    weight: torch.Tensor
    slots: int

    @classmethod
    def of(cls, axis: Axis, device: torch.device) -> "Cells":
        """Put an axis on the device."""
        slots = axis.cell_weight.shape[1]
        _, start, count = np.unique(axis.slot // slots, return_index=True, return_counts=True)

        def put(array: npt.NDArray[np.intp]) -> torch.Tensor:
            return torch.from_numpy(array.astype(np.int32)).to(device)

        weight = torch.from_numpy(axis.weight).to(device)
        low, high = put(axis.cell_low), put(axis.cell_high)
        return cls(low, high, put(start), put(count), weight, slots)


def finish(
    logits: torch.Tensor,
    rows: Cells,
    columns: Cells,
    label: torch.Tensor,
    confidence: torch.Tensor | None = None,
    overlay: torch.Tensor | None = None,
    frame: torch.Tensor | None = None,
    frame_part: torch.Tensor | None = None,
    colour_part: torch.Tensor | None = None,
) -> None:
    """Upsample logits (C, h, w), channels last, and write what is asked for, in one launch.

    Cells whose four corners have one winner are not interpolated, unless confidence is asked for.
    `label`, `confidence`: uint8 (H, W). `overlay`, `frame`: uint8 (H, W, 3); `frame_part`: uint8
    (256,) and `colour_part`: uint8 (256, 3), the two summands of an overlay.
    """
    if logits.stride(0) != 1:
        raise ValueError(f"logits of strides {logits.stride()} are not channels last")
    classes = logits.shape[0]
    slots = triton.next_power_of_2(columns.slots)
    row_pixels = min(_ROWS, triton.next_power_of_2(rows.slots))
    chunks = triton.cdiv(rows.slots, row_pixels)
    cells = max(1, _ROW_PIXELS // slots)
    grid = (len(rows.low) * chunks, triton.cdiv(len(columns.low), cells))
    _finish[grid](
        logits,
        frame,
        label,
        overlay,
        confidence,
        frame_part,
        colour_part,
        label.shape[1],
        logits.stride(1),
        logits.stride(2),
        len(columns.low),
        rows.low,
        rows.high,
        rows.start,
        rows.count,
        rows.weight,
        columns.low,
        columns.high,
        columns.start,
        columns.count,
        columns.weight,
        CHUNKS=chunks,
        CLASSES=classes,
        WIDE=triton.next_power_of_2(classes),
        ROWS=row_pixels,
        CELLS=cells,
        SLOTS=slots,
        OVERLAY=int(overlay is not None),
        CONFIDENCE=int(confidence is not None),
        num_warps=4,
        enable_fp_fusion=True,
    )
