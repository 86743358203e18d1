"""The network's layers on a GPU, one Triton kernel for each that reads and writes features once.

cuDNN leaves bias, ReLU6 and the identity of a bottleneck to kernels of their own, and what a
depth-wise convolution gives to memory. Importing this needs Triton; see `kernels.py` for how it is
tested without a GPU, and why without annotations of __future__.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import functools
from typing import Any

import torch
import triton
import triton.language as tl

# Channels that one multiplication of matrices adds up, the least and the most that it gives: what
# the GPU's own are made for.
_INNER = 32
_LEAST, _MOST = 16, 128
# Pixels of a program: few where there are few, so that every processor of the GPU has some.
_FEWEST_PIXELS, _MOST_PIXELS = 16, 64
_PROGRAMS_PER_PROCESSOR = 2


@triton.jit
def _give(
    sums, out, bias, residual, pixel, feature, pixels, features,
    RESIDUAL: tl.constexpr, RELU6: tl.constexpr,
):  # fmt: skip
    """Write what is left to do of a layer: bias, what is added, ReLU6."""
    mask = (pixel < pixels)[:, None] & (feature < features)[None, :]
    at = pixel[:, None] * features + feature[None, :]
    sums += tl.load(bias + feature, mask=feature < features, other=0.0)[None, :]
    if RESIDUAL:
        sums += tl.load(residual + at, mask=mask, other=0.0).to(tl.float32)
    if RELU6:
        sums = tl.minimum(tl.maximum(sums, 0.0), 6.0)
    tl.store(out + at, sums.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _pointwise(
    source, weight, bias, residual, out, pixels, channels, features,
    RESIDUAL: tl.constexpr, RELU6: tl.constexpr,
    PIXELS: tl.constexpr, FEATURES: tl.constexpr, INNER: tl.constexpr,
):  # fmt: skip
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    feature = tl.program_id(1) * FEATURES + tl.arange(0, FEATURES)
    sums = tl.zeros((PIXELS, FEATURES), tl.float32)
    for first in range(0, channels, INNER):
        channel = first + tl.arange(0, INNER)
        values = tl.load(
            source + pixel[:, None] * channels + channel[None, :],
            mask=(pixel < pixels)[:, None] & (channel < channels)[None, :],
            other=0.0,
        )
        weights = tl.load(
            weight + channel[:, None] * features + feature[None, :],
            mask=(channel < channels)[:, None] & (feature < features)[None, :],
            other=0.0,
        )
        sums = tl.dot(values, weights, sums)
    _give(sums, out, bias, residual, pixel, feature, pixels, features, RESIDUAL, RELU6)


@triton.jit
def _separable(
    source, depthwise, depthwise_bias, weight, bias, residual, out,
    height, width, out_width, pixels, channels, features,
    STRIDE: tl.constexpr, DILATION: tl.constexpr,
    INNER_RELU6: tl.constexpr, RESIDUAL: tl.constexpr, RELU6: tl.constexpr,
    PIXELS: tl.constexpr, FEATURES: tl.constexpr, INNER: tl.constexpr,
):  # fmt: skip
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    feature = tl.program_id(1) * FEATURES + tl.arange(0, FEATURES)
    y = pixel // out_width * STRIDE
    x = pixel % out_width * STRIDE
    sums = tl.zeros((PIXELS, FEATURES), tl.float32)
    for first in range(0, channels, INNER):
        channel = first + tl.arange(0, INNER)
        known = channel < channels
        filtered = tl.zeros((PIXELS, INNER), tl.float32)
        # Not static_range: of taps unrolled before layouts are chosen, each would go through shared
        # memory, behind barriers of its own.
        for tap in range(9):
            tap_y = y + (tap // 3 - 1) * DILATION
            tap_x = x + (tap % 3 - 1) * DILATION
            inside = (pixel < pixels) & (tap_y >= 0) & (tap_y < height)
            inside = inside & (tap_x >= 0) & (tap_x < width)
            # Outside is the convolution's padding, zero.
            value = tl.load(
                source + (tap_y * width + tap_x)[:, None] * channels + channel[None, :],
                mask=inside[:, None] & known[None, :],
                other=0.0,
            )
            share = tl.load(depthwise + tap * channels + channel, mask=known, other=0.0)
            filtered += value.to(tl.float32) * share[None, :].to(tl.float32)
        filtered += tl.load(depthwise_bias + channel, mask=known, other=0.0)[None, :]
        if INNER_RELU6:
            filtered = tl.minimum(tl.maximum(filtered, 0.0), 6.0)
        weights = tl.load(
            weight + channel[:, None] * features + feature[None, :],
            mask=known[:, None] & (feature < features)[None, :],
            other=0.0,
        )
        sums = tl.dot(filtered.to(weights.dtype), weights, sums)
    _give(sums, out, bias, residual, pixel, feature, pixels, features, RESIDUAL, RELU6)


@triton.jit
def _stem(
    source, weight, bias, out, height, width, out_width, pixels, features,
    STRIDE: tl.constexpr, CHANNELS: tl.constexpr,
    PIXELS: tl.constexpr, FEATURES: tl.constexpr, INNER: tl.constexpr,
):  # fmt: skip
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    feature = tl.program_id(1) * FEATURES + tl.arange(0, FEATURES)
    # All taps of all channels are one row of the matrix.
    inner = tl.arange(0, INNER)
    tap = inner // CHANNELS
    y = (pixel // out_width * STRIDE)[:, None] + (tap // 3 - 1)[None, :]
    x = (pixel % out_width * STRIDE)[:, None] + (tap % 3 - 1)[None, :]
    inside = (pixel < pixels)[:, None] & (tap < 9)[None, :]
    inside = inside & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    values = tl.load(
        source + (y * width + x) * CHANNELS + (inner % CHANNELS)[None, :], mask=inside, other=0.0
    )
    weights = tl.load(
        weight + inner[:, None] * features + feature[None, :],
        mask=(tap < 9)[:, None] & (feature < features)[None, :],
        other=0.0,
    )
    sums = tl.dot(values, weights)
    _give(sums, out, bias, out, pixel, feature, pixels, features, False, True)


def pointwise(
    source: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    *,
    relu6: bool,
    residual: torch.Tensor | None = None,
) -> torch.Tensor:
    """A 1 x 1 convolution, to which `residual` is added, and ReLU6 if so, in one launch.

    `source`: (1, C, H, W) in half precision; `weight`: (C, features); `bias`: float32 (features,).
    Returns (1, features, H, W), channels last.
    """
    source = _packed(source)
    out, grid, blocks = _planned(source, weight)
    _pointwise[grid](
        source,
        weight,
        bias,
        source if residual is None else _packed(residual),
        out,
        out.shape[2] * out.shape[3],
        *weight.shape,
        RESIDUAL=residual is not None,
        RELU6=relu6,
        **blocks,
    )
    return out


def separable(
    source: torch.Tensor,
    depthwise: torch.Tensor,
    depthwise_bias: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    *,
    stride: int,
    dilation: int,
    inner_relu6: bool,
    relu6: bool,
    residual: torch.Tensor | None = None,
) -> torch.Tensor:
    """A 3 x 3 depth-wise convolution, ReLU6 if so, and what `pointwise` does, in one launch.

    `depthwise`: (9, C), and as `pointwise` has it otherwise. Padding is the dilation.
    """
    source = _packed(source)
    out, grid, blocks = _planned(source, weight, stride)
    _separable[grid](
        source,
        depthwise,
        depthwise_bias,
        weight,
        bias,
        source if residual is None else _packed(residual),
        out,
        *source.shape[2:],
        out.shape[3],
        out.shape[2] * out.shape[3],
        *weight.shape,
        STRIDE=stride,
        DILATION=dilation,
        INNER_RELU6=inner_relu6,
        RESIDUAL=residual is not None,
        RELU6=relu6,
        # Loads that are not staged in shared memory go through the cache of the processor, where
        # neighbouring taps find what the ones before have read.
        num_stages=1,
        **blocks,
    )
    return out


def stem(
    source: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, *, stride: int
) -> torch.Tensor:
    """A 3 x 3 convolution of few channels, padded by one pixel, and ReLU6, in one launch.

    `weight`: (9 C, features), taps row by row and in each its channels.
    """
    source = _packed(source)
    out, grid, blocks = _planned(source, weight, stride)
    blocks["INNER"] = max(_LEAST, triton.next_power_of_2(len(weight)))
    _stem[grid](
        source,
        weight,
        bias,
        out,
        *source.shape[2:],
        out.shape[3],
        out.shape[2] * out.shape[3],
        weight.shape[1],
        STRIDE=stride,
        CHANNELS=source.shape[1],
        **blocks,
    )
    return out


def _packed(features: torch.Tensor) -> torch.Tensor:
    _check_count(features.numel())
    return features.contiguous(memory_format=torch.channels_last)


def _check_count(values: int) -> None:
    # Places are 32-bit numbers.
    if values >= 2**31:
        raise ValueError(f"{values} values are more than fused layers can number")


def _planned(
    source: torch.Tensor, weight: torch.Tensor, stride: int = 1
) -> tuple[torch.Tensor, tuple[int, int], dict[str, Any]]:
    """What a layer gives, not written yet, the grid of its programs, and what each of them does."""
    height, width = (-(-side // stride) for side in source.shape[2:])
    pixels, features = height * width, weight.shape[1]
    _check_count(features * pixels)
    out = torch.empty(
        (1, features, height, width),
        dtype=source.dtype,
        device=source.device,
        memory_format=torch.channels_last,
    )
    programs = _PROGRAMS_PER_PROCESSOR * _processors(source.device)
    wanted = triton.next_power_of_2(pixels // programs + 1)
    share = min(max(wanted, _FEWEST_PIXELS), _MOST_PIXELS)
    wide = min(max(triton.next_power_of_2(features), _LEAST), _MOST)
    grid = triton.cdiv(pixels, share), triton.cdiv(features, wide)
    blocks = {"PIXELS": share, "FEATURES": wide, "INNER": _INNER}
    # As many threads as keep sums and taps in registers.
    warps = 8 if share * wide > 64 * 64 else 4
    return out, grid, {**blocks, "num_warps": warps, "enable_fp_fusion": True}


@functools.cache
def _processors(device: torch.device) -> int:
    if device.type != "cuda":
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count
