"""The training loop."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from contextnet_ros.files import UserError
from contextnet_ros.inference import Segmenter
from contextnet_ros.inference.backend import choose_device
from contextnet_ros.inference.device import fastest_convolutions
from contextnet_ros.network import (
    ContextNet,
    NetworkSize,
    WeightHeader,
    save_weights,
)
from contextnet_ros.training.checkpoint import (
    BEST_NAME,
    AveragedWeights,
    load_checkpoint,
    make_room,
    save_batch,
    save_checkpoint,
)
from contextnet_ros.training.class_mix import ClassMix
from contextnet_ros.training.crop_device import Windows, render
from contextnet_ros.training.datasets import combined_licence
from contextnet_ros.training.distillation import Teachers
from contextnet_ros.training.distributed import World
from contextnet_ros.training.evaluation import evaluate
from contextnet_ros.training.means import Means
from contextnet_ros.training.objective import PARTS, Objective
from contextnet_ros.training.optimizers import learning_rate, make_optimizer
from contextnet_ros.training.precision import Precision
from contextnet_ros.training.recipe import Recipe
from contextnet_ros.training.recipe_values import as_setting
from contextnet_ros.training.record import Record
from contextnet_ros.training.sampling import AugmentedSamples, batches
from contextnet_ros.training.sources import Roots, Shelf, open_data
from contextnet_ros.training.start import (
    check_batch,
    check_labelled,
    class_weights,
    initial_model,
    read_init,
    training_mode,
)


class Training:
    """One run of a recipe in a folder; begins where that folder's checkpoint stands.

    `start`: weights to begin with, instead of the recipe's `init`. `augment`: who renders crops,
    the "loader" or the "device"; "auto" is the device where that is a GPU. `shelf`: data that other
    trainings of the same roots have read.
    Raises UserError before the first step for whatever is wrong with data, folder or recipe.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        roots: Roots = None,
        device: str = "auto",
        workers: int = 1,
        world: World | None = None,
        start: tuple[ContextNet, WeightHeader] | None = None,
        tensorboard: bool = False,
        augment: str = "auto",
        shelf: Shelf | None = None,
    ) -> None:
        self.recipe = recipe
        self.world = world or World()
        self.mix = ClassMix(recipe, self.world)
        self.folder = folder
        self.workers = workers
        self.device = choose_device(device)
        check_batch(recipe, self.world, self.device)
        self.augments = augment == "device" or (augment == "auto" and self.device.type == "cuda")
        if workers < 0:
            raise UserError(f"workers is {workers}; give 0 or more")
        self.table = recipe.table
        self.network_size = NetworkSize.parse(recipe.network_size)
        self.pruned = start is not None
        state = load_checkpoint(folder, recipe)
        if state is not None and "start_licences" in state:
            # All of the start is in the checkpoint; its file may be gone.
            start, self.start_licences = None, state["start_licences"]
        else:
            start = start or read_init(recipe, tell=self.world.leads)
            self.start_licences = [] if start is None else [start[1].data_licence]
        teachers = Teachers(recipe.teacher, self.table, self.device)
        entries = [*recipe.train, *recipe.validate]
        opened = [open_data(entry, self.table, roots) for entry in entries]
        self.header = WeightHeader(
            table=self.table,
            variant=recipe.variant,
            width=recipe.width,
            ppm=recipe.ppm,
            network_size=self.network_size,
            recipe=recipe.to_dict(),
            data_licence=combined_licence(
                [source.licence for source in opened[: len(recipe.train)]]
                + self.start_licences
                + teachers.licences
            ),
        )
        torch.manual_seed(recipe.seed)
        self.model = initial_model(recipe, self.header, start).to(self.device)
        # Faster for this network on CPUs and on GPUs, with the same results.
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = AveragedWeights(self.model, recipe.ema_decay)
        if self.world.leads:
            make_room(folder, self.model)
        self.model = self.world.synchronized(self.model, self.device)
        self.optimizer = make_optimizer(self.model, recipe)
        self.precision = Precision(recipe.precision, self.device)
        self.step = 0
        self.best = -math.inf
        self.seconds = 0.0
        self.since_log = Means()
        if state is not None:
            self._restore(state)
        self.record = Record(folder, self.step, tensorboard and self.world.leads)
        frames = (shelf or Shelf()).take(entries, opened)
        self.sources = frames[: len(recipe.train)]
        self.validation = frames[len(recipe.train) :]
        for name in check_labelled(recipe, self.sources):
            if self.world.leads and state is None:
                print(f"no training label holds class {name}: nothing of it will be learned")
        weights = class_weights(recipe, self.sources)
        self.objective = Objective(
            recipe,
            self.header,
            None if weights is None else weights.to(self.device),
            teachers,
            self.precision,
            self.world,
        )
        self.parallel = self.world.parallel(self.model)

    def _restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.average.module.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.precision.load_state_dict(state.get("precision", {}))
        torch.set_rng_state(state["torch_rng"])
        if "cuda_rng" in state and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_rng"], self.device)
        self.step, self.best, self.seconds = state["step"], state["best"], state["seconds"]
        self.since_log = Means(*state.get("since_log", ()))

    def checkpoint(self) -> None:
        """Write the whole state of the run; the leader does, for all."""
        if not self.world.leads:
            return
        state = {
            "recipe": self.recipe.to_dict(),
            "table": self.table.to_dict(),
            "start_licences": self.start_licences,
            "model": self.model.state_dict(),
            "average": self.average.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "precision": self.precision.state_dict(),
            "torch_rng": torch.get_rng_state(),
            "step": self.step,
            "best": self.best,
            "seconds": self.seconds,
            "since_log": (self.since_log.totals, self.since_log.count),
        }
        if self.device.type == "cuda":
            # Dropout's, which is not the CPU's.
            state["cuda_rng"] = torch.cuda.get_rng_state(self.device)
        save_checkpoint(self.folder, state)

    def _rendered(self, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (N, H, W, 3) and labels (N, H, W) of a loader's batch, uint8 on the device."""
        if isinstance(batch, Windows):
            images, labels = render(batch, self.device)
        else:
            images, labels = (part.to(self.device, non_blocking=True) for part in batch)
        return self.mix(images, labels, self.step)

    def _step(self, images: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
        """Learn from one batch; returns the parts of its loss, and `loss`, over all processes."""
        if not self.world.leads:
            # Else all processes would drop the same features. For each step anew, since checkpoints
            # hold the state of the leader's random numbers alone.
            torch.manual_seed(self.recipe.seed + self.world.rank * 1_000_003 + self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, self.step)
        parts = self.objective(self.parallel, images, labels)
        loss = torch.stack(list(parts.values())).sum()
        everywhere = self.world.total(torch.stack([loss, *parts.values()])) / self.world.size
        self.precision.backward(loss, self.optimizer)
        # Read only now: a GPU is at the gradients meanwhile.
        values = dict(zip(("loss", *parts), everywhere.tolist(), strict=True))
        if not math.isfinite(values["loss"]):
            raise self._not_finite(f"the loss is {values['loss']}", images, labels)
        try:
            self.precision.step(self.model, self.optimizer, self.recipe.gradient_clip)
        except FloatingPointError as error:
            raise self._not_finite(str(error), images, labels) from error
        self.average.update(self.model, self.step)
        self.step += 1
        return values

    @fastest_convolutions()  # crops have one size
    def run(self, stop: Callable[[], bool] = lambda: False) -> Path:
        """Train to the end, or until `stop()`; returns the path of the best weights so far."""
        recipe = self.recipe
        samples = AugmentedSamples(
            list(self.sources),
            [entry["share"] for entry in recipe.train],
            recipe.augmentation,
            self.network_size,
            recipe.seed,
            recipe.steps * recipe.batch,
            rendered=not self.augments,
        )
        loader = batches(
            samples,
            self.step,
            recipe.steps,
            recipe.batch,
            self.workers,
            self.world,
            pin_memory=self.device.type == "cuda",
        )
        progress = tqdm(
            loader,
            total=recipe.steps,
            initial=self.step,
            desc=recipe.name,
            unit="step",
            smoothing=0.05,
            mininterval=0.5 if sys.stderr.isatty() else 30,
            miniters=None if sys.stderr.isatty() else 1,
            disable=not self.world.leads,
        )
        training_mode(self.model, recipe.freeze_normalization)
        waiting_since = started = time.perf_counter()
        for batch in progress:
            wait = time.perf_counter() - waiting_since
            values = self._step(*self._rendered(batch))
            now = time.perf_counter()
            self.seconds += now - started
            self.since_log.add(**values, wait_s=wait, step_s=now - started)
            self.record.step(self.step, values, learning_rate(self.recipe, self.step - 1))
            started = now
            progress.set_postfix(
                loss=f"{self.since_log['loss']:.3f}",
                mIoU=f"{100 * max(self.best, 0):.1f}%",
                refresh=False,
            )
            if self.step % recipe.validate_every == 0 or self.step == recipe.steps:
                if self.world.leads:
                    self._validate(self.since_log)
                self.since_log = Means()
                self.checkpoint()
                started = time.perf_counter()
            elif self.step % recipe.checkpoint_every == 0:
                self.checkpoint()
            if self.world.any(stop(), self.device):
                self.checkpoint()
                break
            waiting_since = time.perf_counter()
        progress.close()
        self.record.close()
        return self.folder / BEST_NAME

    def _not_finite(self, what: str, images: torch.Tensor, labels: torch.Tensor) -> UserError:
        """Save the batch that did it; returns the error that says so."""
        paths = save_batch(self.folder, images, labels, self.step, self.world)
        best = self.folder / BEST_NAME
        # What a pruned network has come to would be widened again to the recipe's first width.
        init = (
            f" --set {as_setting('init', str(best))}" if best.is_file() and not self.pruned else ""
        )
        return UserError(
            f"{what} at step {self.step}: train with a lower learning_rate (now "
            f"{self.recipe.learning_rate}) or a gradient_clip in another folder, -o NEW{init}; "
            f"the batch is in {', '.join(map(str, paths))}"
        )

    def _validate(self, means: Means) -> None:
        """Score the averaged weights in float32, keep them if they are the best."""
        network = self.average.module.network
        segmenter = Segmenter(network, self.header, str(self.device), "float32")
        scores = [
            {"network_size": str(self.network_size), **evaluate(segmenter, source)}
            for source in self.validation
        ]
        entry = {
            "step": self.step,
            "loss": round(means["loss"], 4),
            "losses": {name: round(means[name], 4) for name in PARTS if name in means},
            "learning_rate": learning_rate(self.recipe, self.step - 1),
            "loader_wait_share": round(means["wait_s"] / max(means["step_s"], 1e-9), 4),
            "train_seconds": round(self.seconds, 1),
            "scores": scores,
        }
        self.record.validated(entry)
        self.record.show(self.step, segmenter, self.validation)
        mean = (
            # A set without a scored pixel has no mIoU.
            float(np.mean([score["miou_percent"] or 0.0 for score in scores])) / 100
            if scores
            else -means["loss"]
        )
        if mean > self.best:
            self.best = mean
            header = WeightHeader(**{**vars(self.header), "scores": scores})
            save_weights(self.folder / BEST_NAME, network.cpu(), header)
            network.to(self.device)
