"""What a training starts from: batch, weights, class weights, the mode of its layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from contextnet_ros.files import UserError
from contextnet_ros.network import ContextNet, WeightHeader
from contextnet_ros.training.auxiliary import AuxiliaryHead, TrainedNetwork
from contextnet_ros.training.branches import zero_branch
from contextnet_ros.training.datasets import LabelledFrames
from contextnet_ros.training.distributed import World
from contextnet_ros.training.recipe import Recipe
from contextnet_ros.training.tables import told_apart


def initial_model(
    recipe: Recipe, header: WeightHeader, start: tuple[ContextNet, WeightHeader] | None
) -> TrainedNetwork:
    """The network that `header` describes, with the weights of `start` if given, and its head.

    Raises UserError where `start` is another network or has other classes.
    """
    table = header.table
    network = ContextNet(
        table.num_classes, recipe.variant, recipe.dropout, width=recipe.width, ppm=recipe.ppm
    )
    if start is not None:
        weights, found = start
        if (found.network, found.table) != (header.network, table):
            raise UserError(
                f"init {recipe.init} is {found.network} with {told_apart(found.table, table)}, "
                f"the recipe wants {header.network} with {told_apart(table, found.table)}"
            )
        network.load_state_dict(weights.state_dict())
    if recipe.branch is not None:
        zero_branch(network, "detail" if recipe.branch == "context" else "context")
    auxiliary = AuxiliaryHead(network.context_channels, table.num_classes, recipe.dropout)
    return TrainedNetwork(network, auxiliary)


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


def class_weights(recipe: Recipe, sources: Sequence[LabelledFrames]) -> torch.Tensor | None:
    """1 / ln(c + frequency) of each class over the shares of the data, with a mean of one."""
    if recipe.class_weights is None:
        return None
    classes = sources[0].table.num_classes
    counts = np.zeros(classes)
    for entry, source in zip(recipe.train, sources, strict=True):
        labels = (source.label(index) for index in range(len(source)))
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
