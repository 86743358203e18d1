"""From the bytes of a frame to its label, overlay and confidence, all on one device.

The network's two ends are Triton kernels (`kernels.py`) where Triton runs, and PyTorch's operators
elsewhere; both give the same inputs to the network and the same labels.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from contextnet_ros.inference.device import Device, failure, first_line
from contextnet_ros.inference.fused_network import fuse_layers
from contextnet_ros.inference.network_forms import NetworkForms
from contextnet_ros.inference.overlay import OverlayBlender
from contextnet_ros.inference.preprocess import Resizer, normalization_table
from contextnet_ros.inference.upsample import Axis, confidence, interpolate
from contextnet_ros.network import ContextNet, NetworkSize, WeightHeader, fold_batch_norm
from contextnet_ros.network.variants import STRIDE

# Frame rows that the plain operators interpolate together: a bound on their memory.
_BAND = 128


class DeviceNetwork:
    """A folded network and its tables on a device, for frames of every size.

    `kernels`, `layers`: the modules `kernels` and `layer_kernels`, or None for plain operators; the
    second is for half precision.
    """

    def __init__(
        self,
        network: ContextNet,
        header: WeightHeader,
        device: Device,
        dtype: torch.dtype,
        blender: OverlayBlender,
        kernels: ModuleType | None,
        layers: ModuleType | None = None,
    ) -> None:
        self.device = device
        self.dtype = dtype
        self.kernels = kernels
        self.swap = header.channel_order == "RGB"
        self.multiple = network.size_multiple
        folded = fold_batch_norm(network).to(device.device, dtype)
        # torch's type hints leave this form of `to` out.
        plain: ContextNet = folded.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        fused = None if layers is None else fuse_layers(plain, layers)
        self.forms = NetworkForms(device, plain, fused)
        self.context_scale = network.context_scale
        self.table = self._put(normalization_table(header)[0])
        self.frame_part, self.colour_part = (self._put(part) for part in blender.tables())

    def set_blender(self, blender: OverlayBlender) -> None:
        """Blend otherwise from the next frame on; to be called in the stream of the kernels."""
        for kept, part in zip((self.frame_part, self.colour_part), blender.tables(), strict=True):
            kept.copy_(torch.from_numpy(part))

    def _put(self, array: npt.NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array.copy()).to(self.device.device)


class FrameProgram:
    """What is done for frames of one size: normalize, run the network, upsample and blend.

    Where the network sees another size than the frame's, the host resizes, as on a CPU, and copies
    fewer bytes; the frame itself goes along for an overlay only.
    """

    def __init__(
        self,
        shared: DeviceNetwork,
        size: NetworkSize,
        height: int,
        width: int,
        outputs: tuple[str, ...],
    ) -> None:
        self._shared = shared
        self._resize = Resizer(height, width, size, shared.multiple)
        seen = self._resize.network_height, self._resize.network_width
        self.inputs = {"seen": (*seen, 3)}
        self._whole = "seen"
        if "overlay" in outputs and seen != (height, width):
            self._whole = "frame"
            self.inputs["frame"] = (height, width, 3)
        self.outputs = {
            name: (height, width, 3) if name == "overlay" else (height, width) for name in outputs
        }
        padded = self._resize.padded_height, self._resize.padded_width
        scale = shared.context_scale
        # Zero where the padding is, which is never written.
        self._images = self._zeros(*padded)
        self._reduced = self._zeros(padded[0] // scale, padded[1] // scale)
        axes = [
            Axis.between(pixels, part, whole // STRIDE)
            for pixels, part, whole in zip((height, width), seen, padded, strict=True)
        ]
        place = shared.device.device
        if shared.kernels is not None:
            self._axes = [shared.kernels.Cells.of(axis, place) for axis in axes]
        else:
            self._bands = [
                (band, axes[0].on(place, band))
                for band in (slice(top, top + _BAND) for top in range(0, height, _BAND))
            ]
            self._columns = axes[1].on(place)

    def host_inputs(self, image: npt.NDArray[np.uint8]) -> Mapping[str, npt.NDArray[np.uint8]]:
        """Return the frame as the network sees it and, where they differ, as it is."""
        if self.inputs["seen"] == image.shape:
            return {"seen": image}
        inputs = {"seen": self._resize(image)}
        return {**inputs, "frame": image} if "frame" in self.inputs else inputs

    def settle(self, stream: Any) -> None:
        """Choose what runs fastest at this size, once for each, when `stream` has come there."""
        self._shared.forms.settle(self._images, self._reduced, stream)

    def __call__(
        self, inputs: Mapping[str, torch.Tensor], outputs: Mapping[str, torch.Tensor]
    ) -> None:
        with torch.inference_mode():
            self.prepare(inputs)
            self.finish(self.logits(), inputs, outputs)

    def prepare(self, inputs: Mapping[str, torch.Tensor]) -> None:
        """Write the network's inputs."""
        shared, seen = self._shared, inputs["seen"]
        scale = shared.context_scale
        if shared.kernels is not None:
            shared.kernels.prepare(
                seen, shared.table, self._images, self._reduced, scale, shared.swap
            )
            return
        height, width = seen.shape[:2]
        level = (seen.flip(2) if shared.swap else seen).int()
        normalized = torch.stack(
            [shared.table[:, i][level[..., i]] for i in range(3)]
        )  # (3, H, W), float32
        self._images[0, :, :height, :width] = normalized
        padded = torch.zeros_like(self._images, dtype=torch.float32)
        padded[0, :, :height, :width] = normalized
        self._reduced.copy_(torch.nn.functional.avg_pool2d(padded, scale))

    def logits(self) -> torch.Tensor:
        """Return logits (C, h, w) of what `prepare` wrote."""
        return self._shared.forms.logits(self._images, self._reduced)

    def finish(
        self,
        logits: torch.Tensor,
        inputs: Mapping[str, torch.Tensor],
        outputs: Mapping[str, torch.Tensor],
    ) -> None:
        """Write the outputs, and nothing that isn't among them."""
        shared, overlay = self._shared, outputs.get("overlay")
        frame = inputs[self._whole] if overlay is not None else None
        if shared.kernels is not None:
            shared.kernels.finish(
                logits,
                *self._axes,
                outputs["label"],
                outputs.get("confidence"),
                overlay,
                frame,
                shared.frame_part,
                shared.colour_part,
            )
            return
        for band, rows in self._bands:
            dense = interpolate(logits, rows, self._columns)
            label = dense.argmax(0)
            outputs["label"][band] = label.to(torch.uint8)
            if "confidence" in outputs:
                outputs["confidence"][band] = confidence(dense)
            if overlay is not None and frame is not None:
                blended = shared.frame_part[frame[band].int()].int()
                blended += shared.colour_part[label]
                overlay[band] = blended.clamp_(max=255).to(torch.uint8)

    def _zeros(self, height: int, width: int) -> torch.Tensor:
        shared = self._shared
        plain = torch.zeros(1, 3, height, width, dtype=shared.dtype, device=shared.device.device)
        return plain.to(memory_format=torch.channels_last)


