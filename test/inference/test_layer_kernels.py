"""The network's layers as Triton kernels: on a GPU, or else in Triton's interpreter."""

from __future__ import annotations

import os

import plain_layers
import pytest
import torch
from decided_network import decided

from contextnet_ros.inference.fused_network import fuse_layers
from contextnet_ros.network import fold_batch_norm

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
if DEVICE.type == "cpu":
    # Read when Triton is first imported.
    os.environ.setdefault("TRITON_INTERPRET", "1")
pytest.importorskip("triton", reason="Triton is not installed")
kernels = pytest.importorskip("contextnet_ros.inference.layer_kernels")


def features(channels, height, width, seed=0):
    """Half-precision features (1, channels, height, width), channels last."""
    torch.manual_seed(seed)
    plain = 2 * torch.randn(1, channels, height, width)
    return plain.half().to(DEVICE).contiguous(memory_format=torch.channels_last)


def weights(*shape, seed=1):
    torch.manual_seed(seed)
    return (torch.randn(shape) / shape[0] ** 0.5).half().to(DEVICE)


def biases(count, seed=2):
    torch.manual_seed(seed)
    return torch.randn(count).to(DEVICE)


def assert_as_plain(layer, tensors, **options):
    """What the kernel gives is what PyTorch's operators give in float32, rounded."""
    ours = getattr(kernels, layer)(*tensors, **options)
    exact = [tensor.cpu().float() for tensor in tensors]
    if options.get("residual") is not None:
        options["residual"] = options["residual"].cpu().float()
    theirs = getattr(plain_layers, layer)(*exact, **options)
    assert ours.dtype == torch.float16
    assert ours.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(ours.cpu().float(), theirs, rtol=2e-3, atol=5e-3)
    return ours


@pytest.mark.parametrize("relu6", [False, True])
@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize(
    ("channels", "count", "size"),
    [(32, 192, (3, 5)), (40, 11, (9, 8)), (24, 24, (1, 1)), (7, 130, (5, 14))],
)
def test_a_pointwise_convolution(channels, count, size, added, relu6):
    assert_as_plain(
        "pointwise",
        (features(channels, *size), weights(channels, count), biases(count)),
        relu6=relu6,
        residual=features(count, *size, seed=5) if added else None,
    )


@pytest.mark.parametrize("relu6", [False, True])
@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize(
    ("channels", "count", "size", "stride", "dilation"),
    [
        (32, 32, (6, 8), 1, 1),
        (40, 48, (7, 11), 2, 1),
        (24, 130, (5, 3), 1, 4),
        (16, 16, (1, 1), 1, 2),
        (7, 5, (8, 9), 2, 1),
    ],
)
def test_a_separable_convolution(channels, count, size, stride, dilation, added, relu6):
    out = [-(-side // stride) for side in size]
    assert_as_plain(
        "separable",
        (
            features(channels, *size),
            weights(9, channels),
            biases(channels, seed=3),
            weights(channels, count),
            biases(count),
        ),
        stride=stride,
        dilation=dilation,
        # As a bottleneck's and not, with and without what is added.
        inner_relu6=added,
        relu6=relu6,
        residual=features(count, *out, seed=5) if added else None,
    )


@pytest.mark.parametrize(("count", "size"), [(32, (8, 12)), (24, (5, 7)), (130, (1, 1))])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_first_convolution(count, size, stride):
    assert_as_plain("stem", (features(3, *size), weights(27, count), biases(count)), stride=stride)


def test_features_in_another_layout_are_taken_too():
    given = features(8, 4, 6).contiguous()
    ours = kernels.pointwise(given, weights(8, 16), biases(16), relu6=False)
    packed = given.contiguous(memory_format=torch.channels_last)
    theirs = kernels.pointwise(packed, weights(8, 16), biases(16), relu6=False)
    assert torch.equal(ours, theirs)


def test_a_whole_network_gives_the_plain_ones_logits(network):
    plain = fold_batch_norm(network).half().to(DEVICE, memory_format=torch.channels_last)
    fused = fuse_layers(plain, kernels)
    images = features(3, 32, 64)
    with torch.inference_mode():
        exact = fold_batch_norm(network).coarse_logits(images.cpu().float())
        ours, theirs = (form.coarse_logits(images).cpu().float() for form in (fused, plain))
    # As near to float32 as PyTorch's layers in half precision, give or take.
    bound = 2 * (theirs - exact).abs().max() + 1e-3
    assert (ours - exact).abs().max() <= bound
    assert exact.abs().max() > 50 * bound


@pytest.mark.parametrize(
    ("variant", "options"),
    [
        ("cn14", {}),
        ("cn18", {}),
        ("cn12", {"width": 0.5}),
        ("cn124", {}),
        ("cn14-500", {"ppm": True}),
        ("cn14-160", {}),
    ],
)
def test_every_network_can_be_fused(variant, options):
    network = fold_batch_norm(decided(variant, **options))
    torch.manual_seed(4)
    images = 2 * torch.randn(1, 3, 64, 128)
    fused = fuse_layers(network, plain_layers)
    left = [type(layer).__name__ for layer in fused.modules() if len(list(layer.children())) == 0]
    # Pooling's convolutions are PyTorch's, all others are not.
    assert left.count("Conv2d") == (5 if options.get("ppm") else 0)
    with torch.inference_mode():
        torch.testing.assert_close(
            fused.coarse_logits(images), network.coarse_logits(images), rtol=1e-4, atol=1e-3
        )


def test_features_too_many_to_number_are_refused_before_a_launch():
    narrow = torch.empty(1, 1, 1, 1, dtype=torch.float16, device=DEVICE).expand(1, 1, 2**11, 2**20)
    with pytest.raises(ValueError, match="2147483648 values"):
        kernels.pointwise(narrow, weights(1, 16), biases(16), relu6=False)
