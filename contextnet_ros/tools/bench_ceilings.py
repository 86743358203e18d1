"""What a machine can do at most, and what a network asks of it: a roofline's two sides."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from contextnet_ros.network import ContextNet
from contextnet_ros.network.contextnet import padded_size

# The products' side and the copies' bytes, larger than any cache, for each kind of device.
_MATRIX = {"cpu": 1536, "cuda": 8192}
_COPIED_BYTES = {"cpu": 1 << 27, "cuda": 1 << 28}
_DTYPES = {"cpu": torch.float32, "cuda": torch.float16}
_REPEATS = 7
# So many are queued on a GPU for one wait, which takes as long as a short copy.
_AT_ONCE = 20
_FLOAT32_BYTES = 4


def multiply_adds(network: ContextNet, height: int, width: int) -> int:
    """Return the multiply-adds of the convolutions for one frame, up to the coarse logits."""

    def count(convolution: nn.Conv2d, _: torch.Tensor, output: torch.Tensor) -> int:
        return output.numel() * convolution.weight[0].numel()

    return _sum(network, height, width, count)


def moved_bytes(network: ContextNet, height: int, width: int) -> int:
    """Return the bytes that the convolutions read and write for one frame, up to the coarse logits,
    in float32: each one's input, weights and output once."""

    def count(_: nn.Conv2d, images: torch.Tensor, output: torch.Tensor) -> int:
        return images.numel() + output.numel()

    weights = sum(m.weight.numel() for m in network.modules() if isinstance(m, nn.Conv2d))
    return _FLOAT32_BYTES * (_sum(network, height, width, count) + weights)


def _sum(
    network: ContextNet,
    height: int,
    width: int,
    count: Callable[[nn.Conv2d, torch.Tensor, torch.Tensor], int],
) -> int:
    """Return the sum of what `count` says of each convolution, its input and its output, where that
    is proportional to the frame's size."""
    counted: list[int] = []
    multiple = network.size_multiple

    def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        counted.append(count(module, inputs[0], output))

    hooks = [m.register_forward_hook(hook) for m in network.modules() if isinstance(m, nn.Conv2d)]
    try:
        with torch.inference_mode():
            network.coarse_logits(torch.zeros(1, 3, multiple, multiple))
    finally:
        for handle in hooks:
            handle.remove()
    padded = padded_size(height, width, multiple)
    return sum(counted) * (padded[0] // multiple) * (padded[1] // multiple)


def ceilings(device: torch.device, num_threads: int, *, bfloat16: bool = False) -> dict[str, float]:
    """Return what was measured here: multiply-adds a second of a matrix product, in float32 on a
    CPU (the faster of torch's and ONNX Runtime's) and in float16 on a GPU, with `bfloat16` on a CPU
    those in that too, and bytes a second read and written by a copy."""
    kind = device.type
    sizes = _MATRIX[kind], _COPIED_BYTES[kind]
    if kind == "cuda":
        wait = partial(torch.cuda.synchronize, device)
        return measure_ceilings(device, _DTYPES[kind], *sizes, wait, _AT_ONCE)
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        measured = measure_ceilings(device, _DTYPES[kind], *sizes)
        if bfloat16:
            half = measure_ceilings(device, torch.bfloat16, *sizes)
            measured["bfloat16_multiply_adds_per_s"] = half["multiply_adds_per_s"]
    finally:
        torch.set_num_threads(before)
    # On some processors the library that torch multiplies with is the slower one.
    runtime = _onnxruntime_multiply_adds(_MATRIX[kind], num_threads)
    return {**measured, "multiply_adds_per_s": max(measured["multiply_adds_per_s"], runtime)}


def _onnxruntime_multiply_adds(matrix: int, num_threads: int) -> float:
    """Return the multiply-adds a second of ONNX Runtime's product; 0 where it is not installed."""
    try:
        from onnx import TensorProto, helper

        from contextnet_ros.inference.onnx_backend import make_session
        from contextnet_ros.inference.onnx_nodes import IR_VERSION, OPSET
    except ImportError:
        return 0.0
    left, right, product = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [matrix, matrix])
        for name in ("left", "right", "product")
    )
    node = helper.make_node("MatMul", ["left", "right"], ["product"])
    graph = helper.make_graph([node], "product", [left, right], [product])
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
    session = make_session(model.SerializeToString(), num_threads)
    values = dict.fromkeys(("left", "right"), torch.randn(matrix, matrix).numpy())
    return matrix**3 / _shortest(lambda: session.run(None, values))


def _shortest(
    work: Callable[[], Any], wait: Callable[[], Any] = lambda: None, at_once: int = 1
) -> float:
    """Return the seconds of the fastest of a few repeats, each `at_once` times the work."""
    seconds = []
    for _ in range(_REPEATS):
        wait()
        start = time.perf_counter()
        for _ in range(at_once):
            work()
        wait()
        seconds.append((time.perf_counter() - start) / at_once)
    return min(seconds)


def measure_ceilings(
    device: torch.device,
    dtype: torch.dtype,
    matrix: int,
    copied_bytes: int,
    wait: Callable[[], Any] = lambda: None,
    at_once: int = 1,
) -> dict[str, float]:
    """Return `ceilings` of matrices of one side and of a copy; `wait` returns when the device has
    done what it was given."""
    left, right = (torch.randn(matrix, matrix, device=device, dtype=dtype) for _ in range(2))
    product = torch.empty_like(left)
    source = torch.ones(copied_bytes, device=device, dtype=torch.uint8)
    target = torch.empty_like(source)

    return {
        "multiply_adds_per_s": matrix**3
        / _shortest(lambda: torch.mm(left, right, out=product), wait, at_once),
        "copied_bytes_per_s": 2
        * copied_bytes
        / _shortest(lambda: target.copy_(source), wait, at_once),
    }
