"""Crops: what was drawn for one sample, whoever carries it out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Crop:
    """One drawn crop; rendering it draws nothing more.

    `window` of the frame, resized to `resized` (by areas where it shrinks), lies at `place` in a
    crop of `shape`, all (height, width) or (y, x); then the flip, the colours, noise and holes.
    """

    window: tuple[slice, slice]
    shrinks: bool
    resized: tuple[int, int]
    shape: tuple[int, int]
    place: tuple[int, int] = (0, 0)
    flip: bool = False
    saturation: float = 1.0  # factor
    hue: float = 0.0  # turned by this, of 180
    contrast: float = 1.0  # factor about the middle grey
    brightness: float = 1.0  # factor
    gamma: float = 1.0  # exponent
    gray: bool = False
    blur: float = 0.0  # sigma in network pixels
    noise: float = 0.0  # sigma in grey levels
    noise_seed: int = 0
    holes: tuple[tuple[slice, slice], ...] = ()

    @property
    def shown(self) -> tuple[slice, slice]:
        """Where in the crop the frame is; around it is nothing."""
        (y, x), (height, width) = self.place, self.resized
        return slice(y, y + height), slice(x, x + width)