def find_kernels(device: Device, dtype: torch.dtype) -> tuple[ModuleType | None, str]:
    """Return the module of Triton kernels and "", or None and what is missing for them.

    Compiles and runs both kernels once for a network of that dtype, on a frame of one pixel: a
    machine may have Triton and no compiler for its launcher. Raises the exception of a device that
    has too little memory or failed.
    """
    try:
        kernels = importlib.import_module("contextnet_ros.inference.kernels")
        stream, end = device.stream(), device.event()
        stream.run(functools.partial(_try_kernels, kernels, device.device, dtype))
        stream.record(end)
        # Launched is not done: what a kernel does wrong shows when it has ended.
        end.synchronize()
    # Whatever it is, the plain operators do the same, slower; not so where nothing runs.
    except Exception as error:
        if failure(error):
            raise
        return None, (
            f"plain operators at the network's ends; for several times their speed: pip install "
            f"triton, and a C compiler (now: {first_line(error)})"
        )
    return kernels, ""


def _try_kernels(kernels: ModuleType, place: torch.device, dtype: torch.dtype) -> None:
    """Start both kernels, the second with the label alone and with every output."""

    def bytes_(*shape: int) -> torch.Tensor:
        return torch.zeros(shape, dtype=torch.uint8, device=place)

    def values(channels: int, side: int) -> torch.Tensor:
        plain = torch.zeros(1, channels, side, side, dtype=dtype, device=place)
        return plain.to(memory_format=torch.channels_last)

    frame, label = bytes_(1, 1, 3), bytes_(1, 1)
    cells = kernels.Cells.of(Axis.between(1, 1, 4), place)
    kernels.prepare(frame, torch.zeros(256, 3, device=place), values(3, 4), values(3, 1), 4, True)
    logits = values(2, 4)[0]
    kernels.finish(logits, cells, cells, label)
    kernels.finish(
        logits,
        cells,
        cells,
        label,
        confidence=bytes_(1, 1),
        overlay=bytes_(1, 1, 3),
        frame=frame,
        frame_part=bytes_(256),
        colour_part=bytes_(256, 3),
    )
