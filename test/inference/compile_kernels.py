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

from contextnet_ros.inference import kernels
from contextnet_ros.inference.frame_program import DeviceNetwork, FrameProgram
from contextnet_ros.inference.overlay import OverlayBlender
from contextnet_ros.labels import CAMVID, CITYSCAPES
from contextnet_ros.network import ContextNet, NetworkSize, WeightHeader

# Frames and networks of one size, another one, and sizes that are no multiple of anything.
SIZES = [((1024, 2048), "frame"), ((360, 480), "long_side 960"), ((37, 53), "frame")]
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
        for table in (CAMVID, CITYSCAPES):
            header = WeightHeader(table=table, data_licence="test only")
            network = ContextNet(len(table.names))
            shared = DeviceNetwork(network, header, device, dtype, OverlayBlender(table), kernels)
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
    # Of the shape and layout of the network's, which would take long here.
    padded = program._images
    logits = torch.zeros(
        padded.shape[2] // 8, padded.shape[3] // 8, shared.network.num_classes, dtype=shared.dtype
    )
    program.finish(logits.permute(2, 0, 1), inputs, results)


if __name__ == "__main__":
    assert isinstance(kernels._prepare, JITFunction), "TRITON_INTERPRET is set"
    kernels._prepare, kernels._finish = Launch(kernels._prepare), Launch(kernels._finish)
    for number in sys.argv[1:]:
        compile_for(int(number))
