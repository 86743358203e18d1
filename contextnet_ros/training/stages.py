"""A recipe carried out: one training, or a training and the stages of pruning after it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from contextnet_ros.files import UserError, atomic_write
from contextnet_ros.inference.backend import choose_device
from contextnet_ros.network import ContextNet, WeightHeader, load_weights, save_weights
from contextnet_ros.training.checkpoint import BEST_NAME, load_checkpoint
from contextnet_ros.training.distributed import World
from contextnet_ros.training.loop import Training
from contextnet_ros.training.pruning import prune
from contextnet_ros.training.recipe import Recipe
from contextnet_ros.training.record import LOG_NAME
from contextnet_ros.training.sources import Roots, Shelf

Runner = Callable[[Training], Path]
"""Takes a training as far as it goes, as `Training.run` does; may stop before its end."""


@dataclass(frozen=True)
class Setup:
    """Where trainings find their data, what they run on, and Training's other options; the data
    that they share is read once."""

    roots: Roots = None
    device: str = "auto"
    workers: int = 1
    world: World = field(default_factory=World)
    tensorboard: bool = False
    augment: str = "auto"
    shelf: Shelf = field(default_factory=Shelf)


@dataclass(frozen=True)
class Outcome:
    """How far a recipe has come: its best weights so far, steps done and wanted, seconds."""

    best: Path
    step: int
    steps: int
    seconds: float

    @property
    def finished(self) -> bool:
        return self.step >= self.steps


@dataclass(frozen=True)
class Stage:
    """One training among those of a recipe, in a folder of its own."""

    recipe: Recipe
    folder: Path

    def progress(self) -> tuple[int, float]:
        """Steps done and their seconds; raises UserError if the folder holds another recipe."""
        state = load_checkpoint(self.folder, self.recipe)
        return (0, 0.0) if state is None else (state["step"], state["seconds"])


def stages(recipe: Recipe, folder: Path) -> list[Stage]:
    """The trainings of a recipe in their order: itself in `folder`, or with `prune` one for each
    width in `folder/1-width-2`, `folder/2-width-1.5` and so on.
    """
    if recipe.prune is None:
        return [Stage(recipe, folder)]
    rate = recipe.prune.learning_rate or recipe.learning_rate
    first = replace(recipe, prune=None)
    after = [
        replace(first, width=width, steps=recipe.prune.steps, learning_rate=rate, init=None)
        for width in recipe.prune.widths
    ]
    return [
        Stage(
            replace(stage, name=f"{recipe.name}, width {stage.width:g}"),
            folder / f"{place}-width-{stage.width:g}",
        )
        for place, stage in enumerate([first, *after], start=1)
    ]


def progress(recipe: Recipe, folder: Path) -> Outcome:
    """How far the recipe has come in `folder`; raises UserError if another one stands there."""
    done = [(stage, *stage.progress()) for stage in stages(recipe, folder)]
    return Outcome(
        folder / BEST_NAME,
        sum(step for _, step, _ in done),
        sum(stage.recipe.steps for stage, _, _ in done),
        sum(seconds for _, _, seconds in done),
    )


def train(
    recipe: Recipe, folder: Path, setup: Setup | None = None, run: Runner = Training.run
) -> Outcome:
    """Carry out a recipe in `folder`, from where it stands there to its end or until `run` stops.

    Each stage of pruning starts from the best weights of the one before. At the end `folder` has
    the best weights and the log of them all, as after a single training. Raises UserError.
    """
    setup = setup or Setup()
    parts = stages(recipe, folder)
    for place, stage in enumerate(parts):
        step = stage.progress()[0]
        if not setup.world.agrees(step, choose_device(setup.device)):
            raise UserError(
                f"{stage.folder} stands at step {step} for this process and elsewhere for another: "
                "give an output folder that all machines share"
            )
        if step >= stage.recipe.steps:
            continue
        start = None if place == 0 else _pruned(parts[place - 1], stage.recipe.width)
        training = Training(
            stage.recipe,
            stage.folder,
            setup.roots,
            setup.device,
            setup.workers,
            setup.world,
            start=start,
            tensorboard=setup.tensorboard,
            augment=setup.augment,
            shelf=setup.shelf,
        )
        run(training)
        if training.step < stage.recipe.steps:
            break
    else:
        if recipe.prune is not None and setup.world.leads:
            _conclude(recipe, folder, parts)
    outcome = progress(recipe, folder)
    if setup.world.leads and outcome.finished and not outcome.best.is_file():
        raise UserError(
            f"{outcome.best} of a finished training is gone: bring it back, or train again with "
            "another -o"
        )
    return outcome


def _pruned(stage: Stage, width: float) -> tuple[ContextNet, WeightHeader]:
    network, header = load_weights(stage.folder / BEST_NAME)
    return prune(network, width), replace(header, width=width, scores=[])


def _conclude(recipe: Recipe, folder: Path, parts: list[Stage]) -> None:
    """Write the last stage's weights with the whole recipe, and one log with steps counted on."""
    network, header = load_weights(parts[-1].folder / BEST_NAME)
    save_weights(folder / BEST_NAME, network, replace(header, recipe=recipe.to_dict()))
    lines, before = [], 0
    for stage in parts:
        for line in (stage.folder / LOG_NAME).read_text().splitlines():
            entry = json.loads(line)
            entry["step"] += before
            lines.append(json.dumps({**entry, "width": stage.recipe.width}))
        before += stage.recipe.steps
    with atomic_write(folder / LOG_NAME) as temporary:
        temporary.write_text("\n".join(lines) + "\n")
