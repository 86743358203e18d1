"""TensorFlow's RMSprop against figures calculated by hand, rates, and what is decayed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from contextnet_ros.network import ContextNet
from contextnet_ros.training.optimizers import (
    TensorFlowRMSprop,
    learning_rate,
    make_optimizer,
    parameter_groups,
)
from contextnet_ros.training.recipe import Recipe


def run(gradients: list[float], rates: list[float], start: float = 1.0, **options: float) -> float:
    parameter = torch.nn.Parameter(torch.tensor([start], dtype=torch.float64))
    optimizer = TensorFlowRMSprop([parameter], lr=rates[0], **options)
    for gradient, rate in zip(gradients, rates, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        parameter.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
    return float(parameter.detach())


def test_one_step_by_hand() -> None:
    # The square starts at 1: 0.9 x 1 + 0.1 x 2^2 = 1.3; the root is of 1.3 + 1.
    assert run([2.0], [0.045]) == pytest.approx(1 - 0.045 * 2 / math.sqrt(2.3), abs=1e-12)


def test_two_steps_by_hand_with_a_rate_that_falls() -> None:
    # Step 1: square 1.3, buffer 0.1 x 2 / sqrt(2.3) = 0.131876.
    # Step 2: square 0.9 x 1.3 + 0.1 x 1 = 1.27, buffer 0.9 x 0.131876 - 0.05 x 1 / sqrt(2.27).
    # The rate of step 1 stays in the buffer: PyTorch's would scale all of it by 0.05.
    first = 0.1 * 2 / math.sqrt(2.3)
    second = 0.9 * first - 0.05 * 1 / math.sqrt(2.27)
    assert first == pytest.approx(0.131876, abs=1e-6)
    assert second == pytest.approx(0.085502, abs=1e-6)
    assert run([2.0, -1.0], [0.1, 0.05]) == pytest.approx(1 - first - second, abs=1e-12)


def test_many_steps_equal_the_formulas_in_numpy() -> None:
    rng = np.random.default_rng(0)
    gradients, rates = rng.normal(size=50), np.linspace(0.05, 0.001, 50)
    square, buffer, value = 1.0, 0.0, 1.0
    for gradient, rate in zip(gradients, rates, strict=True):
        total = gradient + 0.01 * value
        square = 0.8 * square + 0.2 * total**2
        buffer = 0.7 * buffer + rate * total / math.sqrt(square + 0.5)
        value -= buffer
    options = {"discount": 0.8, "momentum": 0.7, "epsilon": 0.5, "weight_decay": 0.01}
    assert run(list(gradients), list(rates), **options) == pytest.approx(value, abs=1e-12)


def test_it_differs_from_pytorchs_with_the_papers_figures() -> None:
    parameter = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    other = torch.optim.RMSprop([parameter], lr=0.045, alpha=0.9, momentum=0.9, eps=1)
    parameter.grad = torch.full_like(parameter, 2.0)
    other.step()
    assert abs(float(parameter.detach()) - run([2.0], [0.045])) > 0.004


def test_a_saved_state_goes_on_as_if_never_stopped() -> None:
    def pair() -> tuple[torch.nn.Parameter, TensorFlowRMSprop]:
        parameter = torch.nn.Parameter(torch.arange(3.0))
        return parameter, TensorFlowRMSprop([parameter], lr=0.1)

    def advance(parameter: torch.nn.Parameter, optimizer: TensorFlowRMSprop, step: int) -> None:
        parameter.grad = torch.tensor([1.0, -2.0, 0.5]) * step
        optimizer.step()

    whole, stopped, resumed = pair(), pair(), pair()
    for step in (1, 2):
        advance(*whole, step)
    advance(*stopped, 1)
    resumed[0].data.copy_(stopped[0].data)
    resumed[1].load_state_dict(stopped[1].state_dict())
    advance(*resumed, 2)
    assert torch.equal(whole[0], resumed[0])


@pytest.mark.parametrize(
    "options", [{"lr": -1}, {"discount": 1}, {"momentum": -0.1}, {"epsilon": 0}]
)
def test_impossible_settings_are_named(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(options))} "):
        TensorFlowRMSprop([torch.nn.Parameter(torch.ones(1))], **{"lr": 0.1, **options})


def test_the_learning_rate_warms_up_and_ends_near_zero() -> None:
    entry = {"data": "camvid", "split": "train", "share": 1}
    settings = {"steps": 6, "warmup_steps": 2, "batch": 2, "validate_every": 3}
    recipe = Recipe.from_dict({"name": "small", "train": [entry], **settings})
    rates = [learning_rate(recipe, step) for step in range(6)]
    assert rates[0] == pytest.approx(recipe.learning_rate / 2)
    assert rates[1] == pytest.approx(recipe.learning_rate)
    assert rates[4] == pytest.approx(recipe.learning_rate * (2 / 6) ** 0.9)
    assert sorted(rates[1:], reverse=True) == rates[1:]


def test_weight_decay_spares_depthwise_layers_biases_and_normalization() -> None:
    network = ContextNet(11)
    groups = parameter_groups(network, 0.1)
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    name_of = {id(parameter): name for name, parameter in network.named_parameters()}
    decayed, rest = ({name_of[id(p)] for p in group["params"]} for group in groups)
    modules = dict(network.named_modules())
    convolutions = {n: m for n, m in modules.items() if isinstance(m, torch.nn.Conv2d)}
    depthwise = {f"{name}.weight" for name, m in convolutions.items() if m.groups > 1}
    assert len(depthwise) == 16  # 12 bottlenecks, 3 detail layers, the fusion
    assert decayed == {f"{name}.weight" for name in convolutions} - depthwise
    assert rest == set(name_of.values()) - decayed
    assert {"classifier.bias", "detail.0.1.weight", "detail.0.1.bias"} <= rest


@pytest.mark.parametrize("name", ["adamw", "rmsprop"])
def test_the_optimizer_has_the_figures_of_the_recipe(name: str) -> None:
    entry = {"data": "camvid", "split": "train", "share": 1}
    figures = {"discount": 0.8, "momentum": 0.7, "epsilon": 0.5}
    rates = {"learning_rate": 0.03, "weight_decay": 0.2, "optimizer": name}
    recipe = Recipe.from_dict({"train": [entry], **figures, **rates})
    decayed, rest = make_optimizer(ContextNet(11, "cn14-160"), recipe).param_groups
    assert (decayed["weight_decay"], rest["weight_decay"]) == (0.2, 0.0)
    assert decayed["lr"] == rest["lr"] == 0.03
    if name == "rmsprop":
        for group in (decayed, rest):
            assert {key: group[key] for key in figures} == figures
