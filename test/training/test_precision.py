"""Mixed precision: what each name means on a device, and the scaling of gradients."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from contextnet_ros.files import UserError
from contextnet_ros.network.contextnet import FusionUnit
from contextnet_ros.training.loop import Training
from contextnet_ros.training.precision import Precision
from contextnet_ros.training.recipe import Recipe

CPU = torch.device("cpu")


def step(
    precision: Precision,
    loss: torch.Tensor,
    layer: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    clip: float | None,
) -> None:
    precision.backward(loss, optimizer)
    precision.step(layer, optimizer, clip)


@pytest.mark.parametrize(
    ("name", "kind", "capability", "expected"),
    [
        ("auto", "cpu", (0, 0), "float32"),
        ("auto", "cuda", (7, 5), "float16"),
        ("auto", "cuda", (8, 0), "bfloat16"),
        ("float32", "cuda", (9, 0), "float32"),
    ],
)
def test_auto_is_what_the_device_is_good_at(
    name: str,
    kind: str,
    capability: tuple[int, int],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    # No GPU is touched: the scaler takes one only with the first gradient.
    monkeypatch.setattr(torch.amp, "GradScaler", lambda *_args, **_options: None)
    assert Precision(name, torch.device(kind)).name == expected


def test_bfloat16_is_refused_where_its_gradients_are_wrong() -> None:
    with pytest.raises(UserError, match=r"bfloat16 on a CPU.*: use float32, or a GPU"):
        Precision("bfloat16", CPU)
    assert Precision("bfloat16", torch.device("cuda")).name == "bfloat16"


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("float32", torch.float32), ("float16", torch.float16)],
)
def test_the_network_runs_in_the_precision_and_its_weights_stay_in_float32(
    name: str, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(4, 2, bias=False)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    precision = Precision(name, CPU)
    before, inputs = layer.weight.detach().clone(), torch.randn(3, 4)
    with precision.autocast():
        outputs = layer(inputs)
    assert outputs.dtype == dtype
    step(precision, outputs.float().mean(), layer, optimizer, None)
    assert layer.weight.dtype == torch.float32
    # The gradient of a mean over 3 x 2 outputs, unscaled.
    expected = before - 0.1 * inputs.sum(0) / 6
    torch.testing.assert_close(layer.weight.detach(), expected, atol=2e-3, rtol=0)


def test_a_float16_step_that_overflows_is_left_out_and_the_next_is_scaled_by_less() -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    precision = Precision("float16", CPU)
    before = layer.weight.detach().clone()
    step(precision, layer.weight.sum() * 1e38, layer, optimizer, None)
    assert torch.equal(layer.weight.detach(), before)
    assert precision.state_dict()["scale"] == 2.0**15
    step(precision, layer.weight.sum() * 2, layer, optimizer, None)
    torch.testing.assert_close(layer.weight.detach(), before - 2)


def test_float16_ends_where_gradients_overflow_unscaled_too() -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    precision = Precision("float16", CPU)
    before = layer.weight.detach().clone()
    for _ in range(16):
        step(precision, (layer.weight * 0).sum().sqrt(), layer, optimizer, None)
    with pytest.raises(FloatingPointError, match="the gradients overflow in float16, unscaled too"):
        step(precision, (layer.weight * 0).sum().sqrt(), layer, optimizer, None)
    assert torch.equal(layer.weight.detach(), before)
    # Gradients that don't overflow are a step, whatever the scale has come to.
    step(precision, layer.weight.sum() * 2, layer, optimizer, None)
    torch.testing.assert_close(layer.weight.detach(), before - 2)


@pytest.mark.parametrize("clip", [None, 0.5])
def test_gradients_that_are_not_finite_leave_the_weights_as_they_were(clip: float | None) -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    before = layer.weight.detach().clone()
    # A root's slope at zero is infinite, its value is not.
    loss = (layer.weight * 0).sum().sqrt()
    with pytest.raises(FloatingPointError, match="norm of the gradients is nan"):
        step(Precision("float32", CPU), loss, layer, optimizer, clip)
    assert torch.equal(layer.weight.detach(), before)


def test_gradients_are_clipped_after_their_scale_is_taken_out() -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    before = layer.weight.detach().clone()
    step(Precision("float16", CPU), layer.weight.sum() * 7, layer, optimizer, 0.5)
    torch.testing.assert_close(layer.weight.detach(), before - 0.5, atol=1e-5, rtol=0)


def test_the_scale_goes_on_where_it_stood() -> None:
    first, second = Precision("float16", CPU), Precision("float16", CPU)
    layer = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    step(first, layer.weight.sum() * 1e38, layer, optimizer, None)
    second.load_state_dict(first.state_dict())
    assert second.state_dict() == first.state_dict()
    Precision("float32", CPU).load_state_dict({})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; torch finds none")
@pytest.mark.parametrize("name", ["auto", "float16"])
def test_a_gpu_trains_in_16_bits_and_goes_on_from_its_checkpoint(tmp_path: Path, name: str) -> None:
    scenes = {"data": "generated", "first_seed": 0, "num_scenes": 2, "size": [48, 64], "share": 1}
    recipe = Recipe.from_dict(
        {
            "variant": "cn14-160", "network_size": "frame", "train": [scenes], "batch": 2,
            "validate": [scenes], "validate_every": 20, "steps": 40, "precision": name,
            "warmup_steps": 5, "learning_rate": 5e-3, "lovasz_weight": 1, "class_weights": 1.1,
            "augmentation": {"crop": [32, 64], "noise": 4, "class_mix": 0.5, "rare_crops": 0.5},
        }
    )  # fmt: skip
    for stop in (10, 40):
        training = Training(recipe, tmp_path, None, "cuda", workers=0)
        training.run(stop=lambda training=training, stop=stop: training.step >= stop)
        assert training.step == stop
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [20, 40]
    assert log[1]["loss"] < 0.95 * log[0]["loss"]


ON_GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason="needs a CUDA device; torch finds none"
    ),
]


@pytest.mark.parametrize(
    ("device", "dtype"),
    [
        ("cpu", torch.float16),
        pytest.param("cuda", torch.float16, marks=ON_GPU),
        pytest.param("cuda", torch.bfloat16, marks=ON_GPU),
    ],
)
def test_the_layer_that_cpus_get_wrong_in_bfloat16_has_its_gradients_in_16_bits(
    device: str, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    unit = FusionUnit(48, 48, 48, 4).to(device, memory_format=torch.channels_last).eval()
    parts = [torch.randn(4, 48, 32, 64), torch.randn(4, 48, 8, 16)]
    gradients = []
    for enabled in (False, True):
        inputs = [
            part.to(device, memory_format=torch.channels_last).requires_grad_() for part in parts
        ]
        unit.zero_grad(set_to_none=True)
        with torch.autocast(device, dtype=dtype, enabled=enabled):
            fused = unit(*inputs)
        # Small gradients would be zero in float16.
        (1024 * fused.float().square().mean()).backward()
        made = [value.grad for value in (*unit.parameters(), *inputs)]
        gradients.append([gradient.float().flatten() for gradient in made if gradient is not None])
    assert len(gradients[0]) == len(gradients[1]) > 8
    for exact, half in zip(*gradients, strict=True):
        assert torch.cosine_similarity(exact, half, dim=0) > 0.99
