"""Measure the node on a bag, over DDS, as NVIDIA's ros2_benchmark does, with quality beside speed.

    contextnet-bag-benchmark drive_bag
    contextnet-bag-benchmark drive_bag --json result.json --html result.html
    contextnet-bag-benchmark drive_bag --hz 30 --assert "p99_ms<50" --assert "missed<1%"
    contextnet-bag-benchmark drive_bag --rate 1 --player ros2
    contextnet-bag-benchmark camvid_bag --truth CamVid/val
    contextnet-bag-make cityscapes/ --split val -o cs && \\
        contextnet-bag-benchmark cs --truth cityscapes/ --model cityscapes.safetensors

The node, a player and a recorder run in processes of their own. Without --hz or --rate the highest
rate that is held is searched, measured five times over, and 10, 30 and 60 Hz are measured beside
it; with one of them the bag is played once. Output and input are matched by header stamp, and what
became of every frame is counted: sums that do not hold are an error. --truth takes a Cityscapes
tree, a CamVid folder, what contextnet-bag-make --truth wrote, or PNG masks by frame name.
Exit code 1: an error; 3: all was measured, and an --assert does not hold.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from contextnet_ros.files import UserError, atomic_write, check_writable, run_command, write_json
from contextnet_ros.inference import model_path
from contextnet_ros.labels import ClassTable
from contextnet_ros.network import read_header
from contextnet_ros.ros import parameters
from contextnet_ros.ros.bag_benchmark_asserts import NAMES, parse_assertion
from contextnet_ros.ros.bag_benchmark_input import BagInput, read_input
from contextnet_ros.ros.bag_benchmark_metrics import own_metrics
from contextnet_ros.ros.bag_benchmark_page import build_page
from contextnet_ros.ros.bag_benchmark_report import NAME, Subject, build_report, build_table
from contextnet_ros.ros.bag_benchmark_run import Measured, Plan, idle_use, measure
from contextnet_ros.ros.bag_io import BagReader
from contextnet_ros.ros.bag_make import positive, positive_int
from contextnet_ros.ros.bag_player import LABEL_TOPIC
from contextnet_ros.ros.bag_player_ros2 import require_ros2
from contextnet_ros.ros.label_score import Truth, open_truth, score_labels
from contextnet_ros.ros.processes import ending_signals_as_interrupt
from contextnet_ros.ros.replay import Setup, open_session

ASSERTION_FAILED = 3

PLAYERS = {
    "own": "contextnet_ros.ros.bag_player",
    "ros2": "contextnet_ros.ros.bag_player_ros2",
}

# What the report says of the node, and what a measurement stands on.
_SET_HERE = {
    "model": "give --model",
    "device": "give --device",
    "image_transport": "it follows the bag's topic; choose one with --topic",
    "cameras": "a bag is measured as one camera's",
    "autostart": "the benchmark waits for the node to start by itself",
}


def _say(text: str) -> None:
    tqdm.write(text, file=sys.stderr)


def _plan(options: argparse.Namespace) -> Plan:
    plan = Plan()
    return replace(
        plan,
        hz=options.hz,
        rate=options.rate,
        fixed=options.fixed,
        run_s=options.run_s,
        runs=options.runs,
        search_s=min(options.run_s, plan.search_s),
        limits=replace(plan.limits, upper_hz=options.max_hz),
        score=options.truth is not None,
    )


def _setup(options: argparse.Namespace, bag: BagInput, work: Path) -> Setup:
    given: dict[str, object] = {
        "model": options.model,
        "device": options.device,
        "warm_up_height": bag.height,
        "warm_up_width": bag.width,
    }
    if bag.compressed:
        given["image_transport"] = "compressed"
    player = () if options.frames is None else ("--frames", str(options.frames))
    return Setup(
        bag=options.bag,
        logs=work / "logs",
        image_topic=bag.image_topic,
        parameters=given,
        overrides=dict(options.param),
        output_bag=work / "labels",
        timings=True,
        bag_topic=bag.topic,
        player_module=PLAYERS[options.player],
        player=(*player, "--to-topic", bag.played_topic),
    )


def _score(
    work: Path, names: dict[int, str], truth: Truth, table: ClassTable, measured: Measured
) -> dict[str, Any]:
    recorded = measured.measurements[-1]
    of_truth = sum(name in truth.files for name in names.values())
    with BagReader(work / "labels") as bag, tqdm(total=of_truth, desc="scoring", delay=2) as bar:
        labels = bag.labels(LABEL_TOPIC)
        score = score_labels(labels, names, truth, table, lambda: bar.update())
    return {
        **score,
        "frames_with_truth": of_truth,
        "played_hz": recorded.asked_hz,
        "fps": own_metrics(measured.main.runs)["fps"],
    }


def run_benchmark(options: argparse.Namespace) -> int:
    """Measure, tell and judge; returns the exit code."""
    check_writable(options.json, options.html)
    for name, _ in options.param:
        parameters.refuse_unknown(name)
        if name in _SET_HERE:
            raise UserError(f"--param {name}: {_SET_HERE[name]}")
    if options.player == "ros2":
        require_ros2()
    header = read_header(model_path(options.model))
    bag, names = read_input(options.bag, options.topic, options.frames)
    truth = None if options.truth is None else open_truth(options.truth, header.table)
    if truth is not None and not truth.files.keys() & set(names.values()):
        first = next(iter(names.values()))
        raise UserError(
            f"--truth {options.truth}: it names none of the bag's frames; the first is {first!r}"
        )
    plan = _plan(options)
    subject = Subject(options.model, header, bag, options.host, idle_use())
    # Kept where something fails: the processes' logs say why.
    work = Path(tempfile.mkdtemp(prefix="contextnet-bag-benchmark-"))
    with open_session(_setup(options, bag, work), _say) as session:
        measured = measure(session, plan, _say)
    score = None if truth is None else _score(work, names, truth, header.table, measured)
    told = {
        **{name: getattr(options, name) for name in ("model", "device", "player", "frames")},
        "parameters": dict(options.param),
    }
    report = build_report(subject, plan, told, measured, score, options.assertions)
    _write(options, report, measured)
    if report["faults"]:
        raise UserError(f"the frames' sums do not hold: {'; '.join(report['faults'])}")
    if report["frames"]["monitored"] == 0:
        raise UserError(f"no label arrived; see {work / 'logs' / 'node.log'}")
    shutil.rmtree(work, ignore_errors=True)
    return ASSERTION_FAILED if any(a["failed"] for a in report["assertions"]) else 0


def _write(options: argparse.Namespace, report: dict[str, Any], measured: Measured) -> None:
    try:
        write_json(options.json, report)
        if options.html is not None:
            with atomic_write(options.html) as temporary:
                temporary.write_text(build_page(report, measured), encoding="utf-8")
    finally:
        # Last, so that a closed pipe costs no file; in any case, since it took minutes.
        print(build_table(report))


def _rates(text: str) -> tuple[float, ...]:
    return tuple(positive(part) for part in text.split(",") if part)


def _parameter(text: str) -> tuple[str, str]:
    name, separator, value = text.partition(":=")
    if not separator or not name:
        raise argparse.ArgumentTypeError(f"{text!r}: give NAME:=VALUE")
    return name, value


def _parser() -> argparse.ArgumentParser:
    about, _, rest = (__doc__ or "").partition("\n\n")
    plan = Plan()
    parser = argparse.ArgumentParser(
        prog=NAME,
        description=about,
        epilog="examples:\n" + rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("bag", metavar="BAG", type=Path, help="rosbag2 folder or storage file, sqlite3 or MCAP")
    add("--topic", help="image topic of the bag, where it has several cameras")
    add("--frames", metavar="N", type=positive_int, help="take the first N frames of the bag")
    add("--model", default="default", help="a model's name or a weight file (%(default)s)")
    add("--device", default="auto", help="auto, cpu or cuda (%(default)s)")
    add(
        "--param",
        metavar="NAME:=VALUE",
        type=_parameter,
        action="append",
        default=[],
        help="a parameter of the node; may be given again",
    )
    add("--truth", metavar="FOLDER", type=Path, help="score the published labels against it")
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--hz", type=positive, help="play the bag once at this rate, and no search")
    one.add_argument(
        "--rate", metavar="X", type=positive, help="play it once, X times as fast as recorded"
    )
    add("--player", choices=sorted(PLAYERS), default="own", help="ros2: ros2 bag play (own)")
    fixed = ",".join(f"{hz:g}" for hz in plan.fixed)
    add(
        "--fixed",
        metavar="HZ,...",
        type=_rates,
        default=plan.fixed,
        help=f"rates to measure beside the peak ({fixed})",
    )
    add("--run-s", metavar="S", type=positive, default=plan.run_s, help="of a run (%(default)g)")
    add("--runs", metavar="N", type=positive_int, default=plan.runs, help="at the peak (5)")
    add(
        "--max-hz",
        metavar="HZ",
        type=positive,
        default=plan.limits.upper_hz,
        help="the search ends there (%(default)g)",
    )
    add(
        "--assert",
        dest="assertions",
        metavar="CONDITION",
        type=parse_assertion,
        action="append",
        default=[],
        help=f"NAME<NUMBER, or NAME@HZ<NUMBER of a fixed rate; NAME: {', '.join(NAMES)}",
    )
    add("--json", metavar="FILE", type=Path, help="write all that was measured")
    add("--html", metavar="FILE", type=Path, help="write a page that shows it")
    add("--host", default=platform.node(), help="name of the machine in the report (its own)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns its exit code."""
    parser = _parser()
    options = parser.parse_args(argv)
    if options.player == "ros2" and options.hz is None and options.rate is None:
        parser.error("--player ros2 plays the bag once: give --hz or --rate with it")
    if options.player == "ros2" and options.frames is not None:
        parser.error("--player ros2 plays the whole bag: leave --frames out")
    start = time.monotonic()

    def run() -> int:
        with ending_signals_as_interrupt():
            code = run_benchmark(options)
        _say(f"done in {time.monotonic() - start:.0f} s")
        return code

    return run_command(run, NAME)


if __name__ == "__main__":
    sys.exit(main())
