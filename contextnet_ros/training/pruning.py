"""Pruning to fewer feature maps by the lowest l1 sum of filters (section 3.2, Network Pruning).

The paper starts from twice the maps and goes to 1.5, 1.25 and 1 times, training on after each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from contextnet_ros.files import UserError
from contextnet_ros.network import ContextNet
from contextnet_ros.network.blocks import Bottleneck, ConvUnit, SeparableConv
from contextnet_ros.network.contextnet import FusionUnit


@dataclass(frozen=True)
class PruneStages:
    """`prune` of a recipe: what follows its own training, which has the recipe's `width`.

    `widths`: pruned to, one after another. `steps`: of training on after each. `learning_rate`:
    the highest of those, the recipe's where it is None. The paper prints the widths alone.
    """

    widths: tuple[float, ...]
    steps: int
    learning_rate: float | None = None


Maps = torch.Tensor
"""Indices of the feature maps that stay, in order."""


@dataclass
class _Group:
    """Feature maps that can only stay or go together.

    `filters`: convolutions that make them, whose l1 sums rank them. `followers`: depth-wise ones
    on them, which keep the same maps without a vote.
    """

    filters: list[ConvUnit]
    followers: list[ConvUnit] = field(default_factory=list)


@dataclass
class _Plan:
    """Groups of the wide network, and which groups, one after another, each convolution reads."""

    groups: list[_Group] = field(default_factory=list)
    inputs: dict[nn.Module, list[_Group]] = field(default_factory=dict)

    def group(self, *filters: ConvUnit) -> _Group:
        group = _Group(list(filters))
        self.groups.append(group)
        return group

    def read(self, reader: nn.Module, *groups: _Group) -> None:
        self.inputs[reader] = list(groups)


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
    wide_plan, narrow_plan = _plan(network), _plan(narrow)
    pairs = zip(wide_plan.groups, narrow_plan.groups, kept, strict=True)
    outputs: dict[nn.Module, Maps] = {}
    twins: dict[nn.Module, nn.Module] = {network.classifier: narrow.classifier}
    for wide_group, narrow_group, maps in pairs:
        for one, other in zip(
            (*wide_group.filters, *wide_group.followers),
            (*narrow_group.filters, *narrow_group.followers),
            strict=True,
        ):
            outputs[one] = maps
            twins[one] = other
    maps_of = {id(group): maps for group, maps in zip(wide_plan.groups, kept, strict=True)}
    for wide, small in twins.items():
        groups = wide_plan.inputs.get(wide)
        _copy(wide, small, outputs.get(wide), _joined(groups, maps_of) if groups else None)
    return narrow.train(network.training)


def select_maps(network: ContextNet, narrow: ContextNet) -> list[Maps]:
    """For each group of `network`, the maps with the largest l1 sums: as many as `narrow` has."""
    result = []
    for wide, small in zip(_plan(network).groups, _plan(narrow).groups, strict=True):
        count, total = _weight(small.filters[0]).shape[0], _weight(wide.filters[0]).shape[0]
        if count > total:
            raise UserError(f"rounding leaves {count} maps of {total}: choose another width")
        sums = torch.stack([_weight(unit).abs().sum((1, 2, 3)) for unit in wide.filters]).sum(0)
        result.append(torch.sort(torch.topk(sums, count).indices).values)
    return result


def zero_maps(network: ContextNet, kept: Sequence[Maps]) -> None:
    """Zero, in place, the filters of all other maps, and their normalization's scale and shift.

    What the pruned network has to equal, and how tests see that it does.
    """
    for group, maps in zip(_plan(network).groups, kept, strict=True):
        for unit in (*group.filters, *group.followers):
            gone = torch.ones(_weight(unit).shape[0], dtype=torch.bool)
            gone[maps] = False
            normalization = unit[1]
            assert isinstance(normalization, nn.BatchNorm2d)
            with torch.no_grad():
                for tensor in (_weight(unit), normalization.weight, normalization.bias):
                    tensor[gone] = 0


def _plan(network: ContextNet) -> _Plan:
    plan = _Plan()
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


def _detail(plan: _Plan, branch: nn.Sequential) -> _Group:
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


def _context(plan: _Plan, branch: nn.Sequential) -> _Group:
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


def _fusion(plan: _Plan, fusion: FusionUnit, detail: _Group, context: _Group) -> _Group:
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


def _weight(unit: nn.Module) -> torch.Tensor:
    convolution = unit[0] if isinstance(unit, ConvUnit) else unit
    assert isinstance(convolution, nn.Conv2d)
    return convolution.weight


def _joined(groups: list[_Group], maps_of: dict[int, Maps]) -> Maps:
    """Indices into the concatenation of the groups' maps."""
    parts, offset = [], 0
    for group in groups:
        parts.append(maps_of[id(group)] + offset)
        offset += _weight(group.filters[0]).shape[0]
    return torch.cat(parts)


@torch.no_grad()
def _copy(wide: nn.Module, small: nn.Module, outputs: Maps | None, inputs: Maps | None) -> None:
    weight = _weight(wide)
    if outputs is not None:
        weight = weight[outputs]
    if inputs is not None:
        weight = weight[:, inputs]
    _weight(small).copy_(weight)
    if isinstance(wide, nn.Conv2d) and isinstance(small, nn.Conv2d):
        if wide.bias is not None and small.bias is not None:
            small.bias.copy_(wide.bias)
        return
    assert isinstance(wide, ConvUnit)
    assert isinstance(small, ConvUnit)
    source, target = wide[1].state_dict(), small[1].state_dict()
    for name, tensor in source.items():
        target[name].copy_(tensor[outputs] if tensor.ndim else tensor)
