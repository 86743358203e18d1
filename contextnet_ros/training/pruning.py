"""Pruning to fewer feature maps by the lowest l1 sum of filters (section 3.2, Network Pruning).

The paper starts from twice the maps and goes to 1.5, 1.25 and 1 times, training on after each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from contextnet_ros.files import UserError
from contextnet_ros.network import ContextNet
from contextnet_ros.training.map_groups import Maps, carry_over, paired_groups, plan_maps, weight_of


@dataclass(frozen=True)
class PruneStages:
    """`prune` of a recipe: what follows its own training, which has the recipe's `width`.

    `widths`: pruned to, one after another. `steps`: of training on after each. `learning_rate`:
    the highest of those, the recipe's where it is None. The paper prints the widths alone.
    """

    widths: tuple[float, ...]
    steps: int
    learning_rate: float | None = None


def prune(network: ContextNet, width: float) -> ContextNet:
    """A network of `width` whose filters are those of `network` with the largest l1 sums.

    Maps that a residual sum or the fusion adds are ranked by the sum over all filters that make
    them, and stay or go together; a depth-wise layer keeps the maps that it works on. Raises
    UserError where `width` is not less, or so little that rounding leaves more of some maps.
    """
    if width >= network.width:
        raise UserError(f"width {width:g} is not below the network's {network.width:g}")
    try:
        narrow = ContextNet(
            network.num_classes,
            network.variant,
            network.dropout.p,
            width=width,
            ppm=network.ppm,
        )
    except ValueError as error:
        raise UserError(str(error)) from error
    narrow.to(network.classifier.weight)
    kept = select_maps(network, narrow)
    carry_over(network, narrow, kept, lambda weight, maps: weight[:, maps])
    return narrow.train(network.training)


def select_maps(network: ContextNet, narrow: ContextNet) -> list[Maps]:
    """For each group of `network`, the maps with the largest l1 sums: as many as `narrow` has."""
    try:
        groups = paired_groups(network, narrow)
    except ValueError as error:
        raise UserError(f"{error}: choose another width") from error
    result = []
    for wide, small in groups:
        count, total = weight_of(small.filters[0]).shape[0], weight_of(wide.filters[0]).shape[0]
        if count > total:
            raise UserError(f"rounding leaves {count} maps of {total}: choose another width")
        sums = torch.stack([weight_of(unit).abs().sum((1, 2, 3)) for unit in wide.filters]).sum(0)
        result.append(torch.sort(torch.topk(sums, count).indices).values)
    return result


def zero_maps(network: ContextNet, kept: Sequence[Maps]) -> None:
    """Zero, in place, the filters of all other maps, and their normalization's scale and shift.

    What the pruned network has to equal, and how tests see that it does.
    """
    for group, maps in zip(plan_maps(network).groups, kept, strict=True):
        for unit in (*group.filters, *group.followers):
            gone = torch.ones(weight_of(unit).shape[0], dtype=torch.bool)
            gone[maps] = False
            normalization = unit[1]
            assert isinstance(normalization, nn.BatchNorm2d)
            with torch.no_grad():
                for tensor in (weight_of(unit), normalization.weight, normalization.bias):
                    tensor[gone] = 0
