"""What a training starts from: batch, weights, class weights, the mode of its layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from contextnet_ros.files import UserError
from contextnet_ros.inference import model_path
from contextnet_ros.labels import IGNORE_ID, ClassTable
from contextnet_ros.network import ContextNet, WeightHeader, load_weights
from contextnet_ros.training.auxiliary import AuxiliaryHead, TrainedNetwork
from contextnet_ros.training.branches import zero_branch
from contextnet_ros.training.datasets import LabelledFrames
from contextnet_ros.training.distributed import World
from contextnet_ros.training.recipe import Recipe
from contextnet_ros.training.widening import widen


def read_init(recipe: Recipe, tell: bool) -> tuple[ContextNet, WeightHeader] | None:
    """The recipe's `init` and its header, if it has one; `tell`: say so if it will be widened.

    Raises UserError for a file that is no weight file or is not there.
    """
    if recipe.init is None:
        return None
    network, header = load_weights(model_path(recipe.init))
    if tell and header.width < recipe.width:
        print(f"init {recipe.init} is {header.network}: widened to {recipe.width:g}")
    return network, header


def initial_model(
    recipe: Recipe, header: WeightHeader, start: tuple[ContextNet, WeightHeader] | None
) -> TrainedNetwork:
    """The network that `header` describes, with the weights of `start` if given, and its head.

    Where `start` has other classes, those that both name keep their weights in the classifier, and
    the others begin anew. Where it is narrower it is widened, and says the same. Raises UserError
    where it is another network.
    """
    table = header.table
    network = ContextNet(
        table.num_classes, recipe.variant, recipe.dropout, width=recipe.width, ppm=recipe.ppm
    )
    if start is not None:
        weights, found = start
        # By what is printed of a width, which may be 4 / 3.
        same = found.network == header.network
        kind = (found.variant, found.ppm) == (header.variant, header.ppm)
        if not same and (not kind or found.width > header.width):
            raise UserError(
                f"init {recipe.init} is {found.network}, the recipe wants {header.network}: give "
                "variant and ppm as the weights have them and at least their width, or other "
                "weights"
            )
        if not same:
            try:
                weights = widen(weights, header.width)
            except ValueError as error:
                raise UserError(f"init {recipe.init}: {error}") from error
        network.load_state_dict(_with_classes(weights, found.table, network, table))
    if recipe.branch is not None:
        zero_branch(network, "detail" if recipe.branch == "context" else "context")
    auxiliary = AuxiliaryHead(network.context_channels, table.num_classes, recipe.dropout)
    return TrainedNetwork(network, auxiliary)


def _with_classes(
    weights: ContextNet, theirs: ClassTable, network: ContextNet, ours: ClassTable
) -> dict[str, torch.Tensor]:
    """The state of `weights` for `network`, whose classifier has the classes of `ours`."""
    state = weights.state_dict()
    for part in ("weight", "bias"):
        rows = getattr(network.classifier, part).detach().clone()
        for place, name in enumerate(ours.names):
            if name in theirs.names:
                rows[place] = state[f"classifier.{part}"][theirs.names.index(name)]
        state[f"classifier.{part}"] = rows
    return state


def check_batch(recipe: Recipe, world: World, device: torch.device) -> None:
    """Raise UserError for a batch that the processes can't share, or that has no variance."""
    if recipe.batch % world.size:
        raise UserError(f"batch {recipe.batch} can't be shared by {world.size} processes")
    # Of several GPUs statistics are taken together.
    apart = world.size == 1 or device.type == "cpu"
    if apart and recipe.batch == world.size and recipe.leaves_one_value:
        raise UserError(
            f"batch is {recipe.batch} for {world.size} process(es) and leaves one value of a "
            "feature, which batch normalization can't use: give twice as much, or "
            "freeze_normalization with an init"
        )


def check_labelled(recipe: Recipe, sources: Sequence[LabelledFrames]) -> list[str]:
    """Names of the classes that no label holds, from which nothing will be learned of them.

    Raises UserError for a source without any class in its labels. A teacher knows them all.
    """
    if recipe.teacher:
        return []
    missing = set(range(sources[0].table.num_classes))
    for source in sources:
        labelled = False
        for index in tqdm(range(len(source)), desc=f"counting {source.description}", delay=2):
            classes = set(np.unique(source.label(index)).tolist()) - {IGNORE_ID}
            labelled = labelled or bool(classes)
            missing -= classes
            if labelled and not missing:
                break
        if not labelled:
            raise UserError(
                f"{source.description}: no pixel of its labels belongs to a class; compare the "
                "values in them with the class table and its `ignore`, or give a teacher"
            )
    return [sources[0].table.names[class_id] for class_id in sorted(missing)]


def class_weights(recipe: Recipe, sources: Sequence[LabelledFrames]) -> torch.Tensor | None:
    """1 / ln(c + frequency) of each class over the shares of the data, with a mean of one."""
    if recipe.class_weights is None:
        return None
    classes = sources[0].table.num_classes
    counts = np.zeros(classes)
    for entry, source in zip(recipe.train, sources, strict=True):
        frames = tqdm(range(len(source)), desc=f"counting {source.description}", delay=2)
        labels = (source.label(index) for index in frames)
        seen = sum(np.bincount(label.ravel(), minlength=256) for label in labels)
        counts += np.asarray(seen)[:classes] / np.sum(seen) * entry["share"]
    weights = 1 / np.log(recipe.class_weights + counts / counts.sum())
    return torch.tensor(weights / weights.mean(), dtype=torch.float32)


def training_mode(model: nn.Module, freeze_normalization: bool) -> None:
    """Training mode; with frozen normalization its statistics stay, and are used, as they are."""
    model.train()
    if freeze_normalization:
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
