"""Upsample and argmax on the CPU, exactly, at the cost of the pixels where it matters.

A cell is the block of frame pixels that interpolate between the same 2 x 2 logits. Every pixel's
logits are a convex combination of the four corners', so a class that another one beats at all four
corners can win nowhere in the cell. Where one class is left, the cell needs no interpolation;
elsewhere only the classes left are evaluated, and mostly these are two, whose difference changes
its sign once at most along a row. The label can differ from the dense computation's only where two
interpolated logits are within a rounding step of each other.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from contextnet_ros.inference.upsample import Axis, FloatArray, IntArray, LabelArray

BoolArray = npt.NDArray[np.bool_]

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
    patterns = _patterns(slots[1])
    words = cells.view(patterns.dtype)
    words[:] = _in_words(first, patterns.dtype)[:, None, :, None]

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
            row, column = y[chosen], x[chosen]
            if most == 2:
                # The two winners themselves.
                pair = [winner[chosen] for winner in winners]
                classes = np.stack([np.minimum(*pair), np.maximum(*pair)])
            else:
                classes = _listed(possible[:, chosen])
            places = classes.astype(np.intp) * len(y) + chosen
            values = corners.reshape(4, -1).take(places, axis=1)
            weight_y = rows.cell_weight[row].T
            if most == 2:
                words[row, :, column] = _evaluate_two(
                    values, classes, weight_y, columns, column, patterns
                ).swapaxes(0, 1)
            else:
                label = _evaluate(
                    values, classes.astype(np.uint8), weight_y, columns.cell_weight[column].T
                )
                cells[row, :, column, :] = label.transpose(2, 0, 1)
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
    for i, value in enumerate(values[1:], start=1):
        _take_larger(index, np.uint8(i), value > best)
        np.maximum(best, value, out=best)
    return index


def _take_larger(index: LabelArray, name: LabelArray | np.uint8, larger: BoolArray) -> None:
    # Masks of bytes: NumPy's conditional copies take several times as long.
    index ^= (index ^ name) & np.negative(larger.view(np.uint8))


def _corner_winners(logits: FloatArray, rows: Axis, columns: Axis) -> list[LabelArray]:
    """Return the winning class at each of the four corners of every cell, (cells, cells)."""
    winner = lowest_argmax(logits)
    return [
        winner[row][:, column]
        for row in (rows.cell_low, rows.cell_high)
        for column in (columns.cell_low, columns.cell_high)
    ]


def _possible_classes(corners: FloatArray, *winners: LabelArray) -> BoolArray:
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


def _listed(possible: BoolArray) -> npt.NDArray[np.intp]:
    """Return the possible classes of each cell, (most of a cell, cells), in ascending order; where
    there are fewer the last one again, which a tie with itself does not change."""
    number = possible.sum(axis=0)
    ascending: IntArray = np.nonzero(possible.T)[1]
    last = number.cumsum() - 1
    places = np.minimum(last - number + 1 + np.arange(number.max())[:, None], last)
    listed: IntArray = ascending[places]
    return listed


def _patterns(slots: int) -> npt.NDArray[np.unsignedinteger]:
    """Return the ways in which a row of a cell can be split between two classes, (2 * (slots + 1),
    words): the bytes of the first `i` slots set, then those from slot `i` on.

    The words are the widest unsigned integers that slots divide into.
    """
    before = np.arange(slots) < np.arange(slots + 1)[:, None]
    mask = np.where(np.concatenate([before, ~before]), 255, 0).astype(np.uint8)
    return mask.view(f"u{math.gcd(slots, 8)}")


def _in_words(classes: LabelArray, word: np.dtype[Any]) -> npt.NDArray[np.unsignedinteger]:
    """Return words that have the class in each of their bytes."""
    words: npt.NDArray[np.unsignedinteger] = classes.astype(word)
    words *= word.type(np.iinfo(word).max // 255)
    return words


def _evaluate_two(
    corners: FloatArray,
    classes: LabelArray,
    weight_y: FloatArray,
    columns: Axis,
    column: IntArray,
    patterns: npt.NDArray[np.unsignedinteger],
) -> npt.NDArray[np.unsignedinteger]:
    """Return the winner of every slot, (slots, cells, words), of two classes in ascending order.

    Along a row the lead of the second is linear, so that one crossing tells of all its slots.
    `corners`: (4, 2, cells). `weight_y`: (slots, cells). `column`: (cells,), of `columns`.
    """
    lead = corners[:, 1] - corners[:, 0]
    rest_y = 1 - weight_y
    left = lead[0] * rest_y + lead[2] * weight_y
    fall = left - (lead[1] * rest_y + lead[3] * weight_y)
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = left / fall
    crossing -= columns.cell_start[column]
    crossing *= np.float32(1 / columns.spacing)
    # No lead at all is no number, which these take for a crossing before the first slot.
    np.fmax(crossing, np.float32(-0.5), out=crossing)
    slots = len(patterns) // 2 - 1
    np.fmin(crossing, np.float32(slots - 0.5), out=crossing)
    # A tie is the first class's: the slot of a crossing is neither before it nor behind it.
    pattern = np.where(fall < 0, np.floor(crossing) + np.float32(slots + 2), np.ceil(crossing))
    second = patterns.take(pattern.astype(np.intp), axis=0, mode="clip")
    low, high = _in_words(classes, patterns.dtype)[:, :, None]
    second &= low ^ high
    second ^= low
    return second


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
        _take_larger(label, name, value > best)
        np.maximum(best, value, out=best)
    return label
