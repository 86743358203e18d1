"""Upsample and argmax on the CPU, exactly, at the cost of the pixels where it matters.

A cell is the block of frame pixels that interpolate between the same 2 x 2 logits. Every pixel's
logits are a convex combination of the four corners', so a class that another one beats at all four
corners can win nowhere in the cell. Where one class is left, the cell needs no interpolation;
elsewhere only the classes left are evaluated, and mostly these are two, of which the sign of the
difference decides. The label can differ from the dense computation's only where two interpolated
logits are within a rounding step of each other.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt

from contextnet_ros.inference.upsample import Axis, FloatArray, LabelArray

# Cells evaluated together: few enough that their pixels stay in the processor's cache.
_CHUNK = 1024
# Numbers of classes evaluated together: a group for each would be many small ones.
_COUNTS = ((2, 2), (3, 4), (5, 255))


def upsample_argmax(logits: FloatArray, rows: Axis, columns: Axis) -> LabelArray:
    """Return the class of the largest interpolated logit for each frame pixel.

    `logits`: float32 (C, h, w), C at most 255. Returns uint8 (H, W), a new array; the lowest index
    wins a tie.
    """
    first, *others = _corner_winners(logits, rows, columns)
    # Every cell is given the slots of the largest one, so that all have one shape; the pixels are
    # picked last.
    slots = rows.cell_weight.shape[1], columns.cell_weight.shape[1]
    cells = np.empty((first.shape[0], slots[0], first.shape[1], slots[1]), np.uint8)
    # Whole rows are copied faster than cells.
    cells[:] = first.repeat(slots[1], axis=1).reshape(len(first), 1, *cells.shape[2:])

    second = first
    for other in others:
        second = np.where(second == first, other, second)
    y, x = np.nonzero(second != first)
    top, bottom = rows.cell_low[y], rows.cell_high[y]
    left, right = columns.cell_low[x], columns.cell_high[x]
    flat, width = logits.reshape(len(logits), -1), logits.shape[2]
    corners = np.empty((4, len(logits), len(y)), np.float32)
    for corner, (row, column) in zip(corners, product((top, bottom), (left, right)), strict=True):
        # Clipping, which finds nothing to clip, is what lets NumPy write in place.
        flat.take(row * width + column, axis=1, out=corner, mode="clip")
    winners = first[y, x], second[y, x]
    possible = _possible_classes(corners, *winners)
    number = possible.sum(axis=0)
    for least, most in _COUNTS:
        same = np.flatnonzero((number >= least) & (number <= most))
        for start in range(0, len(same), _CHUNK):
            chosen = same[start : start + _CHUNK]
            if most == 2:
                # The two winners themselves.
                pair = [winner[chosen] for winner in winners]
                classes = np.stack([np.minimum(*pair), np.maximum(*pair)]).astype(np.intp)
            else:
                classes = _listed(possible[:, chosen])
            evaluate = _evaluate_two if most == 2 else _evaluate
            label = evaluate(
                corners.reshape(4, -1).take(classes * len(y) + chosen, axis=1),
                classes.astype(np.uint8),
                rows.cell_weight[y[chosen]].T,
                columns.cell_weight[x[chosen]].T,
            )
            cells[y[chosen], :, x[chosen], :] = label.transpose(2, 0, 1)
    canvas = cells.reshape(len(cells) * slots[0], -1)
    return np.ascontiguousarray(canvas[rows.pixels()][:, columns.pixels()])


def decided_share(logits: FloatArray, rows: Axis, columns: Axis) -> float:
    """Return the share of the cells, 0 to 1, whose four corners have the same winner."""
    first, *others = _corner_winners(logits, rows, columns)
    return float(np.logical_and.reduce([other == first for other in others]).mean())


def lowest_argmax(values: FloatArray) -> LabelArray:
    """Return the argmax over the first axis as uint8; the lowest index wins a tie."""
    best = values[0].copy()
    index = np.zeros(best.shape, np.uint8)
    for i in range(1, len(values)):
        larger = values[i] > best
        np.copyto(best, values[i], where=larger)
        np.copyto(index, np.uint8(i), where=larger)
    return index


def _corner_winners(logits: FloatArray, rows: Axis, columns: Axis) -> list[LabelArray]:
    """Return the winning class at each of the four corners of every cell, (cells, cells)."""
    winner = lowest_argmax(logits)
    return [
        winner[row][:, column]
        for row in (rows.cell_low, rows.cell_high)
        for column in (columns.cell_low, columns.cell_high)
    ]


def _possible_classes(corners: FloatArray, *winners: LabelArray) -> npt.NDArray[np.bool_]:
    """Return which classes none of the `winners` (cells,) beats at all four `corners` (4, C,
    cells)."""
    cells = np.arange(corners.shape[2])
    possible = np.ones(corners.shape[1:], bool)
    for winner in winners:
        beaten = corners[0] < corners[0, winner, cells]
        for corner in corners[1:]:
            beaten &= corner < corner[winner, cells]
        possible &= ~beaten
    return possible


def _listed(possible: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """Return the possible classes of each cell, (most of a cell, cells), in ascending order; where
    there are fewer the last one again, which a tie with itself does not change."""
    number = possible.sum(axis=0)
    ascending = np.argsort(~possible, axis=0, kind="stable")
    places = np.minimum(np.arange(number.max())[:, None], number - 1)
    return np.take_along_axis(ascending, places, axis=0)


def _evaluate_two(
    corners: FloatArray, classes: LabelArray, weight_y: FloatArray, weight_x: FloatArray
) -> LabelArray:
    """Return what `_evaluate` does, of two classes in ascending order."""
    lead = corners[:, 1] - corners[:, 0]
    rest_x, weight_y = 1 - weight_x, weight_y[:, None]
    top = lead[0] * rest_x + lead[1] * weight_x
    bottom = lead[2] * rest_x + lead[3] * weight_x
    larger: LabelArray = np.negative((top * (1 - weight_y) > -bottom * weight_y).view(np.uint8))
    larger &= classes[0] ^ classes[1]
    larger ^= classes[0]
    return larger


def _evaluate(
    corners: FloatArray, classes: LabelArray, weight_y: FloatArray, weight_x: FloatArray
) -> LabelArray:
    """Return the winner of every slot, uint8 (slots, slots, cells), of classes in ascending order.

    `corners`: (4, count, cells). `classes`: (count, cells). `weight_y`, `weight_x`: (slots, cells).
    """
    rest_x = 1 - weight_x
    top = corners[0, :, None] * rest_x + corners[1, :, None] * weight_x
    bottom = corners[2, :, None] * rest_x + corners[3, :, None] * weight_x
    weight_y = weight_y[:, None]
    rest_y = 1 - weight_y
    values = (a * rest_y + b * weight_y for a, b in zip(top, bottom, strict=True))
    best = next(values)
    label = np.empty(best.shape, np.uint8)
    label[...] = classes[0]
    for name, value in zip(classes[1:], values, strict=True):
        # Masks of bytes: NumPy's conditional copies take several times as long.
        larger = np.negative((value > best).view(np.uint8))
        label ^= (label ^ name) & larger
        np.maximum(best, value, out=best)
    return label
