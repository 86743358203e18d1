"""What a run writes about itself: a line of JSON for each validation, and TensorBoard's files."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from contextnet_ros.files import UserError, atomic_write
from contextnet_ros.inference import Segmenter
from contextnet_ros.labels import Pixels
from contextnet_ros.training.datasets import LabelledFrames
from contextnet_ros.training.score_pictures import compared

LOG_NAME = "log.jsonl"
BOARD_NAME = "tensorboard"
_PICTURES = 3
_PICTURE_WIDTH = 1440


class Record:
    """`log.jsonl` and a line on the terminal for each validation; the board's files if asked for.

    `step` is where the run stands. Raises UserError where TensorBoard's package is missing.
    """

    def __init__(self, folder: Path, step: int, board: bool = False) -> None:
        self.path = folder / LOG_NAME
        self._board = Board(folder / BOARD_NAME, step) if board else None

    def step(self, step: int, losses: dict[str, float], learning_rate: float) -> None:
        """What one step was."""
        if self._board is not None:
            self._board.step(step, losses, learning_rate)

    def validated(self, entry: dict[str, Any]) -> None:
        """Append an entry, which holds its `step`; raises UserError where the disk refuses."""
        summary = ", ".join(
            # A set without a scored pixel has no mIoU.
            f"{s['data']}: "
            + ("none" if s["miou_percent"] is None else f"{s['miou_percent']:.2f} %")
            for s in entry["scores"]
        )
        tqdm.write(
            f"step {entry['step']}: loss {entry['loss']}, mIoU {summary or 'not validated'}, "
            f"loader wait {entry['loader_wait_share']:.1%}",
            file=sys.stderr,
        )
        earlier = self.path.read_text().splitlines() if self.path.is_file() else []
        # A resumed run repeats steps since its checkpoint: their lines are replaced.
        kept = [line for line in earlier if json.loads(line)["step"] < entry["step"]]
        with atomic_write(self.path) as temporary:
            temporary.write_text("\n".join([*kept, json.dumps(entry)]) + "\n")
        if self._board is not None:
            self._board.validated(entry)

    def show(self, step: int, segmenter: Segmenter, sources: Sequence[LabelledFrames]) -> None:
        """A few frames of each data set for the board: frame, truth, prediction."""
        if self._board is None:
            return
        for source in sources:
            for index in range(min(_PICTURES, len(source))):
                image, truth = source[index]
                picture = compared(image, truth, segmenter(image).label, source.table)
                self._board.picture(step, f"{source.description}/{source.name(index)}", picture)

    def close(self) -> None:
        """Write what is not yet written."""
        if self._board is not None:
            self._board.close()


class Board:
    """TensorBoard's files: losses and learning rate of every step; scores and pictures.

    What an earlier process wrote of steps after `step` is hidden from the reader, since this one
    repeats them. Raises UserError where the package is missing or the disk refuses.
    """

    def __init__(self, folder: Path, step: int) -> None:
        try:
            # Imported here: an optional dependency, and slow to import.
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError(
                f"--tensorboard needs the package tensorboard ({error}): pip install tensorboard"
            ) from error
        self._folder = folder
        with self._told():
            self._writer = SummaryWriter(str(folder), purge_step=step + 1)

    def step(self, step: int, losses: dict[str, float], learning_rate: float) -> None:
        """Losses by name, and the learning rate."""
        for name, value in losses.items():
            self._scalar(f"loss/{name}", value, step)
        self._scalar("learning_rate", learning_rate, step)

    def validated(self, entry: dict[str, Any]) -> None:
        """The scores of a log's entry: mIoU and the IoU of each class that occurs."""
        self._scalar("loader_wait_share", entry["loader_wait_share"], entry["step"])
        for scores in entry["scores"]:
            data = scores["data"]
            self._scalar(f"miou_percent/{data}", scores["miou_percent"], entry["step"])
            for name, iou in scores["iou_percent"].items():
                self._scalar(f"iou_percent/{data}/{name}", iou, entry["step"])
        with self._told():
            self._writer.flush()

    def picture(self, step: int, name: str, picture: Pixels) -> None:
        """A BGR picture, made smaller where it is wider than a screen."""
        height, width = picture.shape[:2]
        if width > _PICTURE_WIDTH:
            size = (_PICTURE_WIDTH, max(1, round(height * _PICTURE_WIDTH / width)))
            picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
        rgb = np.ascontiguousarray(picture[..., ::-1])
        with self._told():
            self._writer.add_image(name, rgb, step, dataformats="HWC")

    def close(self) -> None:
        """Write what is not yet written."""
        with self._told():
            self._writer.close()

    def _scalar(self, name: str, value: float | None, step: int) -> None:
        if value is not None:
            with self._told():
                self._writer.add_scalar(name, value, step)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"cannot write {self._folder}: {error.strerror or error}; make room, or go on "
                "without --tensorboard"
            ) from error
