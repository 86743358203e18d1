"""The network with the settings that may change while it runs."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace

import cv2
import numpy as np

from contextnet_ros.inference import SegmentedFrame, Segmenter
from contextnet_ros.inference.overlay import OverlayBlender
from contextnet_ros.labels import Pixels
from contextnet_ros.ros.settings import Settings


class LiveSegmenter:
    """Segments with the settings given for each frame, whatever the last one's were."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter
        self._settings: Settings | None = None
        self._least = 0
        self._blender: OverlayBlender | None = None

    def __call__(
        self, image: Pixels, wanted: Collection[str], settings: Settings
    ) -> SegmentedFrame:
        """Segment a BGR frame (H, W, 3); `wanted` of "overlay" and "confidence", beside the label.

        A pixel whose confidence is below 255 * min_confidence has the label 255, and shows the
        camera's image in the overlay, as those of classes that aren't shown.
        """
        if settings != self._settings:
            self._follow(settings)
        asked = ["label"]
        if "confidence" in wanted or self._least > 0:
            asked.append("confidence")
        if "overlay" in wanted and self._blender is None:
            asked.append("overlay")
        frame = self.segmenter(image, tuple(asked))
        label, overlay = frame.label, frame.overlay
        if self._least > 0:
            assert frame.confidence is not None
            label = _unlabelled_below(self._least, frame.confidence, label)
        if "overlay" in wanted and self._blender is not None:
            overlay = self._blender(image, label)
        confidence = frame.confidence if "confidence" in wanted else None
        return replace(frame, label=label, overlay=overlay, confidence=confidence)

    def _follow(self, settings: Settings) -> None:
        if settings.overlay_opacity != self.segmenter.overlay_opacity:
            self.segmenter.overlay_opacity = settings.overlay_opacity
        self._least = math.ceil(255 * settings.min_confidence)
        # The Segmenter's own overlay, which a GPU may draw, knows all classes and every pixel.
        self._blender = None
        if self._least > 0 or not settings.shows_all_classes:
            shown = None if settings.shows_all_classes else settings.overlay_classes
            table = self.segmenter.header.table
            self._blender = OverlayBlender(table, settings.overlay_opacity, shown=shown)
        self._settings = settings


def _unlabelled_below(least: int, confidence: Pixels, label: Pixels) -> Pixels:
    # The comparison gives 255 where it holds, and whatever is or-ed with 255 is 255.
    doubtful = cv2.compare(confidence, least, cv2.CMP_LT)
    return np.asarray(cv2.bitwise_or(label, doubtful), np.uint8)
