"""ContextNet as published: two branches, their fusion, a classifier (section 2, Tables 1 to 3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from contextnet_ros.network.blocks import Bottleneck, ConvUnit, SeparableConv

STRIDE = 8
"""Network pixels per logit in each direction."""

SIZE_MULTIPLE = 32
"""Height and width that the branches and their fusion need to divide by."""


@dataclass(frozen=True)
class Variant:
    """What distinguishes one published network from another.

    `context` rows are (expansion, output channels, repeats, stride of the first), Table 2 without
    its two convolutions.
    """

    context_scale: int
    detail_channels: tuple[int, int, int, int]
    context_stem: int
    context: tuple[tuple[int, int, int, int], ...]
    context_channels: int
    fusion_channels: int


VARIANTS = {
    "cn14": Variant(
        context_scale=4,
        detail_channels=(32, 64, 128, 128),
        context_stem=32,
        context=(
            (1, 32, 1, 1),
            (6, 32, 1, 1),
            (6, 48, 3, 2),
            (6, 64, 3, 2),
            (6, 96, 2, 1),
            (6, 128, 2, 1),
        ),
        context_channels=128,
        fusion_channels=128,
    )
}
"""Networks by the paper's names (Table 4)."""


class DetailBranch(nn.Sequential):
    """Four layers at full resolution, strides 2, 2, 2, 1 (section 2.2, Spatial detail).

    (N, 3, H, W) -> (N, channels[-1], H / 8, W / 8)
    """

    def __init__(self, channels: tuple[int, int, int, int]) -> None:
        first, second, third, fourth = channels
        super().__init__(
            ConvUnit(3, first, 3, stride=2),
            SeparableConv(first, second, stride=2),
            SeparableConv(second, third, stride=2),
            SeparableConv(third, fourth),
        )


class ContextBranch(nn.Sequential):
    """The deep branch (Table 2) on an image that is already reduced.

    (N, 3, h, w) -> (N, context_channels, h / 8, w / 8)
    """

    def __init__(self, variant: Variant) -> None:
        layers: list[nn.Module] = [ConvUnit(3, variant.context_stem, 3, stride=2)]
        channels = variant.context_stem
        for expansion, out_channels, repeats, stride in variant.context:
            for index in range(repeats):
                layers.append(
                    Bottleneck(channels, out_channels, expansion, stride if index == 0 else 1)
                )
                channels = out_channels
        # Table 2 prints no kernel size; 1 x 1 is what the parameter count of Table 4 implies.
        layers.append(ConvUnit(channels, variant.context_channels))
        super().__init__(*layers)


class FusionUnit(nn.Module):
    """Adds upsampled context to detail features (Table 3)."""

    def __init__(self, detail_channels: int, context_channels: int, out_channels: int) -> None:
        super().__init__()
        self.context = nn.Sequential(
            ConvUnit(context_channels, context_channels, 3, dilation=4, depthwise=True),
            ConvUnit(context_channels, out_channels, linear=True),
        )
        self.detail = ConvUnit(detail_channels, out_channels, linear=True)
        self.activation = nn.ReLU6(inplace=True)

    def forward(self, detail: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        context = F.interpolate(
            context, size=detail.shape[-2:], mode="bilinear", align_corners=False
        )
        fused: torch.Tensor = self.activation(self.detail(detail) + self.context(context))
        return fused


class ContextNet(nn.Module):
    """The published network and nothing else: what training adds lives in `training`.

    Dropout before the classifier is in training mode only; `dropout` is its rate, which the paper
    does not print. Raises ValueError for an unknown variant.
    """

    def __init__(self, num_classes: int = 19, variant: str = "cn14", dropout: float = 0.1) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise ValueError(f"variant {variant!r} is unknown; choose from {sorted(VARIANTS)}")
        spec = VARIANTS[variant]
        self.variant = variant
        self.num_classes = num_classes
        self.context_channels = spec.context_channels
        self.context_scale = spec.context_scale
        self.detail = DetailBranch(spec.detail_channels)
        self.context = ContextBranch(spec)
        self.fusion = FusionUnit(
            spec.detail_channels[-1], spec.context_channels, spec.fusion_channels
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Conv2d(spec.fusion_channels, num_classes, 1)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        # Logits start near zero, so that the first losses are those of an even guess.
        nn.init.normal_(self.classifier.weight, std=0.01)

    def context_features(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) -> (N, context_channels, H / 32, W / 32) for cn14."""
        # Averaging, since bilinear sampling at 1/4 would skip three pixels of four: poles vanish.
        features: torch.Tensor = self.context(F.avg_pool2d(images, self.context_scale))
        return features

    def classify(self, detail: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Logits (N, num_classes, H / 8, W / 8) of the two branches' features."""
        logits: torch.Tensor = self.classifier(self.dropout(self.fusion(detail, context)))
        return logits

    def coarse_logits(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) -> (N, num_classes, H / 8, W / 8), for H and W that divide by 32."""
        return self.classify(self.detail(images), self.context_features(images))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalized RGB (N, 3, H, W) of any size -> logits (N, num_classes, H, W).

        Sizes that don't divide by 32 are padded at the bottom and right, and cropped after.
        """
        height, width = images.shape[-2:]
        padded = pad_to_multiple(images)
        logits = F.interpolate(
            self.coarse_logits(padded),
            size=padded.shape[-2:],
            mode="bilinear",
            align_corners=False,
        )
        return logits[..., :height, :width]


def padded_size(height: int, width: int) -> tuple[int, int]:
    """The size that an image of height x width has after padding to a multiple of 32."""
    return -(-height // SIZE_MULTIPLE) * SIZE_MULTIPLE, -(-width // SIZE_MULTIPLE) * SIZE_MULTIPLE


def pad_to_multiple(images: torch.Tensor) -> torch.Tensor:
    """Zeros at the bottom and right of (N, C, H, W), up to multiples of 32."""
    height, width = images.shape[-2:]
    full_height, full_width = padded_size(height, width)
    if (height, width) == (full_height, full_width):
        return images
    return F.pad(images, (0, full_width - width, 0, full_height - height))


def count_parameters(network: nn.Module) -> int:
    """Learned values; with batch normalization its scale and shift count, its statistics don't."""
    return sum(parameter.numel() for parameter in network.parameters())
