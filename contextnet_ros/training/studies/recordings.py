"""Whole CamVid recordings held out in turn: how well a recipe carries over to other streets.

CamVid's val comes from a recording of which other frames are in train, so it flatters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from contextnet_ros.files import UserError
from contextnet_ros.inference import model_path
from contextnet_ros.network import read_header
from contextnet_ros.training.folders import recordings as recordings_of
from contextnet_ros.training.recipe import Recipe
from contextnet_ros.training.sources import open_data
from contextnet_ros.training.studies.study import (
    NOT_MEASURED,
    Options,
    Result,
    Study,
    changed,
    markdown,
    percent,
)


def recipes(options: Options) -> dict[str, Recipe]:
    """The recipe without each recording of its CamVid training data, validated on that alone.

    Raises UserError for a recipe without CamVid, or with weights that have seen it, for a recording
    that is not there, or the only one.
    """
    recipe = options.recipe
    found = _recordings(options)
    everyone = sorted({name for names in found.values() for name in names})
    for name in options.recordings:
        if name not in everyone:
            raise UserError(f"recording {name!r} is none of {', '.join(everyone)}")
    if len(everyone) < 2:
        raise UserError(f"CamVid has one recording here, {everyone[0]}: none can be held out")
    held_out = options.recordings or everyone
    _refuse_seen(recipe, held_out)
    return {
        f"without-{name}": changed(
            recipe,
            name=f"{recipe.name} without {name}",
            train=_without(recipe, found, name),
            validate=[
                {**_source(recipe.train[index]), "only": [name]}
                for index, names in found.items()
                if name in names
            ],
        )
        for name in held_out
    }


def _refuse_seen(recipe: Recipe, held_out: Sequence[str]) -> None:
    """Raise UserError where a recording would not be held out of what the training starts from."""
    remedies = {"init": "init=generated-cn14 or init=null", "teacher": "'teacher=[]'"}
    models = [("init", recipe.init), *(("teacher", teacher) for teacher in recipe.teacher)]
    for key, model in models:
        if model is not None and not all(_never_saw(model, name) for name in held_out):
            raise UserError(
                f"{key} {model} has seen CamVid, its recordings too: --set {remedies[key]}, or "
                "weights whose own recipe leaves out the recording"
            )


def _never_saw(model: str, recording: str) -> bool:
    """Whether weights, and those that they started from or were taught by, were trained without
    the recording; what can't be told counts as seen."""
    path = model_path(model)
    if not path.is_file():
        return False
    header = read_header(path)
    # Whatever weights have seen, themselves or by their own start, their licence names.
    if "camvid" not in header.data_licence.lower():
        return True
    recipe = header.recipe
    entries = [entry for entry in recipe.get("train", ()) if entry["data"] == "camvid"]
    before = [recipe.get("init"), *recipe.get("teacher", ())]
    return (
        bool(entries)
        and all(_leaves_out(entry, recording) for entry in entries)
        and all(_never_saw(other, recording) for other in before if other is not None)
    )


def _leaves_out(entry: dict[str, Any], recording: str) -> bool:
    only = entry.get("only", ())
    return recording in entry.get("without", ()) or (bool(only) and recording not in only)


def _recordings(options: Options) -> dict[int, list[str]]:
    """Recordings of each entry of `train` that is CamVid, by its place."""
    recipe, found = options.recipe, {}
    for index, entry in enumerate(recipe.train):
        if entry["data"] == "camvid":
            frames = open_data(entry, recipe.table, options.setup.roots)
            found[index] = recordings_of(frames.name(i) for i in range(len(frames)))
    if not found:
        raise UserError(f"recipe {recipe.name} does not train on camvid: choose one that does")
    return found


def _without(recipe: Recipe, found: dict[int, list[str]], name: str) -> list[dict[str, Any]]:
    entries = []
    for index, entry in enumerate(recipe.train):
        left = [other for other in found.get(index, []) if other != name]
        if index in found and left:
            entries.append({**_source(entry), "share": entry["share"], "only": left})
        elif index not in found:
            entries.append(entry)
    return entries


def _source(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in ("share", "only", "without")}


def table(result: Result | None) -> str:
    """mIoU on each recording that the training has not seen, at the end of the schedule: the best
    checkpoint would be chosen by what it is scored on."""
    runs = {} if result is None else result["runs"]
    rows = []
    for name, run in runs.items():
        score = run["last"]
        rows.append(
            [name.removeprefix("without-"), str(score["frames"]), percent(score["miou_percent"])]
        )
    values = [run["last"]["miou_percent"] for run in runs.values()]
    mean = percent(sum(values) / len(values)) if values else NOT_MEASURED
    return markdown(["recording held out", "frames", "mIoU"], [*rows, ["mean", "", mean]])


RECORDINGS = Study(
    "recordings", "whole CamVid recordings held out of the training in turn", recipes, table
)
