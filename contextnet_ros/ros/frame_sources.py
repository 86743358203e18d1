"""Where frames come from: generated scenes, folders, videos, CamVid, Cityscapes trees and bags.

Every source yields `Frame(name, image, label or None)` in a fixed order, so that a bag, a benchmark
and a demo can be made of any of them in the same way.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from contextnet_ros.files import UserError, list_files
from contextnet_ros.labels import (
    CAMVID,
    CITYSCAPES,
    CITYSCAPES_TRAIN_ID_OF_LABEL_ID,
    ClassTable,
    Pixels,
)
from contextnet_ros.ros.bag_io import BagReader, is_bag
from contextnet_ros.tools.media import IMAGE_SUFFIXES, Video, read_image
from contextnet_ros.training.folders import CamVid
from contextnet_ros.training.scenes import MIN_SIDE, render_sequence

# Each seed gives one drive of this many frames: the picture moves, and a bag of a few dozen frames
# still shows several streets.
SEQUENCE_FRAMES = 8
GENERATED_SIZE = (1024, 2048)
GENERATED_FRAMES = 40


@dataclass(frozen=True)
class Frame:
    """One frame: image (H, W, 3) BGR uint8; label (H, W) uint8 of the source's ids, or None."""

    name: str
    image: Pixels
    label: Pixels | None


@dataclass(frozen=True)
class FrameSource:
    """Frames in a fixed order; `table` names the ids of their labels, None where there are none.

    `count` is None for a video, whose length is known only once it is read.
    """

    description: str
    table: ClassTable | None
    count: int | None
    read: Callable[[], Iterator[Frame]]

    def __iter__(self) -> Iterator[Frame]:
        return self.read()


def open_source(
    source: str,
    *,
    split: str = "val",
    size: tuple[int, int] | None = None,
    frames: int | None = None,
    seed: int = 0,
    fps: float = 10.0,
    topic: str | None = None,
) -> FrameSource:
    """Open what a user named: `generated`, a folder, a video, `camvid:ROOT/SPLIT`, a tree or a bag.

    `size` (height, width) resizes what is read, labels to the nearest pixel; `frames` takes only
    the first ones. Raises UserError when there is nothing to read.
    """
    opened = _open(source, split, size, frames, seed, fps, topic)
    return FrameSource(
        opened.description,
        opened.table,
        opened.count if frames is None or opened.count is None else min(frames, opened.count),
        lambda: (_resized(frame, size) for frame in islice(opened.read(), frames)),
    )


def generated_source(
    *, frames: int, height: int, width: int, seed: int, fps: float = 10.0
) -> FrameSource:
    """Generated drives of `SEQUENCE_FRAMES` frames each from the seeds `seed`, `seed` + 1, ...

    Raises UserError for a size or a seed that can't be drawn.
    """
    if seed < 0 or min(height, width) < MIN_SIDE:
        raise UserError(
            f"scenes of {height} x {width} from seed {seed} can't be drawn: give at least "
            f"{MIN_SIDE} pixels a side and a seed from 0 on"
        )

    def read() -> Iterator[Frame]:
        for start in range(0, frames, SEQUENCE_FRAMES):
            length = min(SEQUENCE_FRAMES, frames - start)
            drive = seed + start // SEQUENCE_FRAMES
            for scene in render_sequence(drive, length, height, width, fps=fps):
                yield Frame(scene.name, scene.image_bgr, scene.label)

    last = seed + (frames - 1) // SEQUENCE_FRAMES
    return FrameSource(f"generated scenes, seeds {seed} to {last}", CITYSCAPES, frames, read)


def _open(
    source: str,
    split: str,
    size: tuple[int, int] | None,
    frames: int | None,
    seed: int,
    fps: float,
    topic: str | None,
) -> FrameSource:
    if source == "generated":
        height, width = size or GENERATED_SIZE
        count = GENERATED_FRAMES if frames is None else frames
        return generated_source(frames=count, height=height, width=width, seed=seed, fps=fps)
    camvid_asked = source.startswith("camvid:")
    path = Path(source.removeprefix("camvid:")).expanduser()
    if not path.exists():
        raise UserError(
            f"{source}: no such file or folder; give a folder of images, a video, a CamVid or "
            "Cityscapes folder, a rosbag2, or the word generated"
        )
    if is_bag(path):
        return _bag(path, topic)
    if path.is_file():
        return _image_files(path) if path.suffix.lower() in IMAGE_SUFFIXES else _video(path)
    if _has_annotations(path):
        return _camvid(path)
    if _has_annotations(path / split):
        return _camvid(path / split)
    if camvid_asked:
        raise UserError(f"{path}: no labels in {path}annot; CamVid has them as val and valannot")
    if (path / "leftImg8bit").is_dir():
        return _cityscapes(path, split)
    return _image_files(path)


