"""contextnet-study: the paper's studies, each ending in a table beside the published figures."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from contextnet_ros.files import atomic_write, run_command
from contextnet_ros.network import VARIANTS
from contextnet_ros.tools.train import run_until_interrupted
from contextnet_ros.training.distributed import World, join, leave
from contextnet_ros.training.recipe import Recipe
from contextnet_ros.training.sources import parse_roots
from contextnet_ros.training.stages import Setup
from contextnet_ros.training.studies import PAPER, STUDIES, Options, Study, train_all

EXAMPLES = """examples:
  contextnet-study paper --root ~/cityscapes -o runs/paper --workers 8
      section 3.2 on Cityscapes: every table beside the published one; weeks of a GPU's time, and
      the same command goes on after an interruption
  contextnet-study variants --recipe camvid-pruned --root ~/camvid -o runs/small --variants cn14
  contextnet-study pruning --recipe camvid-pruned --root ~/camvid -o runs/small --seeds 3
  contextnet-study recordings --recipe camvid --root ~/camvid -o runs/held-out
  contextnet-study levers --recipe camvid-cn14-160 --root ~/camvid -o runs/levers \
          --recordings 0006R0 --levers lovasz_weight=0 ema_decay=0 'augmentation={flip: false}'
      what single settings give on streets that the training has not seen
  contextnet-study zeroed --model default --recipe camvid --root ~/camvid -o runs/zeroed
      no training: what the shipped weights see with either branch zeroed

Trainings have folders of their own below the output; those that are finished are not repeated, and
studies in one output share them.
"""


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="contextnet-study",
        description="Train and measure what the paper's section 3.2 compares.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    abouts = {name: study.about for name, study in STUDIES.items()}
    abouts["paper"] = f"all of the paper: {', '.join(study.name for study in PAPER)}"
    result.add_argument(
        "study",
        choices=abouts,
        metavar="STUDY",
        help="; ".join(f"{name}: {about}" for name, about in abouts.items()),
    )
    add = result.add_argument
    add(
        "--recipe",
        default="paper-pruned",
        help="name in config/recipes, or the path of a YAML file (default: %(default)s)",
    )
    add(
        "--root",
        action="append",
        default=[],
        metavar="FOLDER or KIND=FOLDER",
        help="where the data lies, as for contextnet-train",
    )
    add("-o", "--output", type=Path, required=True, help="folder of the trainings' folders")
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a setting of the recipe; the value is YAML",
    )
    add(
        "--variants",
        nargs="+",
        default=list(VARIANTS),
        help="networks of study variants (default: all of Table 4)",
    )
    add(
        "--seeds",
        type=int,
        default=3,
        help="of studies pruning and levers (default: %(default)s)",
    )
    add(
        "--equal-steps",
        action="store_true",
        help="study pruning: train directly for as many steps as the stages have together, too",
    )
    add(
        "--recordings",
        nargs="+",
        default=[],
        help="to hold out, of study recordings (default: each in turn) and levers (default: none)",
    )
    add(
        "--levers",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="of study levers: settings of the recipe, of which each is changed alone",
    )
    add("--model", default="default", help="of study zeroed: name in models/, or a weight file")
    add("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    add("--workers", type=int, default=1, help="processes that load frames (default: %(default)s)")
    add("--json", type=Path, help="write what was measured here (default: OUTPUT/STUDY.json)")
    return result


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(lambda: _study(parser().parse_args(argv)), "contextnet-study")


def _study(options: argparse.Namespace) -> int:
    recipe = Recipe.load(options.recipe).with_settings(options.set)
    world, device = join(options.device)
    try:
        setup = Setup(parse_roots(options.root), device, options.workers, world)
        return _run(options, recipe, setup, world)
    finally:
        leave()


def _run(options: argparse.Namespace, recipe: Recipe, setup: Setup, world: World) -> int:
    told = Options(
        recipe,
        options.output,
        setup,
        options.variants,
        options.seeds,
        options.equal_steps,
        options.recordings,
        options.model,
        options.levers,
    )
    studies: tuple[Study, ...] = PAPER if options.study == "paper" else (STUDIES[options.study],)
    if not train_all(studies, told, run_until_interrupted, print if world.leads else _nothing):
        if world.leads:
            print("interrupted; the same command goes on from there")
        return 130
    if not world.leads:
        return 0
    results = {}
    for study in studies:
        result = results[study.name] = study.conclude(told)
        _write(options.output / f"{study.name}.json", result)
        print(f"\n{study.name}: {study.about}\n\n{study.table(result)}\n")
    whole = results.get(options.study, {"studies": results})
    path = options.json or options.output / f"{options.study}.json"
    _write(path, whole)
    print(f"results: {path}")
    return 0


def _nothing(_: str) -> None:
    """What processes that don't lead say."""


def _write(path: Path, result: object) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
