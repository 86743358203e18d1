"""Where a frame is drawn: every stroke goes into the image and into the label at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import cv2
import numpy as np

from contextnet_ros.labels import IGNORE_ID
from contextnet_ros.training.scenes.kinds import Array, Colour, Points

_SUBPIXEL_BITS = 4
_FAR_OUT = 1.6e7


class Texture:
    """A picture (H, W, 3) BGR, or (H, W, 4) with alpha premultiplied, with smaller copies of it."""

    def __init__(self, picture: Array, label_from: float = 0.5) -> None:
        self.levels = [picture]
        self.label_from = label_from

    @cached_property
    def mean(self) -> Array:
        """The texture's average colour (3,)."""
        return np.array(cv2.mean(self.levels[0])[:3])

    def at_size(self, height: float, width: float) -> Array:
        """A copy with about as many pixels as it will cover, so that it does not shimmer."""
        level = 0
        while True:
            rows, columns = self.levels[level].shape[:2]
            if rows < 2.2 * height or columns < 2.2 * width or min(rows, columns) < 8:
                break
            if level + 1 == len(self.levels):
                smaller = (columns // 2, rows // 2)
                self.levels.append(
                    cv2.resize(self.levels[level], smaller, interpolation=cv2.INTER_AREA)
                )
            level += 1
        picture = self.levels[level]
        target = (
            int(np.clip(np.ceil(1.2 * width), 2, columns)),
            int(np.clip(np.ceil(1.2 * height), 2, rows)),
        )
        if target[0] * 1.4 < columns or target[1] * 1.4 < rows:
            picture = cv2.resize(picture, target, interpolation=cv2.INTER_AREA)
        return picture


def fixed_point(points: Points) -> Array:
    """Pixels (N, 2) as OpenCV wants them, int32 in sixteenths of a pixel."""
    scale, far = 2.0**_SUBPIXEL_BITS, _FAR_OUT
    corners = [
        (int(max(-far, min(far, u * scale))), int(max(-far, min(far, v * scale))))
        for u, v in points
    ]
    return np.array(corners, np.int32)


class Canvas:
    """An image (H, W, 3) BGR uint8 and its label (H, W) uint8 of Cityscapes train ids."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        self.image = np.zeros((height, width, 3), np.uint8)
        self.label = np.full((height, width), IGNORE_ID, np.uint8)

    def polygon(self, points: Points | None, colour: Colour, label: int) -> None:
        """Fill a polygon (N, 2) of pixels; smooth edges in the image, hard ones in the label."""
        if points is None or len(points) < 3:
            return
        corners = fixed_point(points)
        u, v, width, height = cv2.boundingRect(corners)
        last_u, last_v = self.width << _SUBPIXEL_BITS, self.height << _SUBPIXEL_BITS
        if u > last_u or v > last_v or u + width < -16 or v + height < -16:
            return
        bgr = (float(colour[0]), float(colour[1]), float(colour[2]))
        cv2.fillPoly(self.image, [corners], bgr, cv2.LINE_AA, _SUBPIXEL_BITS)
        cv2.fillPoly(self.label, [corners], label, cv2.LINE_8, _SUBPIXEL_BITS)

    def textured(
        self,
        texture: Texture,
        quad: Sequence[tuple[float, float]],
        label: int,
        gain: Array,
        offset: Array,
    ) -> None:
        """Paint a texture on a quad (4, 2): top left, top right, bottom right, bottom left.

        gain and offset (3,) are light and haze: colour = texture x gain + alpha x offset.
        """
        us, vs = [u for u, _ in quad], [v for _, v in quad]
        if max(max(us), max(vs), -min(us), -min(vs)) > 1e6:
            return
        left, top = max(math.floor(min(us)), 0), max(math.floor(min(vs)), 0)
        right = min(math.ceil(max(us)) + 1, self.width)
        bottom = min(math.ceil(max(vs)) + 1, self.height)
        if right <= left or bottom <= top:
            return
        high = max(math.dist(quad[1], quad[2]), math.dist(quad[3], quad[0]))
        wide = max(math.dist(quad[0], quad[1]), math.dist(quad[2], quad[3]))
        if texture.levels[0].shape[2] == 3 and min(high, max(us) - min(us)) < 3.0:
            self.polygon(quad, texture.mean * gain + offset, label)
            return
        picture = texture.at_size(high, wide)
        rows, columns = picture.shape[:2]
        picture = _lit(picture, gain, offset)
        source = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]], np.float32) - 0.5
        target = np.array([(u - left, v - top) for u, v in quad], np.float32)
        image = self.image[top:bottom, left:right]
        label_part = self.label[top:bottom, left:right]
        size = (right - left, bottom - top)
        move = cv2.getPerspectiveTransform(source, target)
        if picture.shape[2] == 3:
            mask = np.zeros(size[::-1], np.uint8)
            cv2.fillPoly(mask, [fixed_point(target.tolist())], 255, cv2.LINE_8, _SUBPIXEL_BITS)
            warped = cv2.warpPerspective(
                picture, move, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
            cv2.copyTo(warped, mask, image)
            label_part[mask > 0] = label
            return
        warped = cv2.warpPerspective(picture, move, size, flags=cv2.INTER_LINEAR)
        alpha = warped[:, :, 3]
        behind = cv2.multiply(image, cv2.merge([255 - alpha] * 3), scale=1 / 255)
        cv2.add(behind, warped[:, :, :3], dst=behind)
        image[:] = behind
        label_part[alpha >= 255 * texture.label_from] = label


def _lit(picture: Array, gain: Array, offset: Array) -> Array:
    if picture.shape[2] == 3:
        matrix = np.column_stack([np.diag(gain), offset])
    else:
        matrix = np.zeros((4, 5))
        matrix[[0, 1, 2], [0, 1, 2]] = gain
        matrix[:3, 3] = np.asarray(offset) / 255
        matrix[3, 3] = 1
    lit: Array = cv2.transform(picture, matrix)
    return lit
