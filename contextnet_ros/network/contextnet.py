"""ContextNet as published: two branches, their fusion, a classifier (section 2, Tables 1 to 3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from contextnet_ros.network.blocks import Bottleneck, ConvUnit, PyramidPooling, SeparableConv
from contextnet_ros.network.variants import VARIANTS, DetailChannels, Variant


class DetailBranch(nn.Sequential):
    """Four shallow layers, strides 2, 2, 2, 1 (section 2.2, Spatial detail).

    (N, 3, H, W) -> (N, channels[-1], H / 8, W / 8)
    """

    def __init__(self, channels: DetailChannels) -> None:
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
    """Adds upsampled context to detail features (Table 3, which is for `factor` 4).

    The depth-wise kernel is dilated by the factor of the upsampling, so that it reaches the
    neighbours that the context features had before it.
    """

    def __init__(
        self, detail_channels: int, context_channels: int, out_channels: int, factor: int
    ) -> None:
        super().__init__()
        self.context = nn.Sequential(
            ConvUnit(context_channels, context_channels, 3, dilation=factor, depthwise=True),
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

    `width` multiplies the feature maps of the variant; `ppm` puts a pyramid pooling module behind
    the context branch (section 2.2, Design Choices). Dropout before the classifier is in training
    mode only; `dropout` is its rate, which the paper does not print. Raises ValueError for an
    unknown variant or an impossible width.
    """

    def __init__(
        self,
        num_classes: int = 19,
        variant: str = "cn14",
        dropout: float = 0.1,
        *,
        width: float = 1.0,
        ppm: bool = False,
    ) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise ValueError(f"variant {variant!r} is unknown; choose from {sorted(VARIANTS)}")
        spec = VARIANTS[variant].widened(width)
        self.variant = variant
        self.width = width
        self.ppm = ppm
        self.num_classes = num_classes
        self.context_channels = spec.context_channels
        self.context_scale = spec.context_scale
        self.size_multiple = spec.size_multiple
        self.detail = DetailBranch(spec.detail_channels)
        self.context = ContextBranch(spec)
        self.pyramid = PyramidPooling(spec.context_channels) if ppm else None
        self.half_detail: DetailBranch | None = None
        self.half_fusion: FusionUnit | None = None
        channels, factor = spec.context_channels, spec.context_scale
        if spec.half_detail_channels is not None:
            # cn124 refines in two steps, as the sizes ask for: 1/32 to 1/16, then 1/16 to 1/8.
            self.half_detail = DetailBranch(spec.half_detail_channels)
            self.half_fusion = FusionUnit(
                spec.half_detail_channels[-1], channels, spec.fusion_channels, factor // 2
            )
            channels, factor = spec.fusion_channels, 2
        self.fusion = FusionUnit(spec.detail_channels[-1], channels, spec.fusion_channels, factor)
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

    def detail_features(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(N, 3, H, W) -> features (N, C, H / 8, W / 8), and for cn124 (N, C, H / 16, W / 16)."""
        full: torch.Tensor = self.detail(images)
        if self.half_detail is None:
            return (full,)
        return full, self.half_detail(F.avg_pool2d(images, 2))

    def context_features(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) -> (N, context_channels, h, w), h = H / (8 context_scale)."""
        # Averaging, since bilinear sampling at 1/4 would skip three pixels of four: poles vanish.
        return self.reduced_features(F.avg_pool2d(images, self.context_scale))

    def reduced_features(self, reduced: torch.Tensor) -> torch.Tensor:
        """What `context_features` gives, of images that are already averaged (N, 3, H /
        context_scale, W / context_scale)."""
        features: torch.Tensor = self.context(reduced)
        return features if self.pyramid is None else self.pyramid(features)

    def classify(self, detail: tuple[torch.Tensor, ...], context: torch.Tensor) -> torch.Tensor:
        """Logits (N, num_classes, H / 8, W / 8) of the branches' features."""
        if self.half_fusion is not None:
            context = self.half_fusion(detail[1], context)
        logits: torch.Tensor = self.classifier(self.dropout(self.fusion(detail[0], context)))
        return logits

    def coarse_logits(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) -> (N, num_classes, H / 8, W / 8); H and W divide by `size_multiple`."""
        return self.classify(self.detail_features(images), self.context_features(images))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalized RGB (N, 3, H, W) of any size -> logits (N, num_classes, H, W).

        Sizes that don't divide by `size_multiple` are padded at the bottom and right, and cropped
        after.
        """
        height, width = images.shape[-2:]
        padded = pad_to_multiple(images, self.size_multiple)
        logits = F.interpolate(
            self.coarse_logits(padded),
            size=padded.shape[-2:],
            mode="bilinear",
            align_corners=False,
        )
        return logits[..., :height, :width]


def padded_size(height: int, width: int, multiple: int) -> tuple[int, int]:
    """The size that an image of height x width has after padding to a multiple."""
    return -(-height // multiple) * multiple, -(-width // multiple) * multiple


def pad_to_multiple(images: torch.Tensor, multiple: int) -> torch.Tensor:
    """Zeros at the bottom and right of (N, C, H, W), up to multiples of `multiple`."""
    height, width = images.shape[-2:]
    full_height, full_width = padded_size(height, width, multiple)
    if (height, width) == (full_height, full_width):
        return images
    return F.pad(images, (0, full_width - width, 0, full_height - height))


def count_parameters(network: nn.Module) -> int:
    """Learned values; with batch normalization its scale and shift count, its statistics don't."""
    return sum(parameter.numel() for parameter in network.parameters())
