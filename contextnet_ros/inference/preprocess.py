"""A host frame made into the network's input."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import torch

from contextnet_ros.inference.team import ALONE, Team
from contextnet_ros.network import VARIANTS, NetworkSize, WeightHeader
from contextnet_ros.network.contextnet import padded_size


def check_frame(image: npt.NDArray[np.uint8]) -> None:
    """Raise ValueError, saying what was seen, unless `image` is uint8 (H, W, 3) with pixels in
    it."""
    if not isinstance(image, np.ndarray):
        raise ValueError(f"a frame is a NumPy array, not {type(image).__name__}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(
            f"a frame is BGR uint8 (height, width, 3), at least 1 x 1, not {image.dtype} "
            f"{image.shape}"
        )


def resize_frame(image: npt.NDArray[np.uint8], size: NetworkSize) -> npt.NDArray[np.uint8]:
    """Resize a frame (H, W, 3) to what the network sees of it; the frame itself where that has
    its size."""
    height, width = size.resolve(*image.shape[:2])
    if (height, width) == image.shape[:2]:
        return image
    # OpenCV's area interpolation repeats pixels when it enlarges.
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    area = size.interpolation == "area" and shrinks
    resized = cv2.resize(
        image, (width, height), interpolation=cv2.INTER_AREA if area else cv2.INTER_LINEAR
    )
    return np.asarray(resized, np.uint8)


def normalization_table(header: WeightHeader) -> npt.NDArray[np.float32]:
    """Return what each byte of each channel becomes, float32 (1, 256, 3), channels in the
    header's order."""
    levels = np.arange(256)[:, None] / 255
    return ((levels - header.mean) / header.std).astype(np.float32)[None]


class Resizer:
    """Resize frames of one size to what the network sees; it pads that to `multiple`."""

    def __init__(self, height: int, width: int, size: NetworkSize, multiple: int) -> None:
        self.network_height, self.network_width = size.resolve(height, width)
        self.padded_height, self.padded_width = padded_size(
            self.network_height, self.network_width, multiple
        )
        self._size = size

    def __call__(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return BGR bytes (network height, network width, 3), contiguous; the frame's own where
        it has that size."""
        # OpenCV reads no negative strides, as a flipped view has.
        return resize_frame(np.ascontiguousarray(image), self._size)


class Normalizer:
    """Order the channels of, normalize and pad frames of one network size, into one buffer.

    The buffer is written again by the next frame.
    """

    def __init__(self, height: int, width: int, header: WeightHeader) -> None:
        self._swap = header.channel_order == "RGB"
        self._table = normalization_table(header)
        # The padding is zero after normalization, as the network's own; it is never written again.
        multiple = VARIANTS[header.variant].size_multiple
        buffer = np.zeros((*padded_size(height, width, multiple), 3), np.float32)
        self._inside = buffer[:height, :width]
        self._tensor = torch.from_numpy(buffer).permute(2, 0, 1)[None]

    def __call__(self, frame: npt.NDArray[np.uint8]) -> torch.Tensor:
        """Return float32 (1, 3, padded height, padded width), channels last, for BGR bytes."""
        if self._swap:
            frame = np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        cv2.LUT(frame, self._table, dst=self._inside)
        return self._tensor


class Bordered:
    """Put the bytes of frames of one network size into a float32 image that is padded already.

    Outside the frame, and in one row and one column ahead of it for the first convolutions, stands
    the mean, which is zero once it is subtracted. The next frame is written over the last.
    """

    def __init__(self, height: int, width: int, header: WeightHeader, team: Team = ALONE) -> None:
        self._team = team
        padded = padded_size(height, width, VARIANTS[header.variant].size_multiple)
        mean = 255 * np.asarray(header.mean)
        self._image = np.empty((padded[0] + 1, padded[1] + 1, 3), np.float32)
        self._image[:] = mean[::-1] if header.channel_order == "RGB" else mean
        self._inside = self._image[1 : height + 1, 1 : width + 1]

    def __call__(self, frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return float32 (padded height + 1, padded width + 1, 3), BGR, 0 to 255."""

        def work(part: slice) -> None:
            np.copyto(self._inside[part], frame[part])

        self._team.share_out(len(frame), work, pixels=frame.shape[0] * frame.shape[1])
        return self._image


class Preprocessor:
    """Resize frames of one size and normalize them, into one buffer."""

    def __init__(self, height: int, width: int, size: NetworkSize, header: WeightHeader) -> None:
        self._resize = Resizer(height, width, size, VARIANTS[header.variant].size_multiple)
        self._normalize = Normalizer(
            self._resize.network_height, self._resize.network_width, header
        )

    def __call__(self, image: npt.NDArray[np.uint8]) -> torch.Tensor:
        """Return float32 (1, 3, padded height, padded width), channels last, for a BGR frame."""
        return self._normalize(self._resize(image))
