"""contextnet-train: train a network from a recipe; the same command resumes."""

from __future__ import annotations

import argparse
import shlex
import signal
from pathlib import Path
from typing import Any

import yaml

from contextnet_ros.files import check_writable, run_command, write_json
from contextnet_ros.inference.backend import choose_device, unused_gpu
from contextnet_ros.network import read_header
from contextnet_ros.provenance import provenance
from contextnet_ros.training.distributed import World, joined
from contextnet_ros.training.loop import Training
from contextnet_ros.training.recipe import Recipe
from contextnet_ros.training.sources import parse_roots
from contextnet_ros.training.stages import Setup, train

EXAMPLES = """examples:
  contextnet-train --recipe camvid --root ~/camvid -o runs/camvid
      one of the stages of the default weights; run it again to go on where it was
      interrupted
  contextnet-train --recipe generated -o runs/generated
      generated scenes only, no data needed
  contextnet-train --recipe paper --root ~/cityscapes -o runs/paper --workers 8
      the paper's own recipe, for which Cityscapes and a GPU are needed
  torchrun --nproc-per-node 4 -m contextnet_ros.tools.train --recipe paper ... -o runs/paper
      four GPUs, the same global batch
  contextnet-train --recipe paper-pruned --root ~/cityscapes -o runs/pruned
      twice the width, then pruned to 1.5, 1.25 and 1 times, trained on after each
  contextnet-train --recipe my.yaml -o runs/mine --set steps=20000 --set batch=16
"""


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="contextnet-train",
        description="Train a ContextNet from a recipe. Running the same command again resumes.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument(
        "--recipe",
        default="camvid",
        help="name in config/recipes, or the path of a YAML file (default: %(default)s)",
    )
    result.add_argument(
        "--root",
        action="append",
        default=[],
        metavar="FOLDER or KIND=FOLDER",
        help="where the data lies: CamVid (train/, trainannot/), Cityscapes (leftImg8bit/, "
        "gtFine/); for a mixture give one for each, as camvid=... and cityscapes=...",
    )
    result.add_argument(
        "-o", "--output", type=Path, required=True, help="folder of checkpoint, log and weights"
    )
    result.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a setting of the recipe; the value is YAML",
    )
    result.add_argument(
        "--ppm", action="store_true", help="pyramid pooling (section 2.2), as --set ppm=true"
    )
    result.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    result.add_argument(
        "--workers", type=int, default=1, help="processes that load frames (default: %(default)s)"
    )
    result.add_argument(
        "--augment",
        choices=("auto", "loader", "device"),
        default="auto",
        help="who scales, crops and colours frames: the loading processes, or the device that "
        "trains (auto: a GPU does it itself)",
    )
    result.add_argument(
        "--tensorboard",
        action="store_true",
        help="write losses, scores and pictures for TensorBoard below the output folder",
    )
    result.add_argument("--json", type=Path, help="write scores and times to this file")
    result.add_argument(
        "--show", action="store_true", help="print the recipe as it would run, and stop"
    )
    return result


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(lambda: _train(parser().parse_args(argv)), "contextnet-train")


def _train(options: argparse.Namespace) -> int:
    settings = [*options.set, *(["ppm=true"] if options.ppm else [])]
    recipe = Recipe.load(options.recipe).with_settings(settings)
    if options.show:
        print(yaml.safe_dump(recipe.to_dict(), sort_keys=False), end="")
        return 0
    check_writable(options.json)
    with joined(options.device) as (world, device):
        return _run(options, recipe, world, device)


def _run(options: argparse.Namespace, recipe: Recipe, world: World, device: str) -> int:
    setup = Setup(
        parse_roots(options.root),
        device,
        options.workers,
        world,
        options.tensorboard,
        options.augment,
    )
    if world.leads:
        note = unused_gpu(device)
        print(f"{recipe.name}: on {choose_device(device)}{note and '; '}{note}")
    outcome = train(recipe, options.output, setup, run_until_interrupted)
    if not outcome.finished:
        if world.leads:
            print(f"interrupted at step {outcome.step}; the same command goes on from there")
        return 130
    if not world.leads:
        return 0
    best = outcome.best
    if options.json is not None:
        result = {
            "recipe": recipe.to_dict(),
            "steps": outcome.step,
            "train_seconds": round(outcome.seconds, 1),
            "best": str(best),
            "scores": read_header(best).scores,
            "provenance": provenance(choose_device(device)),
        }
        write_json(options.json, result)
    use = shlex.quote(f"model:={best.resolve()}")
    print(
        f"best weights: {best}; use them with: ros2 launch contextnet_ros segment.launch.py {use} "
        f"or: segment_node --ros-args -p {use}"
    )
    return 0


def run_until_interrupted(training: Training) -> Path:
    """Train to the end or to Ctrl-C, which leaves a checkpoint; returns the best weights' path."""
    recipe = training.recipe
    if training.step and training.world.leads:
        print(f"{recipe.name}: resuming at step {training.step} of {recipe.steps}")
    interrupted = False

    def on_interrupt(*_: Any) -> None:
        nonlocal interrupted
        interrupted = True

    previous = signal.signal(signal.SIGINT, on_interrupt)
    try:
        return training.run(stop=lambda: interrupted)
    finally:
        signal.signal(signal.SIGINT, previous)


if __name__ == "__main__":
    raise SystemExit(main())
