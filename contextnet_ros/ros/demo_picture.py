"""The demo's picture: camera, overlay, label and truth of several frames, with the classes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from contextnet_ros.labels import ClassTable, Pixels

Colour = tuple[int, int, int]

# BGR.
_PAPER: Colour = (33, 26, 22)
_INK: Colour = (240, 236, 232)
_DIM: Colour = (170, 160, 150)

_CELL_WIDTH = 600
_GAP = 14
_MARGIN = 36
_TEXT_SCALE = 4


@dataclass(frozen=True)
class PictureRow:
    """One frame: images (H, W, 3) BGR uint8, labels (H, W) uint8; truth None if unknown."""

    caption: str
    image: Pixels
    overlay: Pixels
    label: Pixels
    truth: Pixels | None


def draw_picture(rows: list[PictureRow], table: ClassTable, title: str, footer: str) -> Pixels:
    """One BGR picture with a column each for camera, overlay, label and (where known) truth."""
    heads = ["camera", "overlay", "label"] + ["truth"] * any(row.truth is not None for row in rows)
    height, width = rows[0].image.shape[:2]
    cell = (_CELL_WIDTH, round(_CELL_WIDTH * height / width))
    full_width = 2 * _MARGIN + len(heads) * _CELL_WIDTH + (len(heads) - 1) * _GAP
    legend = _legend(table, full_width - 2 * _MARGIN)
    parts = [_band(full_width, 84, (_MARGIN, 54, title, 30, _INK))]
    columns = [_MARGIN + i * (_CELL_WIDTH + _GAP) for i in range(len(heads))]
    parts.append(
        _band(full_width, 34, *((x, 22, h, 19, _DIM) for x, h in zip(columns, heads, strict=True)))
    )
    for row in rows:
        strip = _band(full_width, cell[1] + 40, (_MARGIN, cell[1] + 25, row.caption, 16, _DIM))
        for x, picture in zip(columns, _cells(row, table, cell), strict=False):
            strip[: cell[1], x : x + _CELL_WIDTH] = picture
        parts.append(strip)
    strip = _band(full_width, legend.shape[0])
    strip[:, _MARGIN : full_width - _MARGIN] = legend
    parts += [strip, _band(full_width, 56, (_MARGIN, 28, footer, 17, _DIM))]
    return np.concatenate(parts)


def _cells(row: PictureRow, table: ClassTable, cell: tuple[int, int]) -> list[Pixels]:
    def shrunk(image: Pixels) -> Pixels:
        shrinks = image.shape[1] > cell[0]
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(image, cell, interpolation=method))

    # Labels are coloured before they are shrunk: that keeps thin poles visible, as blends.
    cells = [shrunk(row.image), shrunk(row.overlay), shrunk(table.colorize(row.label))]
    return cells if row.truth is None else [*cells, shrunk(table.colorize(row.truth))]


def _band(width: int, height: int, *texts: tuple[int, int, str, int, Colour]) -> Pixels:
    band = np.full((height, width, 3), _PAPER, np.uint8)
    for x, baseline, text, size, colour in texts:
        put_text(band, text, (x, baseline), size, colour)
    return band


def _legend(table: ClassTable, width: int) -> Pixels:
    """Swatches with class names, in as many lines as they take."""
    swatch, size, space = 26, 18, 34
    line, x = 0, 0
    places = []
    for index, name in enumerate((*table.names, "unlabelled")):
        needed = swatch + 10 + text_width(name, size)
        if x and x + needed > width:
            line, x = line + 1, 0
        places.append((index if index < table.num_classes else 255, name, x, line))
        x += needed + space
    legend = np.full(((line + 1) * 42 + 12, width, 3), _PAPER, np.uint8)
    palette = table.palette_bgr()
    for index, name, x, at_line in places:
        top = at_line * 42 + 10
        colour = tuple(int(c) for c in palette[index])
        cv2.rectangle(legend, (x, top), (x + swatch, top + swatch), colour, -1)
        cv2.rectangle(legend, (x, top), (x + swatch, top + swatch), _DIM, 1)
        put_text(legend, name, (x + swatch + 10, top + 20), size, _INK)
    return legend


def put_text(image: Pixels, text: str, at: tuple[int, int], size: int, colour: Colour) -> None:
    """Draw `text`, about `size` pixels high, with its baseline's left end at (x, y), in place.

    OpenCV's strokes look rough at this size, so they are drawn larger and shrunk.
    """
    x, y = at
    top = max(0, y - 2 * size)
    width = min(image.shape[1] - x, text_width(text, size) + size)
    height = min(image.shape[0], y + size) - top
    mask = np.zeros((height * _TEXT_SCALE, width * _TEXT_SCALE), np.uint8)
    scale, thickness = _font(size)
    origin = (0, (y - top) * _TEXT_SCALE)
    cv2.putText(mask, text, origin, _FONT, scale, 255, thickness, cv2.LINE_AA)
    alpha = cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA)[..., None] / 255.0
    area = image[top : top + height, x : x + width]
    area[:] = np.round(area * (1 - alpha) + np.array(colour) * alpha).astype(np.uint8)


_FONT = cv2.FONT_HERSHEY_SIMPLEX


def _font(size: int) -> tuple[float, int]:
    # A capital of this font is 21 units high at scale 1.
    return size * _TEXT_SCALE / 28.0, max(1, round(size * _TEXT_SCALE / 9))


def text_width(text: str, size: int) -> int:
    """Width in pixels that `put_text` takes."""
    scale, thickness = _font(size)
    (width, _), _ = cv2.getTextSize(text, _FONT, scale, thickness)
    return -(-int(width) // _TEXT_SCALE)
