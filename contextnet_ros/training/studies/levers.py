"""Settings of a recipe changed one by one: what each of them gives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from statistics import mean

from contextnet_ros.files import UserError
from contextnet_ros.training.recipe import Recipe
from contextnet_ros.training.studies import recordings
from contextnet_ros.training.studies.study import (
    NOT_MEASURED,
    Options,
    Result,
    Study,
    changed,
    difference,
    markdown,
    miou,
    percent,
    refuse_unscored,
    seeds,
)

_AS_IT_IS = "as it is"


def recipes(options: Options) -> dict[str, Recipe]:
    """The recipe as it is and with each lever alone, for each seed from the recipe's own on; where
    recordings are named, without each of them, and validated on it.

    Raises UserError for no lever, or one that stands twice or changes nothing.
    """
    if not options.levers:
        raise UserError("no lever is named: --levers lovasz_weight=0 ema_decay=0")
    refuse_unscored(options.recipe)
    found: dict[str, Recipe] = {}
    for lever, seed, folder in _folders(options):
        recipe = base = changed(options.recipe, seed=seed, name=folder)
        if lever != _AS_IT_IS:
            recipe = base.with_settings([lever])
            if recipe == base:
                raise UserError(f"lever {lever} changes nothing: the recipe says so already")
        parts = {"": recipe}
        if options.recordings:
            parts = recordings.recipes(replace(options, recipe=recipe))
        for part, training in parts.items():
            name = _join(folder, part)
            if name in found:
                raise UserError(f"lever {lever} stands twice: name each once")
            found[name] = training
    return found


def _folders(options: Options) -> Iterator[tuple[str, int, str]]:
    """Each lever with each seed, and what their folders begin with."""
    for lever in (_AS_IT_IS, *options.levers):
        plain = re.sub(r"[^\w.=-]+", "-", lever).strip("-")
        for seed in seeds(options):
            yield lever, seed, f"{plain}-seed-{seed}"


def _join(folder: str, part: str) -> str:
    return f"{folder}-{part}" if part else folder


def measure(options: Options, result: Result) -> Result:
    """mIoU in percent by lever, at the end of the schedule, of every seed and recording in the
    same order."""
    parts = [f"without-{name}" for name in options.recordings] or [""]
    columns: dict[str, list[float | None]] = {}
    for lever, _, folder in _folders(options):
        scores = [miou(result, _join(folder, part), "last") for part in parts]
        columns.setdefault(lever, []).extend(scores)
    return {**result, "miou_percent": columns}


def table(result: Result | None) -> str:
    """Each lever's mean, and its mean difference from the recipe as it is, with the standard
    deviation of the single ones where there are several."""
    runs = {} if result is None else result["runs"]
    data = dict.fromkeys(str(run["last"]["data"]) for run in runs.values())
    heads = ["changed", "runs", ", ".join(["mIoU, here", *data]), "difference"]
    if result is None:
        return markdown(heads, [[_AS_IT_IS, "", NOT_MEASURED, ""]])
    columns: dict[str, list[float]] = dict(result["miou_percent"])
    base = columns.pop(_AS_IT_IS)
    rows = [[_AS_IT_IS, str(len(base)), percent(mean(base)), ""]]
    for lever, scores in columns.items():
        gains = [score - other for score, other in zip(scores, base, strict=True)]
        rows.append([f"`{lever}`", str(len(scores)), percent(mean(scores)), difference(gains)])
    return markdown(heads, rows)


LEVERS = Study(
    "levers", "the recipe against itself with one setting changed, some seeds each", recipes,
    table, measure,
)  # fmt: skip
