"""Compile what is launched for GPUs that are not here: python compile_kernels.py 75 87 90.

The arguments are compute capabilities, 90 for 9.0. Prints each kernel with the types of its
first tensors.
"""

from __future__ import annotations

import sys
from functools import partial
from types import SimpleNamespace

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from contextnet_ros.inference import kernels, layer_kernels
from contextnet_ros.inference.frame_program import DeviceNetwork, FrameProgram
from contextnet_ros.inference.overlay import OverlayBlender
from contextnet_ros.labels import CAMVID
from contextnet_ros.network import ContextNet, NetworkSize, WeightHeader

# Frames that the network sees as they are, and resized, of sizes that are no multiple of anything.
SIZES = [((1024, 2048), "frame"), ((37, 53), "long_side 128")]
OUTPUTS = [("label",), ("label", "overlay", "confidence")]


class Launch:
    """A kernel's launch that ends when it is compiled."""

    def __init__(self, kernel):
        self._kernel = kernel

    def __getitem__(self, grid):
        return partial(self._compile, grid=grid)

    def _compile(self, *arguments, grid, **options):
        compiled = self._kernel.warmup(*arguments, grid=grid, **options)
        binary = compiled.asm["cubin"]
        assert binary.startswith(b"\x7fELF"), binary[:16]
        types = [str(value.dtype)[6:] for value in arguments if isinstance(value, torch.Tensor)]
        print(self._kernel.__name__, *types[:3])


def compile_for(capability: int) -> None:
    target = GPUTarget("cuda", capability, 32)
    driver.set_active(
        SimpleNamespace(
            get_current_target=lambda: target,
            # What is compiled is kept by device.
            get_current_device=lambda: capability,
            get_current_stream=lambda _device: 0,
        )
    )
    device = SimpleNamespace(device=torch.device("cpu"), both=lambda one, other: (one(), other()))
    for dtype in (torch.float16, torch.float32):
        # As for a device of that kind: see `on_cuda`.
        layers = layer_kernels if dtype == torch.float16 and capability >= 80 else None
        header = WeightHeader(table=CAMVID, data_licence="test only")
        options = device, dtype, OverlayBlender(CAMVID), kernels, layers
        shared = DeviceNetwork(ContextNet(11), header, *options)
        for (height, width), size in SIZES:
            for outputs in OUTPUTS:
                compile_program(shared, height, width, size, outputs)


def compile_program(shared, height, width, size, outputs):
    program = FrameProgram(shared, NetworkSize.parse(size), height, width, outputs)
    inputs = {name: torch.zeros(shape, dtype=torch.uint8) for name, shape in program.inputs.items()}
    results = {
        name: torch.zeros(shape, dtype=torch.uint8) for name, shape in program.outputs.items()
    }
    program.prepare(inputs)
    program.finish(logits_of(shared, program), inputs, results)


def logits_of(shared, program):
    """What fused layers leave in memory without having run, or zeros in place of plain layers."""
    fused = shared.forms._fused
    if fused is not None:
        detail = fused.detail_features(program._images)
        return fused.classify(detail, fused.reduced_features(program._reduced))[0]
    height, width = (side // 8 for side in program._images.shape[2:])
    classes = shared.forms._plain.num_classes
    return torch.zeros(height, width, classes, dtype=shared.dtype).permute(2, 0, 1)


if __name__ == "__main__":
    assert isinstance(kernels._prepare, JITFunction), "TRITON_INTERPRET is set"
    for module, names in (
        (kernels, ("_prepare", "_finish")),
        (layer_kernels, ("_pointwise", "_separable", "_stem")),
    ):
        for name in names:
            setattr(module, name, Launch(getattr(module, name)))
    # As many as a large GPU has: a program's share of the pixels is by them.
    layer_kernels._processors = lambda _device: 132
    for number in sys.argv[1:]:
        compile_for(int(number))
