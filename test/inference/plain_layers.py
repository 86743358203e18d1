"""What the kernels of `layer_kernels` compute, in PyTorch's operators and as exact as their dtype:
it takes the module's place where there is no Triton."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def pointwise(source, weight, bias, *, relu6, residual=None):
    sums = F.conv2d(source, weight.t()[:, :, None, None], bias.to(source.dtype))
    return _given(sums, relu6, residual)


def separable(
    source, depthwise, depthwise_bias, weight, bias, *, stride, dilation, inner_relu6, relu6,
    residual=None,
):  # fmt: skip
    channels = source.shape[1]
    filtered = F.conv2d(
        source,
        depthwise.t().reshape(channels, 1, 3, 3),
        depthwise_bias.to(source.dtype),
        stride=stride,
        padding=dilation,
        dilation=dilation,
        groups=channels,
    )
    if inner_relu6:
        filtered = F.relu6(filtered)
    return pointwise(filtered, weight, bias, relu6=relu6, residual=residual)


def stem(source, weight, bias, *, stride):
    filters = weight.reshape(3, 3, source.shape[1], -1).permute(3, 2, 0, 1)
    return F.relu6(F.conv2d(source, filters, bias.to(source.dtype), stride=stride, padding=1))


def _given(sums, relu6, residual):
    if residual is not None:
        sums = sums + residual
    sums = F.relu6(sums) if relu6 else sums
    return sums.contiguous(memory_format=torch.channels_last)
