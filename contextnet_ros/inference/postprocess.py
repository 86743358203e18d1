"""Stride-8 logits made into label and confidence of the frame's size."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from contextnet_ros.inference.compiled_upsample import COMPILED, CompiledUpsample
from contextnet_ros.inference.preprocess import Resizer
from contextnet_ros.inference.team import ALONE, Team
from contextnet_ros.inference.upsample import Axis, FloatArray, LabelArray
from contextnet_ros.inference.upsample_argmax import upsample_argmax
from contextnet_ros.inference.upsample_confidence import (
    NumpySeries,
    Series,
    upsample_confidence,
)
from contextnet_ros.network.variants import STRIDE


class Postprocessor:
    """Upsample the logits of frames of one size, on the CPU."""

    def __init__(self, height: int, width: int, preprocessor: Resizer, team: Team = ALONE) -> None:
        self.rows = Axis.between(
            height, preprocessor.network_height, preprocessor.padded_height // STRIDE
        )
        self.columns = Axis.between(
            width, preprocessor.network_width, preprocessor.padded_width // STRIDE
        )
        axes = self.rows, self.columns
        self._argmax: Callable[[FloatArray], LabelArray]
        self._series: Series
        if COMPILED:
            compiled = CompiledUpsample(*axes, team)
            self._argmax, self._series = compiled.argmax, compiled.confidence
        else:
            self._argmax = partial(upsample_argmax, rows=self.rows, columns=self.columns)
            self._series = NumpySeries(*axes, team)

    def label(self, logits: torch.Tensor) -> npt.NDArray[np.uint8]:
        """Return the class of the largest interpolated logit, uint8 (H, W), of logits (C, h, w)."""
        return self._argmax(_on_host(logits))

    def confidence(self, logits: torch.Tensor) -> npt.NDArray[np.uint8]:
        """Return round(255 * largest softmax of the interpolated logits), uint8 (H, W)."""
        return upsample_confidence(_on_host(logits), self.rows, self.columns, self._series)


def _on_host(logits: torch.Tensor) -> npt.NDArray[np.float32]:
    return np.asarray(logits.float().contiguous().numpy())
