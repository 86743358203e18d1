"""contextnet-eval: score a weight file, class by class."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from contextnet_ros.files import UserError, atomic_write, run_command
from contextnet_ros.inference import Segmenter
from contextnet_ros.provenance import provenance
from contextnet_ros.training.datasets import (
    FIRST_UNSEEN_SEED,
    CamVid,
    GeneratedScenes,
    LabelledFrames,
)
from contextnet_ros.training.evaluation import evaluate

EXAMPLES = """examples:
  contextnet-eval --model default --data camvid --root ~/camvid --split val
  contextnet-eval --model generated-cn14 --data generated --frames 40 --size 1024x2048
  contextnet-eval --model runs/mine/best.safetensors --data camvid --root ~/camvid --json s.json
"""


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) of a text such as 1024x2048; raises argparse.ArgumentTypeError."""
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r}: give height x width, such as 1024x2048")
    return int(parts[0]), int(parts[1])


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="contextnet-eval",
        description="Score a weight file at the labels' size: IoU per class, mIoU, accuracy.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("--model", default="default", help="name in models/, or a weight file")
    result.add_argument("--data", choices=("camvid", "generated"), required=True)
    result.add_argument("--root", type=Path, help="CamVid's folder")
    result.add_argument("--split", default="val", help="of CamVid (default: %(default)s)")
    result.add_argument("--frames", type=int, default=40, help="generated frames to score")
    result.add_argument(
        "--size", type=parse_size, default=(1024, 2048), help="of generated frames, as 1024x2048"
    )
    result.add_argument(
        "--first-seed", type=int, default=FIRST_UNSEEN_SEED, help="of generated frames"
    )
    result.add_argument("--network-size", help="instead of the weight file's, as 'scale 0.5'")
    result.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    result.add_argument("--json", type=Path, help="write the scores to this file")
    return result


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(lambda: _evaluate(parser().parse_args(argv)), "contextnet-eval")


def _evaluate(options: argparse.Namespace) -> int:
    segmenter = Segmenter.load(
        options.model, device=options.device, network_size=options.network_size
    )
    frames = _frames(options, segmenter)
    scores = {"network_size": str(segmenter.network_size), **evaluate(segmenter, frames)}
    print(report(options.model, scores))
    if options.json is not None:
        result = {"model": options.model, **scores, "provenance": provenance(segmenter.device)}
        with atomic_write(options.json) as temporary:
            temporary.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def _frames(options: argparse.Namespace, segmenter: Segmenter) -> LabelledFrames:
    table = segmenter.header.table
    if options.data == "generated":
        return GeneratedScenes(options.first_seed, options.frames, options.size, table)
    if options.root is None:
        raise UserError("--data camvid needs CamVid's folder as --root")
    frames = CamVid(options.root, options.split)
    if frames.table != table:
        raise UserError(f"{options.model} has {table.name} classes, CamVid its own 11")
    return frames


def report(model: str, scores: dict[str, Any]) -> str:
    """The table that a person reads."""
    lines = [f"{model} on {scores['data']}, network size {scores['network_size']}"]
    for name, iou in scores["iou_percent"].items():
        lines.append(f"  {name:<16} {percent(iou)}")
    for key, name in (("miou_percent", "mIoU"), ("pixel_accuracy_percent", "pixel accuracy")):
        lines.append(f"  {name:<16} {percent(scores[key])}")
    return "\n".join(lines)


def percent(value: float | None) -> str:
    return "absent" if value is None else f"{value:6.2f} %"
