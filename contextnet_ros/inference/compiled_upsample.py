"""compiled/upsample.c, where a C compiler was there when the package was installed."""

from __future__ import annotations

import ctypes
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from contextnet_ros.inference.team import ALONE, Team
from contextnet_ros.inference.upsample import Axis, FloatArray, LabelArray

# Of upsample.c, which reads that many weights at a time.
_BLOCK = 8


def _load() -> ctypes.CDLL | None:
    folder = Path(__file__).parent / "compiled"
    for suffix in EXTENSION_SUFFIXES:
        path = folder / f"upsample{suffix}"
        if path.exists():
            try:
                return ctypes.CDLL(str(path))
            # Built on another kind of machine.
            except OSError:
                continue
    return None


_LIBRARY = _load()
COMPILED = _LIBRARY is not None
NOTE = (
    ""
    if COMPILED
    else "NumPy makes labels and confidence, more slowly: install contextnet_ros again where a C "
    "compiler is"
)


class CompiledUpsample:
    """As `upsample_argmax` and `upsample_confidence`'s `NumpySeries`, for frames of one size.

    Where nothing is `COMPILED`, there is none: RuntimeError.
    """

    def __init__(self, rows: Axis, columns: Axis, team: Team = ALONE) -> None:
        if _LIBRARY is None:
            raise RuntimeError(NOTE)
        self._library = _LIBRARY
        self._rows, self._columns = _CAxis(rows), _CAxis(columns)
        self._spacing = rows.spacing
        self._shape = len(rows.weight), len(columns.weight)
        self._team = team

    def argmax(self, logits: FloatArray) -> LabelArray:
        """Return the class of the largest interpolated logit, uint8 (H, W), a new array, of
        contiguous float32 logits (C, h, w), C at most 255."""
        size = self._shape[0] * self._shape[1]
        return self._call(self._library.upsample_argmax, logits, pixels=size)

    def confidence(self, lag: FloatArray) -> LabelArray:
        """Return round(255 * largest softmax), uint8 (H, W), a new array, of contiguous float32
        logits (C, h, w) less the largest of their place, C at most 255; interpolated ones differ by
        at most 80 from one pixel to the next and from zero."""
        spacing = ctypes.c_float(self._spacing)
        return self._call(self._library.upsample_confidence, lag, spacing)

    def _call(
        self, function: Any, logits: FloatArray, *more: Any, pixels: int | None = None
    ) -> LabelArray:
        classes, height, width = logits.shape
        result = np.empty(self._shape, np.uint8)

        def work(part: slice) -> None:
            of_logits, values = np.empty((2, width), np.uint8), np.empty(width, np.float32)
            function(
                _place(logits),
                *(ctypes.c_int32(number) for number in (classes, height, width)),
                ctypes.byref(self._rows),
                ctypes.byref(self._columns),
                *more,
                *(ctypes.c_int32(row) for row in (part.start, part.stop)),
                *(_place(array) for array in (of_logits, values, result)),
            )

        self._team.share_out(self._rows.cells, work, pixels)
        return result


class _CAxis(ctypes.Structure):
    _fields_ = (
        ("cells", ctypes.c_int32),
        *((name, ctypes.c_void_p) for name in ("low", "high", "edge", "weight")),
    )

    def __init__(self, axis: Axis) -> None:
        numbers = [
            np.ascontiguousarray(array, np.int32)
            for array in (axis.cell_low, axis.cell_high, axis.edge)
        ]
        weight = np.zeros(len(axis.weight) + _BLOCK - 1, np.float32)
        weight[: len(axis.weight)] = axis.weight
        # Kept: a pointer doesn't hold what it points to.
        self._arrays = (*numbers, weight)
        super().__init__(len(axis.cell_low), *(array.ctypes.data for array in self._arrays))


def _place(array: npt.NDArray[np.generic]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
