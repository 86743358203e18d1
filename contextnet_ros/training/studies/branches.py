"""The branches: each alone, both averaged, and what is left without one (section 3.2, Figure 2)."""

from __future__ import annotations

import copy
from pathlib import Path

import cv2
import numpy as np

from contextnet_ros.files import UserError, atomic_write
from contextnet_ros.inference import Segmenter, model_path
from contextnet_ros.inference.backend import choose_device
from contextnet_ros.labels import Pixels
from contextnet_ros.network import ContextNet, WeightHeader, load_weights
from contextnet_ros.training.branches import zero_branch
from contextnet_ros.training.checkpoint import BEST_NAME
from contextnet_ros.training.datasets import LabelledFrames
from contextnet_ros.training.evaluation import Evaluation, evaluate
from contextnet_ros.training.recipe import Recipe
from contextnet_ros.training.sources import open_data
from contextnet_ros.training.studies.study import (
    Options,
    Result,
    Study,
    changed,
    direct,
    markdown,
    miou,
    percent,
    published,
    scored_on,
)
from contextnet_ros.training.views import AveragedNetworks, AveragedViews

PICTURE_NAME = "figure2.png"
_PICTURES = 3
_ROWS = ("image", "truth", "context alone", "detail alone", "both")


def names(recipe: Recipe) -> tuple[str, str, str]:
    """Folders of the joint training, of the context branch's and of the detail branch's."""
    return recipe.variant, f"{recipe.variant}-context", f"{recipe.variant}-detail"


def recipes(options: Options) -> dict[str, Recipe]:
    """The joint network, and the same with either branch zeroed from the start."""
    recipe = direct(options.recipe)
    if recipe.branch is not None:
        raise UserError(f"branch is {recipe.branch}; give a recipe of both, which the study parts")
    joint, context, detail = names(recipe)
    return {
        joint: changed(recipe, name=joint),
        context: changed(recipe, name=context, branch="context"),
        # The auxiliary loss is the context branch's, which nothing reads here.
        detail: changed(recipe, name=detail, branch="detail", auxiliary_weight=0.0),
    }


def measure(options: Options, result: Result) -> Result:
    """Score the ensemble, and the joint network with either branch zeroed; draw Figure 2."""
    frames = _frames(options)
    joint, *alone = (options.folder / name / BEST_NAME for name in names(options.recipe))
    device = choose_device(options.setup.device)
    members = [
        AveragedViews(network, header, header.network_size, device=device)
        for network, header in map(load_weights, alone)
    ]
    evaluation = Evaluation(frames, load_weights(joint)[1].ignore_id)
    evaluation.run(AveragedNetworks(members))
    zeroed = look(joint, frames, options.folder / PICTURE_NAME, str(device))
    return {**result, "ensemble": evaluation.to_dict(), "zeroed": zeroed}


def look(weights: Path, frames: LabelledFrames, picture: Path, device: str) -> Result:
    """Scores of a network whole and with either branch zeroed; Figure 2's picture of three frames.

    Writes `picture`, a column for each frame.
    """
    network, header = load_weights(weights)
    parts = {
        "context": _without(network, header, "detail", device),
        "detail": _without(network, header, "context", device),
        "both": Segmenter(network, header, device, "float32"),
    }
    columns = []
    for index in np.linspace(0, len(frames) - 1, _PICTURES + 2).round().astype(int)[1:-1]:
        image, truth = frames[int(index)]
        labels = [truth, *(segmenter(image).label for segmenter in parts.values())]
        columns.append([image, *(frames.table.colorize(label) for label in labels)])
    with atomic_write(picture) as temporary:
        temporary.write_bytes(cv2.imencode(".png", _titled(columns))[1].tobytes())
    return {name: evaluate(segmenter, frames) for name, segmenter in parts.items()}


def _without(network: ContextNet, header: WeightHeader, branch: str, device: str) -> Segmenter:
    rest = copy.deepcopy(network)
    zero_branch(rest, branch)
    return Segmenter(rest, header, device, "float32")


def _titled(columns: list[list[Pixels]]) -> Pixels:
    """The pictures in a grid, frames of one width, with a title above each row."""
    width = min(512, *(column[0].shape[1] for column in columns))
    rows = []
    for title, pictures in zip(_ROWS, zip(*columns, strict=True), strict=True):
        sized = [_resized(picture, width) for picture in pictures]
        height = max(picture.shape[0] for picture in sized)
        padded = [
            np.pad(picture, ((0, height - len(picture)), (2, 2), (0, 0)), constant_values=255)
            for picture in sized
        ]
        row = np.hstack(padded)
        head = np.full((24, row.shape[1], 3), 255, np.uint8)
        cv2.putText(head, title, (6, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (30, 30, 30), 1)
        rows += [head, row]
    return np.asarray(np.vstack(rows), np.uint8)


def _resized(picture: Pixels, width: int) -> Pixels:
    height = round(picture.shape[0] * width / picture.shape[1])
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_NEAREST))


def _frames(options: Options) -> LabelledFrames:
    if not options.recipe.validate:
        raise UserError("the recipe validates on nothing, a study scores there: set `validate`")
    return open_data(options.recipe.validate[0], options.recipe.table, options.setup.roots)


def table(result: Result | None) -> str:
    """Each branch alone, both averaged, both joined, beside the paper's; then either zeroed."""
    paper = published()["contextnet"]
    ours: dict[str, float | None] = {}
    if result is not None:
        joint, context, detail = list(result["runs"])
        ours = {
            "context alone": miou(result, context),
            "detail alone": miou(result, detail),
            "ensemble": result["ensemble"]["miou_percent"],
            "joint": miou(result, joint),
        }
    rows = [
        [name, percent(ours.get(name)), percent(figure)]
        for name, figure in paper["ensemble"].items()
    ]
    heads = ["branches", f"mIoU, {scored_on(result)}", f"paper, {paper['measured_on']}"]
    return f"{markdown(heads, rows)}\n\n{zeroed_table(result)}"


def zeroed_table(result: Result | None) -> str:
    """A network with either branch zeroed: what Figure 2 shows, in figures the paper has not."""
    parts = {} if result is None else result["zeroed"]
    rows = [
        [title, percent(parts[key]["miou_percent"] if parts else None), "only pictures"]
        for key, title in (
            ("context", "joint, detail branch zeroed"),
            ("detail", "joint, context branch zeroed"),
            ("both", "joint"),
        )
    ]
    where = f"mIoU, here, {parts['both']['data']}" if parts else "mIoU, here"
    return markdown(["network", where, "paper, Figure 2"], rows)


def look_at_model(options: Options, result: Result) -> Result:
    """The same of weights that are there already: `options.model`."""
    path = model_path(options.model)
    frames = _frames(options)
    _, header = load_weights(path)
    if header.table != frames.table:
        raise UserError(
            f"{options.model} has {header.table.name} classes, the recipe's data "
            f"{frames.table.name}: --set classes={header.table.name}"
        )
    device = str(choose_device(options.setup.device))
    zeroed = look(path, frames, options.folder / PICTURE_NAME, device)
    return {**result, "model": options.model, "zeroed": zeroed}


BRANCHES = Study(
    "branches",
    "each branch alone, their ensemble, either zeroed (section 3.2, Figure 2)",
    recipes,
    table,
    measure,
)
ZEROED = Study(
    "zeroed",
    "weights that are there with either branch zeroed (Figure 2)",
    lambda _: {},
    zeroed_table,
    look_at_model,
)
