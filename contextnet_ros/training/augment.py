"""Augmentation as in section 3.1: random scale, crop, flip, and varied colours."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from contextnet_ros.labels import IGNORE_ID, Pixels
from contextnet_ros.network import NetworkSize


@dataclass(frozen=True)
class Augmentation:
    """Ranges to draw from; `scale` multiplies the size the network sees of a whole frame.

    `crop` is (height, width) in network pixels. Colours: factors from 1 - x to 1 + x, and the
    hue turned by up to x degrees of 180.
    """

    crop: tuple[int, int] = (384, 512)
    scale: tuple[float, float] = (0.5, 2.0)
    flip: bool = True
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 8.0

    def apply(
        self,
        image: Pixels,
        label: Pixels,
        network_size: NetworkSize,
        rng: np.random.Generator,
    ) -> tuple[Pixels, Pixels]:
        """BGR (H, W, 3) and label (H, W), both uint8 -> the same at the size of the crop.

        What the crop sees beyond the frame is black there and ignored in the label.
        """
        image, label = self._geometry(image, label, network_size, rng)
        if self.flip and rng.random() < 0.5:
            image, label = image[:, ::-1], label[:, ::-1]
        return self._colours(np.ascontiguousarray(image), rng), np.ascontiguousarray(label)

    def _geometry(
        self,
        image: Pixels,
        label: Pixels,
        network_size: NetworkSize,
        rng: np.random.Generator,
    ) -> tuple[Pixels, Pixels]:
        height, width = label.shape
        low, high = self.scale
        # Uniform in the logarithm: halving is drawn as often as doubling.
        scale = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        factor = network_size.resolve(height, width)[1] / width * scale
        crop_height, crop_width = self.crop
        # Resizing only what the crop shows costs a fraction of resizing the frame.
        rows = min(height, max(1, round(crop_height / factor)))
        columns = min(width, max(1, round(crop_width / factor)))
        top = int(rng.integers(0, height - rows + 1))
        left = int(rng.integers(0, width - columns + 1))
        size = (
            min(crop_width, max(1, round(columns * factor))),
            min(crop_height, max(1, round(rows * factor))),
        )
        shrinking = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        window = np.s_[top : top + rows, left : left + columns]
        small_image = cv2.resize(image[window], size, interpolation=shrinking)
        small_label = cv2.resize(label[window], size, interpolation=cv2.INTER_NEAREST_EXACT)
        if small_label.shape == self.crop:
            return small_image, small_label
        full_image = np.zeros((*self.crop, 3), np.uint8)
        full_label = np.full(self.crop, IGNORE_ID, np.uint8)
        y = int(rng.integers(0, crop_height - size[1] + 1))
        x = int(rng.integers(0, crop_width - size[0] + 1))
        full_image[y : y + size[1], x : x + size[0]] = small_image
        full_label[y : y + size[1], x : x + size[0]] = small_label
        return full_image, full_label

    def _colours(self, image: Pixels, rng: np.random.Generator) -> Pixels:
        saturation = 1 + rng.uniform(-self.saturation, self.saturation)
        hue = rng.uniform(-self.hue, self.hue)
        contrast = 1 + rng.uniform(-self.contrast, self.contrast)
        brightness = 1 + rng.uniform(-self.brightness, self.brightness)
        values = np.arange(256, dtype=np.float32)
        if self.saturation or self.hue:
            hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
            tables = np.stack(
                [(values + hue) % 180, np.clip(values * saturation, 0, 255), values], -1
            )
            hsv = cv2.LUT(hsv, np.ascontiguousarray(tables.round().astype(np.uint8)[None]))
            image = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
        curve = ((values - 127.5) * contrast + 127.5) * brightness
        return np.asarray(cv2.LUT(image, np.clip(curve.round(), 0, 255).astype(np.uint8)))
