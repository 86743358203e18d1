"""Pruning from more feature maps against direct training (section 3.2, Network Pruning)."""

from __future__ import annotations

from statistics import mean

from contextnet_ros.files import UserError
from contextnet_ros.training.recipe import Recipe
from contextnet_ros.training.studies.study import (
    NOT_MEASURED,
    Options,
    Result,
    Study,
    changed,
    difference,
    direct,
    markdown,
    miou,
    published,
    scored_on,
    seeds,
)


def recipes(options: Options) -> dict[str, Recipe]:
    """The recipe with its pruning and without, for each seed from the recipe's own on.

    With `equal_steps` also without, but for as many steps as the stages have together.
    """
    recipe = options.recipe
    if recipe.prune is None:
        raise UserError("the recipe has no `prune`: choose one that has, as paper-pruned")
    plain = direct(recipe)
    total = recipe.steps + recipe.prune.steps * len(recipe.prune.widths)
    result = {}
    for seed in seeds(options):
        straight, pruned, long = names(recipe.variant, seed, recipe.seed)
        result[straight] = changed(plain, seed=seed, name=straight)
        result[pruned] = changed(recipe, seed=seed, name=pruned)
        if options.equal_steps:
            result[long] = changed(plain, seed=seed, name=long, steps=total)
    return result


def names(variant: str, seed: int, first: int) -> tuple[str, str, str]:
    """Folders; the direct training of the first seed is the one that other studies have too."""
    straight = variant if seed == first else f"{variant}-seed-{seed}"
    return straight, f"{variant}-pruned-seed-{seed}", f"{variant}-long-seed-{seed}"


def measure(options: Options, result: Result) -> Result:
    """Pruned minus direct in points of mIoU, by seed."""
    first, variant = options.recipe.seed, options.recipe.variant
    named = {str(seed): names(variant, seed, first) for seed in seeds(options)}
    columns = {
        column: {seed: miou(result, folders[place]) for seed, folders in named.items()}
        for place, column in enumerate(("direct", "pruned", "direct, equal steps"))
    }
    return {**result, "miou_percent": columns}


def table(result: Result | None) -> str:
    """A row for each seed and their mean, beside the paper's, which is on Cityscapes test."""
    paper = published()["contextnet"]["pruning"]
    columns = {} if result is None else result["miou_percent"]
    empty: dict[str, float | None] = {}
    straight, pruned, long = (
        columns.get(name, empty) for name in ("direct", "pruned", "direct, equal steps")
    )
    rows = [
        [f"seed {seed}", *_cells(straight[seed], pruned[seed], long.get(seed))] for seed in straight
    ]
    gains = [b - a for a, b in _pairs(straight, pruned)]
    if gains:
        means = [_mean(straight), _mean(pruned), _mean(long)]
        rows.append(["mean", *means, difference(gains)])
    else:
        rows.append(["mean", *[NOT_MEASURED] * 4])
    gain = paper["pruned"] - paper["direct"]
    rows.append(
        ["paper, Cityscapes test", f"{paper['direct']} %", f"{paper['pruned']} %", "-",
         f"{gain:+.1f}"]
    )  # fmt: skip
    heads = [f"mIoU, {scored_on(result)}", "direct", "pruned", "direct, as many steps"]
    return markdown([*heads, "pruned - direct"], rows)


def _pairs(
    straight: dict[str, float | None], pruned: dict[str, float | None]
) -> list[tuple[float, float]]:
    found = ((straight[seed], pruned[seed]) for seed in straight)
    return [(a, b) for a, b in found if a is not None and b is not None]


def _cells(straight: float | None, pruned: float | None, long: float | None) -> list[str]:
    gain = "-" if straight is None or pruned is None else difference([pruned - straight])
    return [*("-" if v is None else f"{v:.1f} %" for v in (straight, pruned, long)), gain]


def _mean(column: dict[str, float | None]) -> str:
    values = [value for value in column.values() if value is not None]
    return f"{mean(values):.1f} %" if values else "-"


PRUNING = Study(
    "pruning",
    "pruned from more feature maps against trained directly, some seeds each (section 3.2)",
    recipes,
    table,
    measure,
)
