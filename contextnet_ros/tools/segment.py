"""contextnet-segment: overlays and label images of pictures and videos, without ROS."""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from contextnet_ros.files import UserError, check_writable, run_command, write_json
from contextnet_ros.inference import SegmentedFrame, Segmenter
from contextnet_ros.inference.overlay import DEFAULT_OPACITY
from contextnet_ros.provenance import provenance
from contextnet_ros.tools.media import (
    Medium,
    UnreadableError,
    Video,
    find_media,
    read_image,
    write_image,
    writing_video,
)

PROG = "contextnet-segment"

EXAMPLES = """examples:
  contextnet-segment street.jpg -o out
      out/street_overlay.png to look at, out/street_label.png with one class id a pixel
  contextnet-segment frames/ drive.mp4 -o out --overlay-format jpg
      a folder with its subfolders; a video becomes out/drive_overlay.mp4
  contextnet-segment frames/ -o out --network-size "scale 0.5" --json out/measured.json
"""


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog=PROG,
        description="Segment images, folders of images and videos.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument(
        "inputs", nargs="+", type=Path, metavar="IMAGE|FOLDER|VIDEO", help="what to segment"
    )
    result.add_argument("-o", "--output", type=Path, required=True, help="folder of the results")
    result.add_argument("--model", default="default", help="name in models/, or a weight file")
    result.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    result.add_argument("--network-size", help="instead of the weight file's, as 'scale 0.5'")
    result.add_argument(
        "--opacity",
        type=float,
        default=DEFAULT_OPACITY,
        help="of the class colours in the overlay, 0 to 1 (default: %(default)s)",
    )
    result.add_argument(
        "--overlay-format", choices=("png", "jpg"), default="png", help="(default: %(default)s)"
    )
    result.add_argument(
        "--color",
        action="store_true",
        help="also write the labels in their colours, NAME_color.png",
    )
    result.add_argument(
        "--video-labels", action="store_true", help="also write a video's labels, NAME_label/*.png"
    )
    result.add_argument("--json", type=Path, help="write what was measured to this file")
    return result


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(lambda: _segment(parser().parse_args(argv)), PROG)


def _segment(options: argparse.Namespace) -> int:
    check_writable(options.json)
    media = find_media(options.inputs, options.output)
    segmenter = Segmenter.load(
        options.model,
        device=options.device,
        network_size=options.network_size,
        outputs=("label", "overlay"),
        overlay_opacity=options.opacity,
    )
    print(segmenter.describe())
    job = _Job(segmenter, options)
    start = time.perf_counter()
    unreadable = job.run(media)
    seconds = time.perf_counter() - start
    print(
        f"{job.frames} frames in {seconds:.1f} s ({job.frames / seconds:.1f} fps, files included), "
        f"results in {options.output}"
    )
    if options.json is not None:
        measured = {"command": PROG, **job.measured(seconds), "unreadable": unreadable}
        write_json(options.json, measured)
    if unreadable:
        raise UserError(f"{len(unreadable)} of {len(media)} inputs could not be read, see above")
    return 0


class _Job:
    """Segments media into the output folder, and keeps the time of every stage of every frame."""

    def __init__(self, segmenter: Segmenter, options: argparse.Namespace) -> None:
        self.frames = 0
        self._segmenter = segmenter
        self._options = options
        self._stages_ms: dict[str, list[float]] = defaultdict(list)

    def run(self, media: Sequence[Medium]) -> list[str]:
        """Segment all media; returns the paths that couldn't be read, after a warning for each."""
        unreadable: dict[str, UnreadableError] = {}
        # A bar for what is over in two seconds would only flicker.
        with tqdm(total=len(media), unit="frame", delay=2) as bar:
            for medium in media:
                try:
                    if medium.is_video:
                        self._video(medium, bar)
                    else:
                        self._image(medium, bar)
                except UnreadableError as error:
                    unreadable[str(medium.path)] = error
        for reason in unreadable.values():
            print(f"{PROG}: warning: {reason}; left out", file=sys.stderr)
        return list(unreadable)

    def measured(self, seconds: float) -> dict[str, Any]:
        """Return frames, rate, stages and what they ran on, as JSON holds them."""
        stages = self._stages_ms
        return {
            "model": self._segmenter.name,
            "network_size": str(self._segmenter.network_size),
            "device": str(self._segmenter.device),
            "precision": self._segmenter.precision,
            "frames": self.frames,
            "seconds": seconds,
            "fps": self.frames / seconds,
            "stage_ms": {stage: float(np.median(values)) for stage, values in stages.items()},
            "provenance": provenance(self._segmenter.device),
        }

    def _image(self, medium: Medium, bar: tqdm[Any]) -> None:
        start = time.perf_counter()
        image = read_image(medium.path)
        self._count("read", start)
        result = self._frame(image, bar)
        start = time.perf_counter()
        suffix = self._options.overlay_format
        assert result.overlay is not None
        write_image(self._target(medium, f"_overlay.{suffix}"), result.overlay)
        write_image(self._target(medium, "_label.png"), result.label)
        if self._options.color:
            colours = self._segmenter.header.table.colorize(result.label)
            write_image(self._target(medium, "_color.png"), colours)
        self._count("write", start)

    def _video(self, medium: Medium, bar: tqdm[Any]) -> None:
        video = Video(medium.path)
        # The bar counted one frame for each medium.
        bar.total += max(0, video.expected_frames - 1)
        with writing_video(self._target(medium, "_overlay.mp4"), video.fps) as file:
            for index, image in enumerate(video):
                result = self._frame(image, bar)
                start = time.perf_counter()
                assert result.overlay is not None
                file.write(result.overlay)
                if self._options.video_labels:
                    write_image(self._target(medium, f"_label/{index:06d}.png"), result.label)
                self._count("write", start)

    def _frame(self, image: npt.NDArray[np.uint8], bar: tqdm[Any]) -> SegmentedFrame:
        result = self._segmenter(image)
        for stage, milliseconds in result.timings.items():
            self._stages_ms[stage].append(milliseconds)
        self.frames += 1
        bar.update()
        return result

    def _count(self, stage: str, start: float) -> None:
        self._stages_ms[stage].append((time.perf_counter() - start) * 1e3)

    def _target(self, medium: Medium, ending: str) -> Path:
        output: Path = self._options.output
        return output / medium.name.parent / f"{medium.name.name}{ending}"


if __name__ == "__main__":
    sys.exit(main())
