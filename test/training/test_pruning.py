"""The pruned network against the unpruned one with the same maps zeroed."""

from __future__ import annotations

import copy

import pytest
import torch
from random_network import random_network

from contextnet_ros.files import UserError
from contextnet_ros.network import VARIANTS, ContextNet
from contextnet_ros.training.pruning import prune, select_maps, zero_maps


@pytest.mark.parametrize(
    ("variant", "before", "after", "ppm"),
    [
        *((variant, 1.0, 0.6, False) for variant in VARIANTS),
        ("cn14", 1.0, 0.5, True),
        ("cn124", 0.8, 0.4, True),
        ("cn14-160", 2.0, 1.5, False),
    ],
)
@torch.no_grad()
def test_pruned_logits_are_those_with_the_maps_and_their_normalization_zeroed(
    variant: str, before: float, after: float, ppm: bool
) -> None:
    network = random_network(variant, before, ppm).double()
    pruned = prune(network, after)
    assert (pruned.variant, pruned.width, pruned.ppm) == (variant, after, ppm)
    zeroed = copy.deepcopy(network)
    zero_maps(zeroed, select_maps(network, pruned))
    images = torch.randn(1, 3, 64, 128, dtype=torch.float64)
    expected = zeroed.coarse_logits(images)
    assert expected.std(dim=(0, 2, 3)).min() > 1e-2, "constant logits would prove nothing"
    assert (expected - network.coarse_logits(images)).abs().max() > 0.1
    torch.testing.assert_close(pruned.coarse_logits(images), expected, atol=1e-5, rtol=0)


def test_the_filters_with_the_lowest_l1_sum_go() -> None:
    network = random_network("cn14-160", 1.0)
    # The first detail layer stands alone: its filters' sums decide, and nothing else.
    stem = network.detail[0][0]
    sums = stem.weight.detach().abs().sum((1, 2, 3))
    pruned = prune(network, 0.5)
    expected = stem.weight[sums > sums.sort().values[len(sums) // 2 - 1]]
    assert torch.equal(pruned.detail[0][0].weight, expected)


def test_maps_of_a_residual_sum_are_ranked_over_all_that_make_them() -> None:
    network = random_network("cn14-160", 1.0)
    blocks = network.context
    # The stem and the first two bottlenecks make the same 16 maps, each adding to the last.
    makers = [blocks[0], blocks[1].body[2], blocks[2].body[2]]
    with torch.no_grad():
        for convolution, _, *_ in makers:
            convolution.weight[:8] *= 0.01
        makers[2][0].weight[3] *= 1e6
    pruned = prune(network, 9 / 16).context
    kept = [3, *range(8, 16)]
    for maker, small in zip(makers, [pruned[0], pruned[1].body[2], pruned[2].body[2]], strict=True):
        assert torch.equal(small[1].bias, maker[1].bias[kept])
    assert torch.equal(pruned[0][0].weight, makers[0][0].weight[kept])


def test_the_papers_steps_end_at_cn14() -> None:
    network = ContextNet(3, width=2.0)
    for width in (1.5, 1.25, 1.0):
        network = prune(network, width)
    shapes = {name: tensor.shape for name, tensor in ContextNet(3).state_dict().items()}
    assert {name: tensor.shape for name, tensor in network.state_dict().items()} == shapes


def test_the_original_stays_and_training_mode_is_kept() -> None:
    network = random_network("cn14-160", 1.0).train()
    before = copy.deepcopy(network.state_dict())
    assert prune(network, 0.5).training
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("width", [1.0, 1.2, 0.0])
def test_a_width_that_prunes_nothing_or_everything_is_refused(width: float) -> None:
    with pytest.raises(UserError, match=f"width {width:g}"):
        prune(ContextNet(3, "cn14-160"), width)


def test_a_width_whose_rounding_makes_other_residual_sums_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"of width 1 other maps are added up than of 0\.07: choose"
    ):
        prune(random_network("cn14-160", 1), 0.07)
