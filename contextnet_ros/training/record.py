"""What a run writes about itself: a line of JSON for each validation, and TensorBoard's files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from contextnet_ros.files import UserError, atomic_write
from contextnet_ros.labels import Pixels

LOG_NAME = "log.jsonl"
BOARD_NAME = "tensorboard"
_BOARD_PICTURE_WIDTH = 1440


class Log:
    """`log.jsonl`: an entry for each validation, in order, none twice."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOG_NAME

    def validated(self, entry: dict[str, Any]) -> None:
        """Append an entry with its `step`; raises UserError where the disk refuses."""
        earlier = self.path.read_text().splitlines() if self.path.is_file() else []
        # A resumed run repeats steps since its checkpoint: their lines are replaced.
        kept = [line for line in earlier if json.loads(line)["step"] < entry["step"]]
        with atomic_write(self.path) as temporary:
            temporary.write_text("\n".join([*kept, json.dumps(entry)]) + "\n")


class Board:
    """TensorBoard's files: losses and learning rate of every step; scores and pictures.

    `step` is where the run stands: what an earlier process wrote of later steps is hidden from
    the reader, since this one repeats them. Raises UserError where the package is missing.
    """

    def __init__(self, folder: Path, step: int) -> None:
        try:
            # Imported here: an optional dependency, and slow to import.
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError(
                f"--tensorboard needs the package tensorboard ({error}): pip install tensorboard"
            ) from error
        self._writer = SummaryWriter(str(folder / BOARD_NAME), purge_step=step + 1)

    def step(self, step: int, values: dict[str, float]) -> None:
        """Losses and learning rate of one step, by name."""
        for name, value in values.items():
            self._scalar(name, value, step)

    def validated(self, entry: dict[str, Any]) -> None:
        """The scores of a log's entry: mIoU and the IoU of each class that occurs."""
        self._scalar("loader_wait_share", entry["loader_wait_share"], entry["step"])
        for scores in entry["scores"]:
            data = scores["data"]
            self._scalar(f"miou_percent/{data}", scores["miou_percent"], entry["step"])
            for name, iou in scores["iou_percent"].items():
                self._scalar(f"iou_percent/{data}/{name}", iou, entry["step"])
        self._writer.flush()

    def picture(self, step: int, name: str, picture: Pixels) -> None:
        """A BGR picture, made smaller where it is wider than a screen."""
        height, width = picture.shape[:2]
        if width > _BOARD_PICTURE_WIDTH:
            size = (_BOARD_PICTURE_WIDTH, max(1, round(height * _BOARD_PICTURE_WIDTH / width)))
            picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
        rgb = np.ascontiguousarray(picture[..., ::-1])
        self._writer.add_image(name, rgb, step, dataformats="HWC")

    def close(self) -> None:
        """Write what is not yet written."""
        self._writer.close()

    def _scalar(self, name: str, value: float | None, step: int) -> None:
        if value is not None:
            self._writer.add_scalar(name, value, step)
