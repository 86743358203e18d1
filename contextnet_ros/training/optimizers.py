"""The optimizers of recipes and their learning rate.

The paper's optimizer is not the one that PyTorch has under its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from contextnet_ros.training.recipe import Recipe


class TensorFlowRMSprop(Optimizer):
    """TensorFlow's RMSprop (section 3.1 trains with it), per value of a parameter:

    square <- discount x square + (1 - discount) x gradient^2, which starts at one;
    buffer <- momentum x buffer + lr x gradient / sqrt(square + epsilon);
    parameter <- parameter - buffer.

    PyTorch's own differs in three ways that matter with an epsilon of 1: epsilon stands outside its
    root, its square starts at zero, and its learning rate multiplies the buffer as it leaves.
    `weight_decay` is l2 regularization: it joins the gradient. Raises ValueError for a rate below
    zero, a discount or momentum outside 0..1, an epsilon that is not positive.
    """

    def __init__(
        self,
        params: Iterable[torch.Tensor] | Iterable[dict[str, Any]],
        lr: float,
        discount: float = 0.9,
        momentum: float = 0.9,
        epsilon: float = 1.0,
        weight_decay: float = 0.0,
    ) -> None:
        if lr < 0 or not 0 <= discount < 1 or not 0 <= momentum < 1 or epsilon <= 0:
            raise ValueError(
                f"lr {lr}, discount {discount}, momentum {momentum}, epsilon {epsilon}: give a "
                "rate of 0 or more, discount and momentum in 0..1, a positive epsilon"
            )
        super().__init__(
            params,
            {
                "lr": lr,
                "discount": discount,
                "momentum": momentum,
                "epsilon": epsilon,
                "weight_decay": weight_decay,
            },
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Apply the gradients once; a closure is not supported, and none is needed here."""
        if closure is not None:
            raise ValueError("TensorFlowRMSprop takes no closure")
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                self._update(parameters, tuple(p.grad for p in parameters), group)

    def _update(
        self,
        parameters: list[torch.Tensor],
        gradients: tuple[torch.Tensor, ...],
        group: dict[str, Any],
    ) -> None:
        states = [self.state[parameter] for parameter in parameters]
        for parameter, state in zip(parameters, states, strict=True):
            if not state:
                state["square"] = torch.ones_like(parameter)
                state["buffer"] = torch.zeros_like(parameter)
        squares = [state["square"] for state in states]
        buffers = [state["buffer"] for state in states]
        # All at once, as PyTorch's own optimizers: one by one, a GPU would wait for a thousand
        # launches.
        if group["weight_decay"]:
            gradients = torch._foreach_add(gradients, parameters, alpha=group["weight_decay"])
        torch._foreach_mul_(squares, group["discount"])
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - group["discount"])
        roots = torch._foreach_add(squares, group["epsilon"])
        torch._foreach_sqrt_(roots)
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_add_(buffers, torch._foreach_div(gradients, roots), alpha=group["lr"])
        torch._foreach_sub_(parameters, buffers)


def make_optimizer(model: nn.Module, recipe: Recipe) -> Optimizer:
    """The recipe's optimizer over the model's parameters."""
    groups = parameter_groups(model, recipe.weight_decay)
    if recipe.optimizer == "rmsprop":
        return TensorFlowRMSprop(
            groups, recipe.learning_rate, recipe.discount, recipe.momentum, recipe.epsilon
        )
    return torch.optim.AdamW(groups, lr=recipe.learning_rate)


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


def learning_rate(recipe: Recipe, step: int) -> float:
    """Learning rate of a step: linear warm-up, then poly (section 3.1)."""
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    return recipe.learning_rate * float((1 - step / recipe.steps) ** recipe.power)
