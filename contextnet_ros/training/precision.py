"""Mixed precision: the network in 16 bits, weights, losses and optimizer in 32."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.optim import Optimizer

from contextnet_ros.files import UserError

PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


class Precision:
    """Autocast of one precision on a device, and the scaling of gradients that float16 needs.

    "auto" is float32 on a CPU; on a GPU bfloat16 where the GPU has it, else float16.
    Raises UserError for bfloat16 on a CPU.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self.name = _resolved(name, device)
        self._device = device
        # Small gradients would be zero in float16; bfloat16 has the exponents of float32.
        self._scaler = torch.amp.GradScaler(device.type, enabled=self.name == "float16")

    def autocast(self) -> torch.autocast:
        """The context that the network runs in; losses are computed outside, in float32."""
        return torch.autocast(
            self._device.type, dtype=PRECISIONS[self.name], enabled=self.name != "float32"
        )

    def backward(self, loss: torch.Tensor, optimizer: Optimizer) -> None:
        """Start the gradients of `loss`; a GPU is at them when this returns."""
        optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(self, model: nn.Module, optimizer: Optimizer, clip: float | None) -> None:
        """One step down the gradients, whose norm is at most `clip` where that is given.

        A float16 step whose gradients overflow is left out, and the next one scaled by less. In
        the others such gradients raise FloatingPointError, with the weights as they were, and in
        float16 where even gradients as they are overflow.
        """
        scaled = self._scaler.is_enabled()
        if clip is not None or not scaled:
            self._scaler.unscale_(optimizer)
            largest = math.inf if clip is None else clip
            norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), largest))
            # A finite loss can have them, and one step with them is the end of all weights.
            if not scaled and not math.isfinite(norm):
                raise FloatingPointError(f"the norm of the gradients is {norm}")
        before = self._scaler.get_scale()
        self._scaler.step(optimizer)
        self._scaler.update()
        if scaled and self._scaler.get_scale() < min(before, 1):
            raise FloatingPointError(
                "the gradients overflow in float16, unscaled too (bfloat16 and float32 hold more)"
            )

    def state_dict(self) -> dict[str, float | int]:
        """What a resumed run needs; empty where nothing is scaled."""
        return dict(self._scaler.state_dict())

    def load_state_dict(self, state: dict[str, float | int]) -> None:
        """Take over what `state_dict` gave."""
        self._scaler.load_state_dict(state)


def _resolved(name: str, device: torch.device) -> str:
    if name == "bfloat16" and device.type == "cpu":
        # Of PyTorch 2.4 to 2.13 on processors with AVX-512: no relation to the right gradient, and
        # finite as a rule. It is slower than float32 there all the same.
        raise UserError(
            "precision is bfloat16 on a CPU, where PyTorch gets the gradients of dilated depth-wise"
            " layers wrong: use float32, or a GPU"
        )
    if name != "auto":
        return name
    if device.type != "cuda":
        return "float32"
    # Older GPUs emulate bfloat16, slower than float32.
    return "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float16"
