"""The overlay: class colours blended into the frame."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from contextnet_ros.files import UserError
from contextnet_ros.inference.team import ALONE, Team
from contextnet_ros.labels import ClassTable

DEFAULT_OPACITY = 0.5


class OverlayBlender:
    """Blend class colours into frames, in whole numbers: equal inputs give equal bytes on every
    machine.

    overlay = round((1 - opacity) * frame) + round(opacity * colour), at most 255. Pixels whose
    label has no colour, or is not among the names in `shown` (None: all are), keep the frame's.
    Raises UserError where the opacity isn't within 0 to 1.
    """

    def __init__(
        self,
        table: ClassTable,
        opacity: float = DEFAULT_OPACITY,
        team: Team = ALONE,
        *,
        shown: Collection[str] | None = None,
    ) -> None:
        if not 0 <= opacity <= 1:
            raise UserError(f"overlay opacity {opacity} is out of range: choose one from 0 to 1")
        self.opacity = float(opacity)
        self._num_classes = table.num_classes
        self._hidden = np.full(256, 255, np.uint8)
        for number, name in enumerate(table.names):
            if shown is None or name in shown:
                self._hidden[number] = 0
        self._hides_a_class = bool(self._hidden[: table.num_classes].any())
        self._frame_part = _scaled(np.arange(256), 1 - self.opacity)
        # As OpenCV's colour maps.
        self._colour_part = _scaled(table.palette_bgr(), self.opacity)[:, None]
        self._team = team

    def __call__(
        self, image: npt.NDArray[np.uint8], label: npt.NDArray[np.uint8]
    ) -> npt.NDArray[np.uint8]:
        """Return the overlay, uint8 (H, W, 3), a new array, of a BGR frame (H, W, 3) and its
        label (H, W)."""
        image = np.ascontiguousarray(image)
        overlay = np.empty_like(image)

        def work(part: slice) -> None:
            frame = cv2.LUT(image[part], self._frame_part)
            cv2.add(frame, cv2.applyColorMap(label[part], self._colour_part), dst=overlay[part])

        self._team.share_out(len(image), work)
        if self._hides_a_class or label.max() >= self._num_classes:
            cv2.copyTo(image, cv2.LUT(label, self._hidden), overlay)
        return overlay


def _scaled(levels: npt.NDArray[Any], factor: float) -> npt.NDArray[np.uint8]:
    rounded: npt.NDArray[np.uint8] = np.floor(levels * factor + 0.5).astype(np.uint8)
    return rounded
