"""Images and videos of a user: found, read and written."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from contextnet_ros.files import UserError, atomic_write, list_files, one_line

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".mjpeg")

# Videos that state no rate, as a bare MJPEG stream; what players assume of them.
_DEFAULT_FPS = 25.0
# Some containers' number of frames is their length times a rate that varies.
_WHOLE = 0.9


class UnreadableError(UserError):
    """An image or a video that OpenCV can't decode."""


@dataclass(frozen=True)
class Medium:
    """One input file, and the name of its outputs: a path below the output folder, no suffix."""

    path: Path
    name: Path

    @property
    def is_video(self) -> bool:
        return self.path.suffix.lower() in VIDEO_SUFFIXES


def find_media(inputs: Sequence[Path], output: Path) -> list[Medium]:
    """List the images and videos of files and folders; those of a folder keep its subfolders.

    What lies in the output folder is left out. Raises UserError for a path that doesn't exist, a
    file of another kind, a folder with nothing in it, and two inputs with the same output name.
    """
    media: dict[tuple[Path, bool], Medium] = {}
    for path in inputs:
        for medium in _media_of(path, output):
            other = media.setdefault((medium.name, medium.is_video), medium)
            if other.path.resolve() != medium.path.resolve():
                raise UserError(
                    f"{other.path} and {medium.path} would both be written as "
                    f"{output / medium.name}: give them output folders of their own"
                )
    return list(media.values())


def _media_of(path: Path, output: Path) -> Iterator[Medium]:
    suffixes = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)
    if path.is_file():
        if path.suffix.lower() not in suffixes:
            raise UserError(
                f"{path} is neither image nor video by its name: give one of {' '.join(suffixes)}"
            )
        yield Medium(path, Path(path.stem))
        return
    if not path.is_dir():
        raise UserError(f"{path} does not exist: give images, folders or videos")
    if path.resolve() == output.resolve():
        raise UserError(f"{path} is input and output folder: choose another folder for -o")
    results = output.resolve()
    files = [f for f in list_files(path, suffixes) if results not in f.resolve().parents]
    if not files:
        raise UserError(f"{path} has no images or videos in it: looked for {' '.join(suffixes)}")
    for file in files:
        yield Medium(file, file.relative_to(path).with_suffix(""))


def read_image(path: Path, flags: int = cv2.IMREAD_COLOR) -> npt.NDArray[Any]:
    """Read an image file as BGR, uint8 (H, W, 3), or as it is with IMREAD_UNCHANGED; raises
    UnreadableError."""
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise UnreadableError(f"{path} cannot be read: {error.strerror}") from error
    # From memory, since OpenCV prints a warning of its own for a file.
    try:
        image = cv2.imdecode(data, flags) if data.size else None
        cause = f"{data.size} bytes"
    except cv2.error as error:
        image, cause = None, one_line(error)
    if image is None:
        raise UnreadableError(
            f"{path} cannot be read as an image ({cause}): mend it or take it away"
        )
    return np.asarray(image)


def write_image(path: Path, image: npt.NDArray[np.uint8]) -> None:
    """Write an image in the format of its suffix, whole or not at all; raises UserError."""
    # Not imwrite, which takes a full disk for success where the last bytes are few.
    done, data = cv2.imencode(path.suffix, image)
    if not done:
        height, width = image.shape[:2]
        raise UserError(f"cannot write {path}: a {path.suffix} has no room for {width} x {height}")
    with atomic_write(path) as temporary:
        temporary.write_bytes(data.tobytes())


class Video:
    """The frames of a video file, BGR uint8 (H, W, 3); raises UnreadableError if there are none,
    and warns if there are far fewer than the file tells of."""

    def __init__(self, path: Path) -> None:
        self.path = path
        capture = cv2.VideoCapture(str(path))
        try:
            if not capture.isOpened():
                raise UnreadableError(f"{path} cannot be read as a video: convert it to H.264 MP4")
            fps = float(capture.get(cv2.CAP_PROP_FPS))
            # Containers without an index give zero or a guess here.
            self.expected_frames = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        finally:
            capture.release()
        self.fps = fps if 0 < fps < 1000 else _DEFAULT_FPS

    def __iter__(self) -> Iterator[npt.NDArray[np.uint8]]:
        capture = cv2.VideoCapture(str(self.path))
        number = 0
        try:
            while True:
                more, frame = capture.read()
                if not more:
                    break
                number += 1
                yield np.asarray(frame, np.uint8)
        finally:
            capture.release()
        if number == 0:
            raise UnreadableError(f"{self.path} has no frame that can be read")
        if number < _WHOLE * self.expected_frames:
            tqdm.write(
                f"warning: {self.path} has {number} frames that can be read, and tells of "
                f"{self.expected_frames}: it may be cut off",
                file=sys.stderr,
            )


class VideoFile:
    """An MP4 file that is being written; opened by its first frame, which sets the size."""

    def __init__(self, path: Path, fps: float) -> None:
        self._path, self._fps = path, fps
        self._writer: cv2.VideoWriter | None = None
        self.frames = 0

    def write(self, frame: npt.NDArray[np.uint8]) -> None:
        """Append a frame, BGR uint8 (H, W, 3); raises UserError where OpenCV has no encoder."""
        if self._writer is None:
            size = frame.shape[1], frame.shape[0]
            fourcc = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self._path), fourcc, self._fps, size)
            if not self._writer.isOpened():
                raise UserError(
                    f"OpenCV {cv2.__version__} can't write MP4 video: install one with FFmpeg, or "
                    "give the frames as images"
                )
        self._writer.write(frame)
        self.frames += 1

    def close(self) -> None:
        if self._writer is not None:
            self._writer.release()


@contextmanager
def writing_video(path: Path, fps: float) -> Iterator[VideoFile]:
    """Yield a VideoFile that takes the place of `path` (.mp4) on success only; raises UserError
    where what was written can't be read again."""
    with atomic_write(path) as temporary:
        video = VideoFile(temporary, fps)
        try:
            yield video
        finally:
            video.close()
        # OpenCV tells nobody of a full disk.
        if video.frames and not _holds(temporary, video.frames):
            raise UserError(f"cannot write {path}: it is not whole, is the disk full?")


def _holds(path: Path, frames: int) -> bool:
    """Whether a video has as many frames by its own index, which stands at its end."""
    capture = cv2.VideoCapture(str(path))
    try:
        return capture.isOpened() and round(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == frames
    finally:
        capture.release()
