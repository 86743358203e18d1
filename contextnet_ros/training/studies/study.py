"""What all studies share: their trainings, each in a folder of its own, and their tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import yaml

from contextnet_ros.files import UserError, resource_dir
from contextnet_ros.inference.backend import choose_device
from contextnet_ros.network import VARIANTS, count_parameters, load_weights
from contextnet_ros.provenance import provenance
from contextnet_ros.training import stages
from contextnet_ros.training.loop import Training
from contextnet_ros.training.recipe import Recipe
from contextnet_ros.training.record import LOG_NAME
from contextnet_ros.training.stages import Runner, Setup

NOT_MEASURED = "not measured"
Result = dict[str, Any]
"""What a study measured, as its JSON holds it."""


@dataclass(frozen=True)
class Options:
    """What a study is told beside the recipe.

    `variants` of Table 4, `seeds` of the pruning study and of levers, `equal_steps`: for pruning, a
    direct training of as many steps too; `recordings`: held out in turn, none: every one, of levers
    none; `model`: weights that are looked at instead of trained; `levers`: KEY=VALUE settings;
    `speeds`: times weights at 1024 x 2048, frames per second by the names that it is given.
    """

    recipe: Recipe
    folder: Path
    setup: Setup = field(default_factory=Setup)
    variants: Sequence[str] = tuple(VARIANTS)
    seeds: int = 3
    equal_steps: bool = False
    recordings: Sequence[str] = ()
    model: str = "default"
    levers: Sequence[str] = ()
    speeds: Callable[[Mapping[str, Path]], dict[str, float]] | None = None


@dataclass(frozen=True)
class Study:
    """`recipes` by the names of their folders; `measure` adds to the result what trainings don't
    say of themselves; `table` is Markdown of a result, or of none yet."""

    name: str
    about: str
    recipes: Callable[[Options], dict[str, Recipe]]
    table: Callable[[Result | None], str]
    measure: Callable[[Options, Result], Result] = lambda _, result: result

    def conclude(self, options: Options) -> Result:
        """Measure what trainings that are finished have come to."""
        runs = {
            name: _summary(recipe, stages.progress(recipe, options.folder / name))
            for name, recipe in self.recipes(options).items()
        }
        result = {"study": self.name, "recipe": options.recipe.to_dict(), "runs": runs}
        result = self.measure(options, result)
        return {**result, "provenance": provenance(choose_device(options.setup.device))}


def train_all(
    studies: Sequence[Study],
    options: Options,
    run: Runner = Training.run,
    say: Callable[[str], None] = lambda _: None,
) -> bool:
    """Carry out every training of the studies that is not finished; False where `run` stopped one.

    Those of one name are one training. Raises UserError, before any, for a folder that holds
    another recipe.
    """
    recipes = {name: recipe for study in studies for name, recipe in study.recipes(options).items()}
    standing = {
        name: stages.progress(recipe, options.folder / name) for name, recipe in recipes.items()
    }
    for place, (name, outcome) in enumerate(standing.items(), start=1):
        if outcome.finished:
            continue
        say(
            f"training {place} of {len(standing)}: {name}, from step {outcome.step} "
            f"of {outcome.steps}"
        )
        if not stages.train(recipes[name], options.folder / name, options.setup, run).finished:
            return False
    return True


def _summary(recipe: Recipe, outcome: stages.Outcome) -> Result:
    """`best` scores the weights that are kept, `last` those at the end of the schedule."""
    network, header = load_weights(outcome.best)
    log = (outcome.best.parent / LOG_NAME).read_text().splitlines()
    return {
        "network": header.network,
        "parameters": count_parameters(network),
        "seed": recipe.seed,
        "steps": outcome.steps,
        "train_seconds": round(outcome.seconds, 1),
        "best": header.scores[0],
        "last": json.loads(log[-1])["scores"][0],
    }


def changed(recipe: Recipe, **changes: Any) -> Recipe:
    """The recipe with other settings, checked; raises UserError."""
    return Recipe.from_dict({**recipe.to_dict(), **changes})


def direct(recipe: Recipe) -> Recipe:
    """The recipe without its pruning: the network that it ends in, trained from scratch.

    Raises UserError for a recipe that starts from weights, or validates on nothing.
    """
    if recipe.init is not None:
        raise UserError(
            f"the recipe starts from {recipe.init}, a study from scratch: --set init=null"
        )
    refuse_unscored(recipe)
    width = recipe.width if recipe.prune is None else recipe.prune.widths[-1]
    return changed(recipe, prune=None, width=width)


def refuse_unscored(recipe: Recipe) -> None:
    """Raise UserError for a recipe that validates on nothing."""
    if not recipe.validate:
        raise UserError("the recipe validates on nothing, a study scores there: set `validate`")


def seeds(options: Options) -> range:
    """The seeds to train with, from the recipe's own on; raises UserError for none."""
    if options.seeds < 1:
        raise UserError(f"seeds is {options.seeds}; give 1 or more")
    return range(options.recipe.seed, options.recipe.seed + options.seeds)


@cache
def published() -> Mapping[str, Any]:
    """The figures of config/published.yaml."""
    data: dict[str, Any] = yaml.safe_load((resource_dir("config") / "published.yaml").read_text())
    return data


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, which a person reads as well."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def percent(value: float | None) -> str:
    """To one decimal, as the paper prints; what is None was not measured."""
    return NOT_MEASURED if value is None else f"{value:.1f} %"


def difference(gains: Sequence[float]) -> str:
    """The mean of some differences in points, with their standard deviation if they are several."""
    spread = f" ± {stdev(gains):.1f}" if len(gains) > 1 else ""
    # No minus before what rounds to nothing.
    return f"{round(mean(gains), 1) + 0.0:+.1f}{spread}"


def scored_on(result: Result | None) -> str:
    """What the column of our scores is headed with."""
    if result is None:
        return "here"
    return "here, " + str(next(iter(result["runs"].values()))["best"]["data"])


def miou(result: Result | None, name: str, which: str = "best") -> float | None:
    """mIoU in percent of a training; None where there is none."""
    run = None if result is None else result["runs"].get(name)
    return None if run is None else run[which]["miou_percent"]
