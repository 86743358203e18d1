"""Augmentation as in section 3.1, random scale, crop, flip and varied colours, and what more there
is to choose: drawn here, carried out by `crop_host` or `crop_device`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from contextnet_ros.files import UserError
from contextnet_ros.labels import IGNORE_ID, Pixels
from contextnet_ros.network import NetworkSize
from contextnet_ros.training.crop_host import render
from contextnet_ros.training.crops import Crop

_SHARES = ("grayscale", "rare_crops", "class_mix")
_RANGES = ("brightness", "contrast", "saturation", "hue", "gamma", "noise", "blur", "cutout")


@dataclass(frozen=True)
class Augmentation:
    """Ranges to draw from; `scale` multiplies the size the network sees of a whole frame.

    `crop` is (height, width) in network pixels. Colours: factors from 1 - x to 1 + x, and the
    hue turned by up to x degrees of 180. What is not in the paper is off unless given.
    """

    crop: tuple[int, int] = (384, 512)
    scale: tuple[float, float] = (0.5, 2.0)
    flip: bool = True
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 8.0
    gamma: float = 0.0  # exponents from e^-x to e^x
    grayscale: float = 0.0  # share of crops without colour
    blur: float = 0.0  # Gaussian, up to x network pixels
    noise: float = 0.0  # Gaussian, up to x grey levels
    cutout: int = 0  # rectangles, each up to a third of a side, black and ignored in the label
    rare_crops: float = 0.0  # share of crops that hold a pixel of a class drawn from the frame's
    class_mix: float = 0.0  # share of crops over which classes of another one are laid, by the loop

    def check(self, multiple: int) -> None:
        """Raise UserError for what can't be drawn, and for crops that `multiple` doesn't divide."""
        if any(side < multiple or side % multiple for side in self.crop):
            raise UserError(f"crop is {self.crop}; give multiples of {multiple}")
        low, high = self.scale
        if not 0 < low <= high:
            raise UserError(f"scale is {low} to {high}; give two factors above 0 in order")
        for key in _RANGES:
            if not 0 <= getattr(self, key) < math.inf:
                raise UserError(f"augmentation {key} is {getattr(self, key)}; give 0 or more")
        for key in _SHARES:
            if not 0 <= getattr(self, key) <= 1:
                raise UserError(f"augmentation {key} is {getattr(self, key)}; give 0 to 1")

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
        crop = self.draw(label, network_size, rng)
        return render(crop, image[crop.window], label[crop.window])

    def draw(self, label: Pixels, network_size: NetworkSize, rng: np.random.Generator) -> Crop:
        """A crop of the frame whose label (H, W) this is."""
        height, width = label.shape
        low, high = self.scale
        # Uniform in the logarithm: halving is drawn as often as doubling.
        scale = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        factor = network_size.resolve(height, width)[1] / width * scale
        crop_height, crop_width = self.crop
        # Resizing only what the crop shows costs a fraction of resizing the frame.
        rows = min(height, max(1, round(crop_height / factor)))
        columns = min(width, max(1, round(crop_width / factor)))
        lowest, highest = (0, 0), (height - rows, width - columns)
        if self.rare_crops and rng.random() < self.rare_crops:
            lowest, highest = _around_a_class(label, rows, columns, rng)
        top = int(rng.integers(lowest[0], highest[0] + 1))
        left = int(rng.integers(lowest[1], highest[1] + 1))
        size = (
            min(crop_height, max(1, round(rows * factor))),
            min(crop_width, max(1, round(columns * factor))),
        )
        y = x = 0
        if size != self.crop:
            y = int(rng.integers(0, crop_height - size[0] + 1))
            x = int(rng.integers(0, crop_width - size[1] + 1))
        # In this order always: a seed has to give the same crops in every version.
        flip = self.flip and bool(rng.random() < 0.5)
        saturation = 1 + rng.uniform(-self.saturation, self.saturation)
        hue = rng.uniform(-self.hue, self.hue)
        contrast = 1 + rng.uniform(-self.contrast, self.contrast)
        brightness = 1 + rng.uniform(-self.brightness, self.brightness)
        return Crop(
            window=np.s_[top : top + rows, left : left + columns],
            shrinks=factor < 1,
            resized=size,
            shape=self.crop,
            place=(y, x),
            flip=flip,
            saturation=saturation,
            hue=hue,
            contrast=contrast,
            brightness=brightness,
            gamma=math.exp(rng.uniform(-self.gamma, self.gamma)) if self.gamma else 1.0,
            gray=bool(self.grayscale) and bool(rng.random() < self.grayscale),
            blur=rng.uniform(0, self.blur) if self.blur else 0.0,
            noise=rng.uniform(0, self.noise) if self.noise else 0.0,
            noise_seed=int(rng.integers(1 << 31)) if self.noise else 0,
            holes=tuple(self._hole(rng) for _ in range(self.cutout)),
        )

    def _hole(self, rng: np.random.Generator) -> tuple[slice, slice]:
        sides = []
        for side in self.crop:
            length = int(rng.integers(1, side // 3 + 1))
            start = int(rng.integers(0, side - length + 1))
            sides.append(slice(start, start + length))
        return sides[0], sides[1]


def _around_a_class(
    label: Pixels, rows: int, columns: int, rng: np.random.Generator
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Lowest and highest (top, left) of windows that hold one pixel: of a class drawn evenly from
    those in the label, whatever share of it they have."""
    height, width = label.shape
    counts = np.bincount(label.ravel(), minlength=256)
    counts[IGNORE_ID] = 0
    present = np.flatnonzero(counts)
    if not present.size:
        return (0, 0), (height - rows, width - columns)
    found = np.flatnonzero(label.ravel() == rng.choice(present))
    y, x = divmod(int(rng.choice(found)), width)
    lowest = max(0, y - rows + 1), max(0, x - columns + 1)
    return lowest, (min(height - rows, y), min(width - columns, x))