def _resized(frame: Frame, size: tuple[int, int] | None) -> Frame:
    if size is None or frame.image.shape[:2] == size:
        return frame
    height, width = size
    shrinks = height < frame.image.shape[0]
    image = cv2.resize(
        frame.image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    label = frame.label
    if label is not None:
        # The other INTER_NEAREST takes the pixel up to half a pixel beside the image's.
        label = cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return Frame(frame.name, image, label)


def _natural_key(path: Path) -> list[tuple[int, str]]:
    # frame_10 comes after frame_9, as whoever numbered them meant.
    return [(int(part), "") if part.isdigit() else (-1, part) for part in _DIGITS.split(str(path))]


_DIGITS = re.compile(r"(\d+)")


def _image_files(path: Path) -> FrameSource:
    """An image, or all below a folder, named by their paths in it."""
    folder = path.parent if path.is_file() else path
    files = [path] if path.is_file() else list_files(path, IMAGE_SUFFIXES)
    if not files:
        raise UserError(f"{path}: no images in it; looked for {' '.join(IMAGE_SUFFIXES)}")
    places = [file.relative_to(folder) for file in sorted(files, key=_natural_key)]
    stems = Counter(place.with_suffix("") for place in places)

    def read() -> Iterator[Frame]:
        for place in places:
            stem = place.with_suffix("")
            name = stem if stems[stem] == 1 else place
            yield Frame(name.as_posix(), read_image(folder / place), None)

    return FrameSource(f"images of {path}", None, len(files), read)


def _video(path: Path) -> FrameSource:
    video = Video(path)

    def read() -> Iterator[Frame]:
        for index, image in enumerate(video):
            yield Frame(f"{path.stem}_{index:06d}", image, None)

    return FrameSource(f"video {path}", None, None, read)


def _has_annotations(folder: Path) -> bool:
    return folder.is_dir() and (folder.parent / f"{folder.name}annot").is_dir()


def _camvid(folder: Path) -> FrameSource:
    pairs = CamVid(folder.parent, folder.name)

    def read() -> Iterator[Frame]:
        for index, (image, label) in enumerate(pairs):
            yield Frame(pairs.name(index), image, label)

    return FrameSource(f"CamVid folder {folder}", CAMVID, len(pairs), read)


def _cityscapes(root: Path, split: str) -> FrameSource:
    folder = root / "leftImg8bit" / split
    files = sorted(folder.glob("*/*_leftImg8bit.png"), key=_natural_key)
    if not files:
        raise UserError(f"{folder}: no */*_leftImg8bit.png in it; name another --split")
    has_labels = (root / "gtFine" / split).is_dir()

    def read() -> Iterator[Frame]:
        for file in files:
            name = file.name.removesuffix("_leftImg8bit.png")
            label = None
            if has_labels:
                label = _cityscapes_label(root / "gtFine" / split / file.parent.name, name, file)
            yield _labelled(Frame(name, read_image(file), label), file)

    return FrameSource(
        f"Cityscapes {split} of {root}", CITYSCAPES if has_labels else None, len(files), read
    )


def _cityscapes_label(folder: Path, name: str, image: Path) -> Pixels:
    train_ids = folder / f"{name}_gtFine_labelTrainIds.png"
    if train_ids.exists():
        return _label(train_ids, image)
    label_ids = _label(folder / f"{name}_gtFine_labelIds.png", image)
    return np.asarray(CITYSCAPES_TRAIN_ID_OF_LABEL_ID[label_ids])


def _label(path: Path, image: Path) -> Pixels:
    if not path.exists():
        raise UserError(f"{path}: missing label of {image.name}; add it or take the image out")
    label = read_image(path, cv2.IMREAD_UNCHANGED)
    if label.ndim != 2 or label.dtype != np.uint8:
        raise UserError(f"{path}: {label.dtype} {label.shape}, but a label has one byte a pixel")
    return label


def _labelled(frame: Frame, path: Path) -> Frame:
    if frame.label is not None and frame.label.shape != frame.image.shape[:2]:
        raise UserError(
            f"{path}: image {frame.image.shape[:2]} and label {frame.label.shape} differ in size"
        )
    return frame


def _bag(path: Path, topic: str | None) -> FrameSource:
    with BagReader(path) as bag:
        camera = bag.camera_topic(topic)
        count = bag.count(camera)
        names = bag.frame_names()

    def read() -> Iterator[Frame]:
        with BagReader(path) as bag:
            for index, (stamp_ns, image) in enumerate(bag.images(camera)):
                yield Frame(names.get(stamp_ns, f"frame_{index:06d}"), image, None)

    return FrameSource(f"{camera} of the bag {path}", None, count, read)
