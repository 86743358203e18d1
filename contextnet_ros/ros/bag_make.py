"""Make a rosbag2 of one camera topic out of frames.

    contextnet-bag-make generated -o out/streets --frames 40 --truth out/truth
    contextnet-bag-make photos/ -o out/photos --rate 5 --storage mcap
    contextnet-bag-make drive.mp4 -o out/drive --compressed jpeg
    contextnet-bag-make camvid:CamVid/val -o out/camvid --truth out/camvid_truth
    contextnet-bag-make cityscapes/ --split val -o out/cityscapes --truth out/cityscapes_truth

SOURCE is the word `generated`, a folder of images with its subfolders, a video, a CamVid folder
beside its labels (val and valannot), a Cityscapes tree (leftImg8bit, gtFine) or another bag. Header
stamps begin at a fixed time and grow by 1 / rate; `frames.csv` in the bag (columns stamp_ns,name)
says which frame stands behind which stamp, and --truth keeps the labels as PNG files by frame name
beside `classes.json`, the table of their ids. The bag appears under its name when it is whole.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from contextnet_ros.files import UserError, check_writable, run_command, write_json
from contextnet_ros.labels import ClassTable, Pixels
from contextnet_ros.ros.bag_io import STORAGES, BagWriter, refuse_to_overwrite
from contextnet_ros.ros.bag_messages import (
    COMPRESSED_IMAGE,
    IMAGE,
    compressed_message,
    image_message,
)
from contextnet_ros.ros.frame_sources import Frame, FrameSource, open_source
from contextnet_ros.tools.evaluate import parse_size
from contextnet_ros.tools.media import write_image

CAMERA_TOPIC = "/camera/image_raw"
FRAME_ID = "camera_optical_frame"
CLASSES_FILE = "classes.json"

_TOPIC = re.compile(r"(/[A-Za-z_]\w*)+", re.ASCII)

# A round time in the past: the same source gives the same bag, byte for byte.
FIRST_STAMP_NS = 1_500_000_000_000_000_000


@dataclass(frozen=True)
class BagFormat:
    """How frames are stored; `compressed` is None, jpeg or png; the rate is in frames a second."""

    storage: str = "sqlite3"
    compressed: str | None = None
    rate_hz: float = 10.0
    topic: str = CAMERA_TOPIC
    frame_id: str = FRAME_ID
    encoding: str = "bgr8"

    @property
    def bag_topic(self) -> str:
        """The topic in the bag; compressed images go where image_transport looks for them."""
        return f"{self.topic}/compressed" if self.compressed else self.topic


def make_bag(
    source: FrameSource,
    path: Path,
    bag_format: BagFormat,
    *,
    truth: Path | None = None,
    force: bool = False,
    progress: bool = True,
) -> dict[str, object]:
    """Write every frame of `source` to the bag `path`, and its labels to the folder `truth`.

    Returns what was written. Raises UserError for what cannot be read or written.
    """
    if truth is not None and source.table is None:
        raise UserError(f"--truth {truth}: {source.description} has no labels; leave --truth out")
    refuse_to_overwrite(path, force)
    topic = bag_format.bag_topic
    about = {"writer": "contextnet-bag-make", "source": source.description}
    frames = tqdm(source, "frames", source.count, unit="frame", disable=not progress)
    sizes = set()
    try:
        with BagWriter(path, storage=bag_format.storage, force=force, about=about) as bag:
            bag.add_topic(topic, COMPRESSED_IMAGE if bag_format.compressed else IMAGE)
            for index, frame in enumerate(_with_names_checked(frames)):
                stamp_ns = FIRST_STAMP_NS + round(index * 1e9 / bag_format.rate_hz)
                bag.write(topic, stamp_ns, _message(frame.image, stamp_ns, bag_format), frame.name)
                sizes.add(frame.image.shape[:2])
                if truth is not None and frame.label is not None:
                    write_image(truth / f"{frame.name}.png", frame.label)
            if truth is not None and source.table is not None:
                write_classes(truth, source.table)
        count = bag.counts[topic]
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
    return {
        "bag": str(path),
        "bytes": sum(file.stat().st_size for file in path.iterdir()),
        "frames": count,
        "sizes": sorted(f"{height}x{width}" for height, width in sizes),
        "source": source.description,
        "truth": None if truth is None else str(truth),
        **asdict(bag_format),
        "topic": topic,
    }


def write_classes(folder: Path, table: ClassTable) -> None:
    """Write the class table that names the ids of the label PNGs in `folder`."""
    write_json(folder / CLASSES_FILE, table.to_dict())


def read_classes(folder: Path) -> ClassTable:
    """Class table of a truth folder; raises UserError when it has none."""
    path = folder / CLASSES_FILE
    try:
        return ClassTable.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: not readable as a class table; make the folder with contextnet-bag-make"
        ) from error


def _message(image: Pixels, stamp_ns: int, bag_format: BagFormat) -> bytes:
    if bag_format.compressed:
        return compressed_message(image, bag_format.compressed, stamp_ns, bag_format.frame_id)
    return image_message(image, bag_format.encoding, stamp_ns, bag_format.frame_id)


def _with_names_checked(frames: Iterator[Frame]) -> Iterator[Frame]:
    seen = set()
    for frame in frames:
        if frame.name in seen:
            raise UserError(f"two frames are called {frame.name!r}; names must tell them apart")
        seen.add(frame.name)
        yield frame
    if not seen:
        raise UserError("the source has no frames; nothing was written")


def positive(text: str) -> float:
    """A number above zero; raises argparse.ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r}: give a number above 0")
    return value


