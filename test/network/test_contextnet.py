"""The network against the paper's figures."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from contextnet_ros.network import ContextNet, count_parameters, fold_batch_norm


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


def test_context_branch_has_the_38_layers_of_section_2_2() -> None:
    convolutions = [m for m in ContextNet().context.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 38


def test_strides_and_channels_are_those_of_tables_2_and_3() -> None:
    network = ContextNet().eval()
    images = torch.rand(1, 3, 64, 128)
    assert network.context_features(images).shape == (1, 128, 2, 4)
    assert network.detail(images).shape == (1, 128, 8, 16)
    assert network.coarse_logits(images).shape == (1, 19, 8, 16)


def test_every_convolution_but_the_classifier_is_batch_normalized() -> None:
    network = ContextNet()
    convolutions = sum(isinstance(m, nn.Conv2d) for m in network.modules())
    normalizations = sum(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    assert normalizations == convolutions - 1


def test_folding_keeps_the_logits_on_random_statistics() -> None:
    torch.manual_seed(0)
    network = ContextNet(num_classes=11).eval()
    randomise_statistics(network)
    folded = fold_batch_norm(network)
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected, found = network(images), folded(images)
    assert expected.std() > 1e-3, "constant logits would compare equal whatever folding does"
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_folding_leaves_the_original_alone() -> None:
    network = ContextNet(num_classes=11).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    fold_batch_norm(network)
    assert network.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("size", [(1, 1), (31, 33), (32, 64), (97, 131)])
def test_logits_have_the_size_of_the_image(size: tuple[int, int]) -> None:
    with torch.no_grad():
        logits = ContextNet(num_classes=5).eval()(torch.rand(1, 3, *size))
    assert logits.shape == (1, 5, *size)
    assert torch.isfinite(logits).all()


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
