"""The overlay: class colours blended into the frame."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from contextnet_ros.files import UserError
from contextnet_ros.labels import ClassTable

DEFAULT_OPACITY = 0.5


class OverlayBlender:
    """Blend class colours into frames, in whole numbers: equal inputs give equal bytes on every
    machine.

    overlay = round((1 - opacity) * frame) + round(opacity * colour), at most 255. Pixels whose
    label has no colour keep the frame's. Raises UserError where the opacity isn't within 0 to 1.
    """

    def __init__(self, table: ClassTable, opacity: float = DEFAULT_OPACITY) -> None:
        if not 0 <= opacity <= 1:
            raise UserError(f"overlay opacity {opacity} is out of range: choose one from 0 to 1")
        self.opacity = float(opacity)
        self._num_classes = table.num_classes
        self._frame_part = _scaled(np.arange(256), 1 - self.opacity)
        self._colour_part = _scaled(table.palette_bgr(), self.opacity)[None]

    def tables(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Return the two summands: of each byte of the frame (256,), and of each class in BGR (256,
        3)."""
        return self._frame_part, self._colour_part[0]

    def __call__(
        self, image: npt.NDArray[np.uint8], label: npt.NDArray[np.uint8]
    ) -> npt.NDArray[np.uint8]:
        """Return the overlay, uint8 (H, W, 3), a new array, of a BGR frame (H, W, 3) and its
        label (H, W)."""
        image = np.ascontiguousarray(image)
        colour = cv2.LUT(cv2.cvtColor(label, cv2.COLOR_GRAY2BGR), self._colour_part)
        overlay = np.asarray(cv2.add(cv2.LUT(image, self._frame_part), colour), np.uint8)
        if label.max() >= self._num_classes:
            unlabelled = label >= self._num_classes
            overlay[unlabelled] = image[unlabelled]
        return overlay


def _scaled(levels: npt.NDArray[Any], factor: float) -> npt.NDArray[np.uint8]:
    rounded: npt.NDArray[np.uint8] = np.floor(levels * factor + 0.5).astype(np.uint8)
    return rounded
