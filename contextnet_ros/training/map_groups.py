"""Feature maps of a network that can only stay, go or be copied together.

What pruning and widening have in common: which convolutions make the same maps, and which read
them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from contextnet_ros.network import ContextNet
from contextnet_ros.network.blocks import Bottleneck, ConvUnit, SeparableConv
from contextnet_ros.network.contextnet import FusionUnit

Maps = torch.Tensor
"""For each map of another network, the index of the one that it is taken from."""


@dataclass
class MapGroup:
    """Feature maps that can only stay, go or be copied together.

    `filters`: convolutions that make them, whose l1 sums rank them where some go. `followers`:
    depth-wise ones, which work on the same maps without a vote.
    """

    filters: list[ConvUnit]
    followers: list[ConvUnit] = field(default_factory=list)


@dataclass
class MapPlan:
    """Groups of a network, and which groups, one after another, each convolution reads."""

    groups: list[MapGroup] = field(default_factory=list)
    inputs: dict[nn.Module, list[MapGroup]] = field(default_factory=dict)

    def group(self, *filters: ConvUnit) -> MapGroup:
        group = MapGroup(list(filters))
        self.groups.append(group)
        return group

    def read(self, reader: nn.Module, *groups: MapGroup) -> None:
        self.inputs[reader] = list(groups)


def plan_maps(network: ContextNet) -> MapPlan:
    """Return the groups of a network's maps, in the same order for every width that has the same
    residual sums, as all but some very narrow ones do."""
    plan = MapPlan()
    detail = _detail(plan, network.detail)
    context = _context(plan, network.context)
    if network.pyramid is not None:
        levels = []
        for level in _units(network.pyramid.levels):
            plan.read(level, context)
            levels.append(plan.group(level))
        plan.read(network.pyramid.merge, context, *levels)
        context = plan.group(network.pyramid.merge)
    if network.half_fusion is not None:
        assert network.half_detail is not None
        context = _fusion(plan, network.half_fusion, _detail(plan, network.half_detail), context)
    plan.read(network.classifier, _fusion(plan, network.fusion, detail, context))
    return plan


def paired_groups(one: ContextNet, other: ContextNet) -> list[tuple[MapGroup, MapGroup]]:
    """The groups of two widths of a network side by side; raises ValueError where they differ."""
    groups, others = plan_maps(one).groups, plan_maps(other).groups
    if [len(group.filters) for group in groups] != [len(group.filters) for group in others]:
        # Identities are added where counts are equal, which rounding of a few may make them.
        raise ValueError(f"of width {one.width:g} other maps are added up than of {other.width:g}")
    return list(zip(groups, others, strict=True))


def carry_over(
    source: ContextNet,
    target: ContextNet,
    maps: Sequence[Maps],
    read: Callable[[torch.Tensor, Maps], torch.Tensor],
) -> None:
    """Fill `target`, the same network of another width, with what makes and reads maps of `source`.

    `maps`: for each group of `plan_maps`, those that the maps of `target` are. `read`: the weights
    (out, in, h, w) of a convolution for the maps that it reads in `target`, of all its weights.
    """
    plan, other = plan_maps(source), plan_maps(target)
    outputs: dict[nn.Module, Maps] = {}
    twins: dict[nn.Module, nn.Module] = {source.classifier: target.classifier}
    for group, twin, chosen in zip(plan.groups, other.groups, maps, strict=True):
        made = (*group.filters, *group.followers), (*twin.filters, *twin.followers)
        for unit, its_twin in zip(*made, strict=True):
            outputs[unit] = chosen
            twins[unit] = its_twin
    maps_of = {id(group): chosen for group, chosen in zip(plan.groups, maps, strict=True)}
    for convolution, counterpart in twins.items():
        weight, makes = weight_of(convolution).detach(), outputs.get(convolution)
        if makes is not None:
            weight = weight[makes]
        if groups := plan.inputs.get(convolution):
            weight = read(weight, _joined(groups, maps_of))
        _copy(convolution, counterpart, weight, makes)


def _detail(plan: MapPlan, branch: nn.Sequential) -> MapGroup:
    first, *rest = branch
    assert isinstance(first, ConvUnit)
    group = plan.group(first)
    for layer in rest:
        assert isinstance(layer, SeparableConv)
        depthwise, pointwise = _units(layer)
        group.followers.append(depthwise)
        plan.read(pointwise, group)
        group = plan.group(pointwise)
    return group


def _context(plan: MapPlan, branch: nn.Sequential) -> MapGroup:
    stem, *blocks, last = branch
    assert isinstance(stem, ConvUnit)
    assert isinstance(last, ConvUnit)
    group = plan.group(stem)
    for block in blocks:
        assert isinstance(block, Bottleneck)
        expand, depthwise, project = _units(block.body)
        plan.read(expand, group)
        hidden = plan.group(expand)
        hidden.followers.append(depthwise)
        plan.read(project, hidden)
        if block.residual:
            group.filters.append(project)
        else:
            group = plan.group(project)
    plan.read(last, group)
    return plan.group(last)


def _fusion(plan: MapPlan, fusion: FusionUnit, detail: MapGroup, context: MapGroup) -> MapGroup:
    depthwise, pointwise = _units(fusion.context)
    context.followers.append(depthwise)
    plan.read(pointwise, context)
    plan.read(fusion.detail, detail)
    return plan.group(pointwise, fusion.detail)


def _units(layers: Iterable[nn.Module]) -> list[ConvUnit]:
    units = []
    for unit in layers:
        assert isinstance(unit, ConvUnit)
        units.append(unit)
    return units


def weight_of(unit: nn.Module) -> torch.Tensor:
    """Return a convolution's weights, (out, in, h, w)."""
    convolution = unit[0] if isinstance(unit, ConvUnit) else unit
    assert isinstance(convolution, nn.Conv2d)
    return convolution.weight


def _joined(groups: list[MapGroup], maps_of: dict[int, Maps]) -> Maps:
    """Indices into the concatenation of the groups' maps."""
    parts, offset = [], 0
    for group in groups:
        parts.append(maps_of[id(group)] + offset)
        offset += weight_of(group.filters[0]).shape[0]
    return torch.cat(parts)


@torch.no_grad()
def _copy(source: nn.Module, target: nn.Module, weight: torch.Tensor, maps: Maps | None) -> None:
    weight_of(target).copy_(weight)
    if isinstance(source, nn.Conv2d) and isinstance(target, nn.Conv2d):
        if source.bias is not None and target.bias is not None:
            target.bias.copy_(source.bias)
        return
    assert isinstance(source, ConvUnit)
    assert isinstance(target, ConvUnit)
    kept, filled = source[1].state_dict(), target[1].state_dict()
    for name, tensor in kept.items():
        filled[name].copy_(tensor[maps] if tensor.ndim else tensor)