def positive_int(text: str) -> int:
    """A whole number above zero; raises argparse.ArgumentTypeError."""
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number above 0")
    return int(text)


def topic_name(text: str) -> str:
    """A full ROS topic name, with its leading slash; raises argparse.ArgumentTypeError."""
    if not _TOPIC.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no ROS topic: give letters, digits and _ between slashes, as "
            f"{CAMERA_TOPIC}"
        )
    return text


def _parser() -> argparse.ArgumentParser:
    about, _, rest = (__doc__ or "").partition("\n\n")
    default = BagFormat()
    parser = argparse.ArgumentParser(
        prog="contextnet-bag-make",
        description=about,
        epilog="examples:\n" + rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("source", metavar="SOURCE", help="generated, or a folder, video, data set or bag")
    add("-o", "--output", metavar="BAG", type=Path, required=True, help="bag folder to write")
    add("--storage", choices=sorted(STORAGES), default=default.storage, help="(%(default)s)")
    add("--compressed", choices=("jpeg", "png"), help="CompressedImage; raw images unless given")
    add("--rate", metavar="HZ", type=positive, default=default.rate_hz, help="(%(default)g)")
    add("--topic", type=topic_name, default=default.topic, help="topic to write (%(default)s)")
    add("--from-topic", metavar="TOPIC", help="topic to read, of a bag with several cameras")
    add("--frame-id", default=default.frame_id, help="(%(default)s)")
    add("--encoding", choices=("bgr8", "rgb8"), default=default.encoding, help="(%(default)s)")
    add("--size", metavar="HxW", type=parse_size, help="resize to height x width")
    add("--frames", metavar="N", type=positive_int, help="take the first N frames")
    add("--seed", metavar="S", type=int, default=0, help="first seed of generated scenes (0)")
    add("--split", default="val", help="split of a data set's root folder (%(default)s)")
    add("--truth", metavar="FOLDER", type=Path, help="write the labels as PNG by frame name")
    add("--force", action="store_true", help="replace a bag that exists")
    add("--json", metavar="FILE", type=Path, help="write what was made as JSON")
    return parser


def _run(argv: list[str] | None) -> int:
    options = _parser().parse_args(argv)
    bag_format = BagFormat(
        options.storage,
        options.compressed,
        options.rate,
        options.topic,
        options.frame_id,
        options.encoding,
    )
    source = open_source(
        options.source,
        split=options.split,
        size=options.size,
        frames=options.frames,
        seed=options.seed,
        fps=options.rate,
        topic=options.from_topic,
    )
    check_writable(options.json)
    made = make_bag(source, options.output, bag_format, truth=options.truth, force=options.force)
    write_json(options.json, made)
    print(f"{made['bag']}: {made['frames']} frames on {made['topic']}, {made['bytes']:,} bytes")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns its exit code."""
    return run_command(lambda: _run(argv), "contextnet-bag-make")


if __name__ == "__main__":
    sys.exit(main())
