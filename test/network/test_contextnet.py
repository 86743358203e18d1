"""The network against the paper's figures."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from contextnet_ros.network import VARIANTS, ContextNet, count_parameters, fold_batch_norm

KINDS = [(variant, 1.0, False) for variant in VARIANTS] + [
    ("cn14", 2.0, False),
    ("cn14", 0.3, False),
    ("cn14", 1.0, True),
    ("cn124", 1.25, True),
]
"""Every variant, some widths, and pyramid pooling."""


def randomise_statistics(network: nn.Module, seed: int = 0) -> None:
    """Batch-norm statistics as after a training; freshly initialised ones hide folding errors."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            shape = module.running_mean.shape
            module.running_mean.copy_(torch.randn(shape, generator=generator) * 0.5)
            module.running_var.copy_(torch.rand(shape, generator=generator) + 0.5)
            module.weight.data.copy_(torch.rand(shape, generator=generator) + 0.5)
            module.bias.data.copy_(torch.randn(shape, generator=generator) * 0.5)


def test_cn14_has_the_published_parameter_count() -> None:
    network = ContextNet(num_classes=19)
    assert count_parameters(network) == 856_851
    assert count_parameters(fold_batch_norm(network)) == 846_179


@pytest.mark.parametrize("variant", ["cn18", "cn12"])
def test_another_context_resolution_costs_no_parameter(variant: str) -> None:
    assert count_parameters(ContextNet(variant=variant)) == 856_851


def test_cn124_has_the_printed_count_however_cn14_s_was_cut_to_two_digits() -> None:
    # cn14 is printed as 0.85: 856,851 cut off, or the 846,179 of the folded network rounded.
    network = ContextNet(variant="cn124")
    assert count_parameters(network) // 10_000 == 93
    assert round(count_parameters(fold_batch_norm(network)) / 1e6, 2) == 0.93


@pytest.mark.parametrize(("variant", "printed"), [("cn14-500", 490_459), ("cn14-160", 159_387)])
def test_small_networks_are_within_one_percent_of_the_printed_counts(
    variant: str, printed: int
) -> None:
    assert count_parameters(ContextNet(variant=variant)) == pytest.approx(printed, rel=0.01)


def test_a_width_multiplies_every_feature_map() -> None:
    wide = ContextNet(width=1.5).state_dict()
    for name, tensor in ContextNet().state_dict().items():
        if name.endswith("running_mean"):
            assert wide[name].shape[0] == 1.5 * tensor.shape[0], name


@pytest.mark.parametrize("width", [0, -1, 17])
def test_an_impossible_width_is_named(width: float) -> None:
    with pytest.raises(ValueError, match=f"width {width} is outside"):
        ContextNet(width=width)


@pytest.mark.parametrize(
    ("variant", "context", "multiple"),
    [("cn14", 2, 32), ("cn18", 1, 64), ("cn12", 4, 16), ("cn124", 2, 32)],
)
def test_the_context_branch_sees_its_resolution(variant: str, context: int, multiple: int) -> None:
    network = ContextNet(variant=variant).eval()
    assert network.context_features(torch.rand(1, 3, 64, 128)).shape[2:] == (context, 2 * context)
    assert network.size_multiple == multiple


def test_cn124_looks_at_half_resolution_too() -> None:
    network = ContextNet(variant="cn124").eval()
    full, half = network.detail_features(torch.rand(1, 3, 64, 128))
    assert full.shape[2:] == (8, 16)
    assert half.shape[2:] == (4, 8)


def test_context_branch_has_the_38_layers_of_section_2_2() -> None:
    convolutions = [m for m in ContextNet().context.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 38


def test_strides_and_channels_are_those_of_tables_2_and_3() -> None:
    network = ContextNet().eval()
    images = torch.rand(1, 3, 64, 128)
    assert network.context_features(images).shape == (1, 128, 2, 4)
    assert network.detail_features(images)[0].shape == (1, 128, 8, 16)
    assert network.coarse_logits(images).shape == (1, 19, 8, 16)


@pytest.mark.parametrize(("variant", "width", "ppm"), KINDS)
def test_every_convolution_but_the_classifier_is_batch_normalized(
    variant: str, width: float, ppm: bool
) -> None:
    network = ContextNet(variant=variant, width=width, ppm=ppm)
    convolutions = sum(isinstance(m, nn.Conv2d) for m in network.modules())
    normalizations = sum(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    assert normalizations == convolutions - 1


@pytest.mark.parametrize(("variant", "width", "ppm"), KINDS)
def test_folding_keeps_the_logits_on_random_statistics(
    variant: str, width: float, ppm: bool
) -> None:
    torch.manual_seed(0)
    network = ContextNet(num_classes=11, variant=variant, width=width, ppm=ppm).eval()
    randomise_statistics(network)
    folded = fold_batch_norm(network)
    images = torch.randn(2, 3, 64, 128)
    with torch.no_grad():
        expected, found = network(images), folded(images)
    assert expected.std() > 1e-3, "constant logits would compare equal whatever folding does"
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_folding_leaves_the_original_alone() -> None:
    network = ContextNet(num_classes=11).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    fold_batch_norm(network)
    assert network.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize(("variant", "width", "ppm"), KINDS)
def test_logits_have_the_size_of_the_image(variant: str, width: float, ppm: bool) -> None:
    network = ContextNet(num_classes=5, variant=variant, width=width, ppm=ppm).eval()
    for size in ((1, 1), (31, 33), (64, 128), (97, 131)):
        with torch.no_grad():
            logits = network(torch.rand(1, 3, *size))
        assert logits.shape == (1, 5, *size)
        assert torch.isfinite(logits).all()


@pytest.mark.parametrize(("variant", "width", "ppm"), KINDS)
def test_every_parameter_takes_part_in_the_logits(variant: str, width: float, ppm: bool) -> None:
    torch.manual_seed(0)
    network = ContextNet(num_classes=5, variant=variant, width=width, ppm=ppm).eval()
    # Statistics of a batch would take out a shift before them: its gradient is rounding alone.
    randomise_statistics(network)
    network(torch.rand(2, 3, 64, 64)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


def test_padding_is_at_the_bottom_and_right() -> None:
    network = ContextNet(num_classes=5).eval()
    randomise_statistics(network)
    images = torch.randn(1, 3, 40, 50)
    padded = torch.zeros(1, 3, 64, 64)
    padded[..., :40, :50] = images
    with torch.no_grad():
        torch.testing.assert_close(network(images), network(padded)[..., :40, :50])


def test_relu6_stands_where_the_paper_puts_it() -> None:
    def activations(module: nn.Module) -> int:
        return sum(isinstance(m, nn.ReLU6) for m in module.modules())

    network = ContextNet()
    # Four of the detail branch (none between depth-wise and point-wise), two in each of the 12
    # bottlenecks, the context branch's two convolutions, the fusion's depth-wise and its sum.
    assert activations(network.detail) == 4
    assert activations(network.context) == 2 * 12 + 2
    assert activations(network.fusion) == 2


def test_unknown_variant_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'cn99'.*cn14"):
        ContextNet(variant="cn99")
