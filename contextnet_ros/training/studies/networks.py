"""The pruned network among those that the paper compares it with: Table 6."""

from __future__ import annotations

from contextnet_ros.training.recipe import Recipe
from contextnet_ros.training.studies import pruning_gain
from contextnet_ros.training.studies.study import (
    NOT_MEASURED,
    Options,
    Result,
    Study,
    markdown,
    percent,
    published,
)


def recipes(options: Options) -> dict[str, Recipe]:
    """The pruned training of the recipe's own seed, which study pruning has too."""
    name = folder_of(options.recipe)
    return {name: pruning_gain.recipes(options)[name]}


def folder_of(recipe: Recipe) -> str:
    """Name of the training whose weights stand for ContextNet in Table 6."""
    return pruning_gain.names(recipe.variant, recipe.seed, recipe.seed)[1]


def table(result: Result | None) -> str:
    """Table 6 with ours, which is scored on validation data: the test labels are the server's."""
    row = ["ours", NOT_MEASURED, NOT_MEASURED, NOT_MEASURED, "here"]
    if result is not None:
        ((name, run),) = result["runs"].items()
        best = run["best"]
        # Categories are Cityscapes'; other classes have none.
        categories = best.get("category_miou_percent")
        row = [
            name,
            f"{run['parameters'] / 1e6:.2f}",
            percent(best["miou_percent"]),
            "-" if categories is None else percent(categories),
            f"here, {best['data']}",
        ]
    rows = [row]
    for name, figures in published()["contextnet"]["table_6"].items():
        category = figures["category_miou"]
        rows.append(
            [
                name,
                str(figures["parameters"]),
                percent(figures["miou"]),
                "-" if category is None else percent(category),
                "paper, Cityscapes test",
            ]
        )
    heads = ["network", "parameters, M", "class mIoU", "category mIoU", "measured on"]
    return markdown(heads, rows)


NETWORKS = Study("networks", "the pruned network among others (Table 6)", recipes, table)
