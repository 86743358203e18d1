"""The main job, whole: a bag played over DDS, segmented by the real node, recorded and judged.

    make demo
    make demo INPUT=CamVid/val
    python -m contextnet_ros.ros.demo --input drive.mp4 --out out --model default

Without --input the frames are generated, from seeds that nothing was trained on. Leaves in the
output folder demo.png (camera, overlay, label and truth of several frames), demo.json (all that
was measured), input_bag, output_bag, truth (where there is one) and logs.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from contextnet_ros.files import UserError, run_command, write_json
from contextnet_ros.inference import model_path
from contextnet_ros.network import read_header
from contextnet_ros.ros.bag_io import refuse_to_overwrite
from contextnet_ros.ros.bag_make import (
    CAMERA_TOPIC,
    CLASSES_FILE,
    BagFormat,
    make_bag,
    positive,
    positive_int,
)
from contextnet_ros.ros.demo_report import Demo, Pace, build_report, build_table, one_line
from contextnet_ros.ros.demo_results import draw_demo, score_demo
from contextnet_ros.ros.frame_sources import Frame, FrameSource, open_source
from contextnet_ros.ros.label_score import made_truth
from contextnet_ros.ros.processes import ending_signals_as_interrupt
from contextnet_ros.ros.replay import OVERLAY_TOPIC, Replayed, Setup, held_hz, open_session
from contextnet_ros.tools.evaluate import parse_size
from contextnet_ros.training.datasets import FIRST_UNSEEN_SEED

# The whole run ends within three minutes, on a busy machine too. Making frames gets a share of
# them, so that a slow machine plays fewer; answering the last frame, stopping, scoring and drawing
# get the reserve.
TIME_LIMIT_S = 165.0
_MAKING_S = 25.0
_RESERVE_S = 45.0

# The player holds the whole bag in memory.
_INPUT_BYTES = 1_200_000_000


def _source(options: argparse.Namespace) -> FrameSource:
    # The shell leaves the ~ of `make demo INPUT=~/drive.mp4` as it is.
    given = str(Path(options.input).expanduser()) if options.input else "generated"
    source = open_source(
        given,
        size=options.size,
        frames=options.frames,
        seed=options.seed,
        topic=options.topic,
    )
    if not options.input or options.frames is not None:
        return source
    first = next(iter(source), None)
    if first is None:
        raise UserError(f"{options.input}: no frames in it")
    limit = max(1, _INPUT_BYTES // first.image.nbytes)
    return open_source(given, size=options.size, frames=limit, topic=options.topic)


def _within(source: FrameSource, limit_s: float) -> FrameSource:
    """The frames that can be read in `limit_s`, and the first in any case."""

    def read() -> Iterator[Frame]:
        end = time.monotonic() + limit_s
        for frame in source:
            yield frame
            if time.monotonic() > end:
                _say(f"taking the frames made within {limit_s:.0f} s; --frames N takes N")
                break

    return replace(source, read=read)


def _measure(
    demo: Demo, options: argparse.Namespace, made: dict[str, Any]
) -> tuple[Pace, Replayed]:
    height, width = parse_size(made["sizes"][0])
    setup = Setup(
        bag=demo.input_bag,
        logs=demo.out / "logs",
        image_topic=CAMERA_TOPIC,
        parameters={
            "model": demo.model,
            "device": options.device,
            "warm_up_height": height,
            "warm_up_width": width,
        },
        outputs=(OVERLAY_TOPIC,),
        output_bag=demo.output_bag,
    )
    with tqdm(total=made["frames"], desc="labels", unit="label", delay=1) as bar:

        def on_label(arrived: int) -> None:
            if bar.n == 0:
                # Starting the processes is not part of the labels' rate.
                bar.reset()
            bar.update(arrived - bar.n)

        with open_session(setup, _say, on_label) as session:
            trips_ms: list[float] = []
            if options.hz is None:
                _say("finding a rate that this machine holds")
                trips_ms = session.probe()
            pace = Pace(options.hz or held_hz(trips_ms), trips_ms)
            limit_s = max(1.0, options.start + TIME_LIMIT_S - _RESERVE_S - time.monotonic())
            play_s = min(session.in_bag / pace.hz, limit_s)
            _say(f"playing {session.in_bag} frames at {pace.hz:.2f} Hz, about {play_s:.0f} s")
            return pace, session.play(pace.hz, limit_s=limit_s, record=True)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run_demo(options: argparse.Namespace) -> int:
    """Run the whole demo; returns 1 when a sum of the accounting does not hold."""
    demo = Demo(options.out, options.model, read_header(model_path(options.model)))
    source = _source(options)
    try:
        demo.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {demo.out} can't be made a folder: {error.strerror}") from error
    for bag in (demo.input_bag, demo.output_bag):
        refuse_to_overwrite(bag, force=True)
    # Of a demo before, which had truth: this one may have none.
    if (demo.truth / CLASSES_FILE).is_file():
        shutil.rmtree(demo.truth)
    for file in (demo.picture, demo.report):
        file.unlink(missing_ok=True)
    _say(f"making {demo.input_bag} of {source.description}")
    truth_folder = None if source.table is None else demo.truth
    if options.frames is None:
        source = _within(source, _MAKING_S)
    made = make_bag(source, demo.input_bag, BagFormat(), truth=truth_folder, force=True)
    pace, replayed = _measure(demo, options, made)
    truth = None if truth_folder is None else made_truth(truth_folder)
    _say("scoring and drawing")
    report = build_report(demo, made, pace, replayed, score_demo(demo, truth))
    write_json(demo.report, report)
    print(build_table(demo, report, replayed))
    if replayed.faults:
        raise UserError(f"the frames' sums do not hold: {'; '.join(replayed.faults)}")
    if not replayed.labels:
        raise UserError(f"no label arrived; see {demo.out / 'logs' / 'node.log'}")
    draw_demo(demo, replayed, truth, one_line(demo, report))
    took_s = time.monotonic() - options.start
    print(f"{demo.picture}, {demo.report}, {demo.input_bag}, {demo.output_bag} ({took_s:.0f} s)")
    return 0


def _parser() -> argparse.ArgumentParser:
    about, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="demo",
        description=about,
        epilog="examples:\n" + rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--input", metavar="INPUT", help="a folder of images, a video, a data set or a rosbag2")
    add("--out", metavar="FOLDER", type=Path, default=Path("out"), help="(%(default)s)")
    add("--model", default="default", help="a model's name or a weight file (%(default)s)")
    add("--device", default="auto", help="auto, cpu or cuda (%(default)s)")
    add("--topic", help="image topic of an input bag, where it has several")
    add("--size", metavar="HxW", type=parse_size, help="of the frames (generated: 1024x2048)")
    add("--frames", metavar="N", type=positive_int, help="how many (generated: at most 40)")
    add("--seed", type=int, default=FIRST_UNSEEN_SEED, help="first of the scenes (%(default)s)")
    add("--hz", type=positive, help="play at this rate instead of one that the machine holds")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns its exit code."""
    options = _parser().parse_args(argv)
    options.start = time.monotonic()

    def run() -> int:
        with ending_signals_as_interrupt():
            return run_demo(options)

    return run_command(run, "demo")


if __name__ == "__main__":
    sys.exit(main())
