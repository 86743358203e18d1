"""What a machine can do at most, and what a network asks of it: a roofline's two sides."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from contextnet_ros.network import ContextNet
from contextnet_ros.network.contextnet import padded_size

_MATRIX = 1536
_COPIED_BYTES = 1 << 27
_REPEATS = 7


def multiply_adds(network: ContextNet, height: int, width: int) -> int:
    """Return the multiply-adds of the convolutions for one frame, up to the coarse logits."""
    counted: list[int] = []
    multiple = network.size_multiple

    def count(module: nn.Module, _: Any, output: torch.Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        counted.append(output.numel() * module.weight[0].numel())

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d)]
    try:
        # Every layer's size is proportional to the frame's.
        with torch.inference_mode():
            network.coarse_logits(torch.zeros(1, 3, multiple, multiple))
    finally:
        for hook in hooks:
            hook.remove()
    padded = padded_size(height, width, multiple)
    return sum(counted) * (padded[0] // multiple) * (padded[1] // multiple)


def ceilings(num_threads: int) -> dict[str, float]:
    """Return what was measured here: float32 multiply-adds a second of a matrix product, bytes a
    second read and written by a copy."""
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        left, right = torch.randn(_MATRIX, _MATRIX), torch.randn(_MATRIX, _MATRIX)
        source = torch.ones(_COPIED_BYTES, dtype=torch.uint8)
        target = torch.empty_like(source)
        product_s = _best(lambda: torch.mm(left, right))
        copy_s = _best(lambda: target.copy_(source))
    finally:
        torch.set_num_threads(before)
    return {
        "multiply_adds_per_s": _MATRIX**3 / product_s,
        "copied_bytes_per_s": 2 * _COPIED_BYTES / copy_s,
    }


def _best(run: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
