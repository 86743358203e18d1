"""Resolutions and sizes: Tables 4 and 5."""

from __future__ import annotations

from contextnet_ros.files import UserError
from contextnet_ros.labels import CITYSCAPES
from contextnet_ros.network import VARIANTS
from contextnet_ros.training.checkpoint import BEST_NAME
from contextnet_ros.training.recipe import Recipe
from contextnet_ros.training.studies.study import (
    NOT_MEASURED,
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


def recipes(options: Options) -> dict[str, Recipe]:
    """The recipe with each network in turn; raises UserError for one that is unknown."""
    for variant in options.variants:
        if variant not in VARIANTS:
            raise UserError(f"variant {variant!r} is unknown; choose from {', '.join(VARIANTS)}")
    recipe = direct(options.recipe)
    return {name: changed(recipe, variant=name, name=name) for name in options.variants}


def measure(options: Options, result: Result) -> Result:
    """Time the networks, where there is something to time them with."""
    if options.speeds is None:
        return result
    weights = {name: options.folder / name / BEST_NAME for name in result["runs"]}
    return {**result, "fps": options.speeds(weights)}


def table(result: Result | None) -> str:
    """Tables 4 and 5 beside the published ones."""
    return f"{sizes_table(result)}\n\n{classes_table(result)}"


def sizes_table(result: Result | None) -> str:
    """Table 4; frames per second with transfers in sequence."""
    paper = published()["contextnet"]
    speeds = {} if result is None else result.get("fps", {})
    rows = []
    for name, figures in paper["table_4"].items():
        run = None if result is None else result["runs"].get(name)
        rows.append(
            [
                name,
                NOT_MEASURED if run is None else f"{run['parameters']:,}",
                figures["parameters"],
                percent(miou(result, name)),
                percent(figures["miou"]),
                f"{speeds[name]:.1f}" if name in speeds else NOT_MEASURED,
                f"{figures['fps']:.1f}",
            ]
        )
    heads = ["network", "parameters", "paper", f"mIoU, {scored_on(result)}"]
    heads += [f"paper, {paper['measured_on']}", "fps at 1024 x 2048, here", "paper, Titan X"]
    return markdown(heads, rows)


def classes_table(result: Result | None) -> str:
    """Table 5: IoU by class, ours beside the paper's where the classes are Cityscapes'."""
    paper = published()["contextnet"]["table_5"]
    runs = {} if result is None else result["runs"]
    names = [name for name in (*paper, *runs) if name in paper or name in runs]
    names = list(dict.fromkeys(names))
    classes = list(next(iter(runs.values()))["best"]["iou_percent"]) if runs else CITYSCAPES.names
    cityscapes = list(classes) == list(CITYSCAPES.names)
    heads, columns = ["IoU"], []
    for name in names:
        scores = runs[name]["best"]["iou_percent"] if name in runs else {}
        heads.append(name)
        columns.append([_iou(scores.get(c), bool(scores)) for c in classes])
        if cityscapes and name in paper:
            heads.append("paper")
            columns.append([f"{value:.1f}" for value in paper[name]])
    return markdown(heads, list(zip(classes, *columns, strict=True)))


def _iou(value: float | None, measured: bool) -> str:
    if not measured:
        return NOT_MEASURED
    return "absent" if value is None else f"{value:.1f}"


VARIANTS_STUDY = Study(
    "variants", "networks of other resolutions and sizes (Tables 4 and 5)", recipes, table, measure
)
