"""The layers that ContextNet is made of (Table 1 and section 2.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class ConvUnit(nn.Sequential):
    """Convolution without bias, batch normalization, and ReLU6 unless `linear`.

    (N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride), for kernels of odd size.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 1,
        stride: int = 1,
        dilation: int = 1,
        depthwise: bool = False,
        linear: bool = False,
    ) -> None:
        conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=dilation * (kernel // 2),
            dilation=dilation,
            groups=in_channels if depthwise else 1,
            bias=False,
        )
        layers: list[nn.Module] = [conv, nn.BatchNorm2d(out_channels)]
        if not linear:
            layers.append(nn.ReLU6(inplace=True))
        super().__init__(*layers)


class SeparableConv(nn.Sequential):
    """3 x 3 depth-wise, then 1 x 1 with ReLU6; nothing between them but batch normalization.

    Section 2.2: the full-resolution branch omits the non-linearity between the two.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__(
            ConvUnit(in_channels, in_channels, 3, stride, depthwise=True, linear=True),
            ConvUnit(in_channels, out_channels),
        )


class Bottleneck(nn.Module):
    """MobileNetV2's inverted residual (Table 1); the identity is added where sizes are equal.

    The 1 x 1 expansion stays where the factor is 1: 38 layers in the context branch need it.
    """

    def __init__(self, in_channels: int, out_channels: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.body = nn.Sequential(
            ConvUnit(in_channels, hidden),
            ConvUnit(hidden, hidden, 3, stride, depthwise=True),
            ConvUnit(hidden, out_channels, linear=True),
        )
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.body(features)
        return features + out if self.residual else out


class PyramidPooling(nn.Module):
    """PSPNet's pyramid pooling: means over grids of 1, 2, 3 and 6 cells a side join the features.

    Each grid gets a quarter of the channels; a 1 x 1 convolution brings the sum of all back to
    them. (N, C, h, w) -> the same. In training mode a batch needs two images, since the coarsest
    grid has one cell each.
    """

    GRIDS = (1, 2, 3, 6)

    def __init__(self, channels: int) -> None:
        super().__init__()
        part = max(1, channels // len(self.GRIDS))
        self.levels = nn.ModuleList(ConvUnit(channels, part) for _ in self.GRIDS)
        self.merge = ConvUnit(channels + part * len(self.GRIDS), channels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        parts = [features]
        for grid, level in zip(self.GRIDS, self.levels, strict=True):
            pooled = level(F.adaptive_avg_pool2d(features, grid))
            parts.append(
                F.interpolate(
                    pooled, size=features.shape[-2:], mode="bilinear", align_corners=False
                )
            )
        merged: torch.Tensor = self.merge(torch.cat(parts, 1))
        return merged
