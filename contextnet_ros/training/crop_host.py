"""Crops on the CPU, one by one, by OpenCV: what a loader's processes do."""

from __future__ import annotations

import cv2
import numpy as np

from contextnet_ros.labels import IGNORE_ID, Pixels
from contextnet_ros.training.crops import Crop


def render(crop: Crop, image: Pixels, label: Pixels) -> tuple[Pixels, Pixels]:
    """The crop's window of a BGR image (h, w, 3) and of its label (h, w) -> the crop, uint8."""
    size = crop.resized[::-1]
    shrinking = cv2.INTER_AREA if crop.shrinks else cv2.INTER_LINEAR
    image = np.asarray(cv2.resize(image, size, interpolation=shrinking))
    label = np.asarray(cv2.resize(label, size, interpolation=cv2.INTER_NEAREST_EXACT))
    if crop.blur:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), crop.blur))
    if crop.resized != crop.shape:
        small_image, small_label = image, label
        image = np.zeros((*crop.shape, 3), np.uint8)
        label = np.full(crop.shape, IGNORE_ID, np.uint8)
        image[crop.shown], label[crop.shown] = small_image, small_label
    if crop.flip:
        image, label = image[:, ::-1], label[:, ::-1]
    image, label = _colours(crop, np.ascontiguousarray(image)), np.ascontiguousarray(label)
    if crop.noise:
        rng = np.random.default_rng(crop.noise_seed)
        noise = crop.noise * rng.standard_normal(image.shape, np.float32)
        image = np.clip((image + noise).round(), 0, 255).astype(np.uint8)
    for hole in crop.holes:
        image[hole], label[hole] = 0, IGNORE_ID
    return image, label


def _colours(crop: Crop, image: Pixels) -> Pixels:
    values = np.arange(256, dtype=np.float32)
    if crop.saturation != 1 or crop.hue != 0:
        hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
        tables = np.stack(
            [(values + crop.hue) % 180, np.clip(values * crop.saturation, 0, 255), values], -1
        )
        hsv = cv2.LUT(hsv, np.ascontiguousarray(tables.round().astype(np.uint8)[None]))
        image = np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR))
    if crop.gray:
        gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        image = np.asarray(cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR))
    curve = ((values - 127.5) * crop.contrast + 127.5) * crop.brightness
    if crop.gamma != 1:
        curve = 255 * (np.clip(curve, 0, 255) / 255) ** crop.gamma
    return np.asarray(cv2.LUT(image, np.clip(curve.round(), 0, 255).astype(np.uint8)))
