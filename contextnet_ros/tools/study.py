"""contextnet-study: the paper's studies, each ending in a table beside the published figures."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

from contextnet_ros.files import UserError, check_writable, run_command, write_json
from contextnet_ros.labels import CITYSCAPES
from contextnet_ros.network import VARIANTS, read_header
from contextnet_ros.tools import bench, evaluate
from contextnet_ros.tools.train import run_until_interrupted
from contextnet_ros.training.checkpoint import BEST_NAME
from contextnet_ros.training.distributed import World, joined
from contextnet_ros.training.recipe import Recipe
from contextnet_ros.training.sources import parse_roots, root_of
from contextnet_ros.training.stages import Setup
from contextnet_ros.training.studies import PAPER, STUDIES, Options, Study, networks, train_all

EXAMPLES = """examples:
  contextnet-study paper --root ~/cityscapes -o runs/paper --workers 8
      section 3 on Cityscapes: every table beside the published one, and the label maps that the
      server scores; weeks of a GPU's time, the same command goes on after an interruption
  contextnet-study variants --recipe camvid-pruned --root ~/camvid -o runs/small --variants cn14
  contextnet-study pruning --recipe camvid-pruned --root ~/camvid -o runs/small --seeds 3
  contextnet-study recordings --recipe camvid --root ~/camvid -o runs/held-out
  contextnet-study levers --recipe camvid-cn14-160 --root ~/camvid -o runs/levers \\
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
        description="Train and measure what the paper's section 3 compares.",
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
    check_writable(options.json)
    with joined(options.device) as (world, device):
        setup = Setup(parse_roots(options.root), device, options.workers, world)
        return _run(options, recipe, setup, world)


def _run(options: argparse.Namespace, recipe: Recipe, setup: Setup, world: World) -> int:
    failed: list[str] = []
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
        lambda weights: _speeds(weights, options, failed),
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
        write_json(options.output / f"{study.name}.json", result)
        print(f"\n{study.name}: {study.about}\n\n{study.table(result)}\n")
    whole = results.get(options.study, {"studies": results})
    path = options.json or options.output / f"{options.study}.json"
    write_json(path, whole)
    if networks.NETWORKS in studies:
        _submit(recipe, setup, options, failed)
    if options.study == "paper":
        _time_paper(recipe, options, failed)
    print(f"results: {path}")
    if failed:
        raise UserError(f"could not finish, mend and repeat: {'; '.join(failed)}")
    return 0


def _speeds(
    weights: Mapping[str, Path], options: argparse.Namespace, failed: list[str]
) -> dict[str, float]:
    """Table 4's frames per second: label after label, transfers in sequence, at 1024 x 2048."""
    path = options.output / "bench-variants.json"
    models = [str(file) for file in weights.values()]
    done = _tell(
        failed, bench.PROG, bench.main, "--model", *models, "--backends", "ours", "--modes",
        "sequential", "--device", options.device, "--json", str(path),
    )  # fmt: skip
    if not done:
        return {}
    rows = json.loads(path.read_text())["rows"]
    names = {read_header(file).network: name for name, file in weights.items()}
    # On a GPU pinned frames come first, then pageable ones.
    return {names[row["network"]]: row["fps"] for row in reversed(rows)}


def _submit(recipe: Recipe, setup: Setup, options: argparse.Namespace, failed: list[str]) -> None:
    """Write what the Cityscapes server scores for Table 6, if the test images are there."""
    root = root_of(recipe.validate[0], setup.roots)
    if recipe.table != CITYSCAPES or root is None or not (root / "leftImg8bit/test").is_dir():
        return
    print("\nlabel maps of the test images, for Table 6's scores on the server\n")
    _tell(
        failed, evaluate.PROG, evaluate.main, "--data", "cityscapes", "--root", str(root),
        "--split", "test", "--model", str(options.output / networks.folder_of(recipe) / BEST_NAME),
        "--device", options.device, "--submission", str(options.output / "submission"),
    )  # fmt: skip


def _time_paper(recipe: Recipe, options: argparse.Namespace, failed: list[str]) -> None:
    """Table 7, of the joint network."""
    model, path = options.output / recipe.variant / BEST_NAME, options.output / "bench.json"
    print("\ntimes (Table 7)\n")
    _tell(
        failed, bench.PROG, bench.main, "--paper", "--model", str(model), "--device",
        options.device, "--json", str(path),
    )  # fmt: skip


def _tell(
    failed: list[str], program: str, command: Callable[[list[str]], int], *arguments: str
) -> bool:
    """Carry out another of our commands, and say which; one that fails is added to `failed`, so
    that what weeks of training came to is told all the same. Raises KeyboardInterrupt for one
    that was interrupted."""
    line = shlex.join([program, *arguments])
    print(line, flush=True)
    code = command(list(arguments))
    if code == 130:
        raise KeyboardInterrupt
    if code:
        failed.append(line)
    return code == 0


def _nothing(_: str) -> None:
    """What processes that don't lead say."""


if __name__ == "__main__":
    raise SystemExit(main())
