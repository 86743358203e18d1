"""compiled/upsample_argmax.c, where a C compiler was there when the package was installed."""

from __future__ import annotations

import ctypes
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import numpy as np
import numpy.typing as npt

from contextnet_ros.inference.team import ALONE, Team
from contextnet_ros.inference.upsample import Axis, FloatArray, LabelArray

# Of upsample_argmax.c, which reads that many weights at a time.
_BLOCK = 8


def _load() -> ctypes.CDLL | None:
    folder = Path(__file__).parent / "compiled"
    for suffix in EXTENSION_SUFFIXES:
        path = folder / f"upsample_argmax{suffix}"
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
    else "NumPy makes the labels, more slowly: install contextnet_ros again where a C compiler is"
)


class CompiledArgmax:
    """As `upsample_argmax`, for frames of one size.

    Where nothing is `COMPILED`, there is none: RuntimeError.
    """

    def __init__(self, rows: Axis, columns: Axis, team: Team = ALONE) -> None:
        if _LIBRARY is None:
            raise RuntimeError(NOTE)
        self._function = _LIBRARY.upsample_argmax
        self._rows, self._columns = _CAxis(rows), _CAxis(columns)
        self._shape = len(rows.weight), len(columns.weight)
        self._team = team

    def __call__(self, logits: FloatArray) -> LabelArray:
        """Return the class of the largest interpolated logit, uint8 (H, W), a new array, of
        contiguous float32 logits (C, h, w), C at most 255."""
        classes, height, width = logits.shape
        label = np.empty(self._shape, np.uint8)

        def work(part: slice) -> None:
            winners, best = np.empty((2, width), np.uint8), np.empty(width, np.float32)
            self._function(
                _place(logits),
                *(ctypes.c_int32(number) for number in (classes, height, width)),
                ctypes.byref(self._rows),
                ctypes.byref(self._columns),
                *(ctypes.c_int32(row) for row in (part.start, part.stop)),
                *(_place(array) for array in (winners, best, label)),
            )

        self._team.share_out(self._rows.cells, work, pixels=label.size)
        return label


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
