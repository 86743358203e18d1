"""What the optimizer is given."""

from __future__ import annotations

from typing import Any

from torch import nn


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay on dense convolutions alone: not on depth-wise layers (section 3.1),
    nor on biases and batch normalization.
    """
    decayed: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            dense = isinstance(module, nn.Conv2d) and module.groups == 1 and name == "weight"
            (decayed if dense else rest).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
