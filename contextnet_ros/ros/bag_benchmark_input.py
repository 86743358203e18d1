"""The bag under test: its camera topic, what its frames are, its size and hash."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from contextnet_ros.files import UserError
from contextnet_ros.ros.bag_io import BagReader
from contextnet_ros.ros.bag_messages import COMPRESSED_IMAGE, header_stamp_ns

COMPRESSED = "/compressed"


@dataclass(frozen=True)
class BagInput:
    """A bag's camera topic; `encoding` is the Image's, or the CompressedImage's format.

    `start_s` and `end_s`: when its first and last frame were recorded; `sha256` is over all files
    of the bag in the order of their names.
    """

    path: str
    topic: str
    compressed: bool
    encoding: str
    height: int
    width: int
    frames: int
    storage: str
    bytes: int
    sha256: str
    start_s: float
    end_s: float

    @property
    def image_topic(self) -> str:
        """What the node's `image` is mapped to: without what image_transport appends."""
        return self.topic.removesuffix(COMPRESSED) if self.compressed else self.topic

    @property
    def played_topic(self) -> str:
        """Where the player sends its frames, which is where the node listens."""
        return self.image_topic + (COMPRESSED if self.compressed else "")


def read_input(
    path: Path, topic: str | None, frames: int | None
) -> tuple[BagInput, dict[int, str]]:
    """The bag's input, and the name of each frame by its header stamp.

    Frames that `frames.csv` does not name are called by their stamp in nanoseconds. Raises
    UserError where the bag or its camera topic can't be read.
    """
    with BagReader(path) as bag:
        camera = bag.camera_topic(topic)
        count = bag.count(camera)
        messages = islice(bag.raw_messages(camera), frames)
        recorded = [
            (time_ns, header_stamp_ns(data))
            for time_ns, data in tqdm(
                messages, "reading the bag", min(frames or count, count), delay=2
            )
        ]
        if not recorded:
            raise UserError(f"{path}: no frames on {camera}; record it again")
        encoding, (height, width) = bag.first_image(camera)
        known = bag.frame_names()
        compressed = bag.image_topics()[camera] == COMPRESSED_IMAGE
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return BagInput(
        path=str(path),
        topic=camera,
        compressed=compressed,
        encoding=encoding,
        height=height,
        width=width,
        frames=len(recorded),
        storage="mcap" if any(file.suffix == ".mcap" for file in files) else "sqlite3",
        bytes=sum(file.stat().st_size for file in files),
        sha256=_sha256(files),
        start_s=recorded[0][0] / 1e9,
        end_s=recorded[-1][0] / 1e9,
    ), {stamp: known.get(stamp, str(stamp)) for _, stamp in recorded}


def _sha256(files: list[Path]) -> str:
    digest = hashlib.sha256()
    size = sum(path.stat().st_size for path in files)
    with tqdm(total=size, desc="hashing the bag", unit="B", unit_scale=True, delay=2) as bar:
        for path in files:
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
                    bar.update(len(block))
    return digest.hexdigest()
