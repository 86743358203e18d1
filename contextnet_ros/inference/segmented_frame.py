"""What a Segmenter gives for one frame."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

OUTPUTS = ("label", "overlay", "confidence")


@dataclass(frozen=True)
class SegmentedFrame:
    """What one frame gave; every array is the caller's own.

    `label`: uint8 (H, W), class ids. `overlay`: uint8 (H, W, 3) BGR. `confidence`: uint8 (H, W),
    255 times the largest softmax. `timings`: milliseconds of each stage. `index`: the frame's place
    in its stream, counted from zero.
    """

    label: npt.NDArray[np.uint8]
    overlay: npt.NDArray[np.uint8] | None = None
    confidence: npt.NDArray[np.uint8] | None = None
    timings: dict[str, float] = field(default_factory=dict)
    index: int = 0
