"""Distillation against a hand calculation, and who learns from whom."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from contextnet_ros.files import UserError
from contextnet_ros.labels import CAMVID, CITYSCAPES, ClassTable
from contextnet_ros.network import WeightHeader, load_weights, save_weights
from contextnet_ros.training.distillation import Teachers, distillation_loss
from contextnet_ros.training.loop import Training
from contextnet_ros.training.recipe import Recipe

CPU = torch.device("cpu")
SCENES = {"data": "generated", "first_seed": 0, "num_scenes": 2, "size": [48, 64], "share": 1}


def teacher(path: Path, table: ClassTable = CAMVID, **settings: object) -> str:
    """A weight file of a fresh network whose batch statistics are not those it began with."""
    header = WeightHeader(table, data_licence=f"licence of {path.stem}", **settings)
    network = header.build()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
    save_weights(path, network, header)
    return str(path)


def test_the_loss_is_the_divergence_from_the_teacher_times_the_squared_temperature() -> None:
    # Two positions, two classes, temperature 2: softmax of halved logits, in plain arithmetic.
    logits = torch.tensor([[[[2.0, 0.0]], [[0.0, 4.0]]]])
    said = torch.tensor([[[[0.75, 1.0]], [[0.25, 0.0]]]])
    first = math.exp(1) / (math.exp(1) + 1)
    second = 1 / (1 + math.exp(2))
    divergences = [
        0.75 * math.log(0.75 / first) + 0.25 * math.log(0.25 / (1 - first)),
        math.log(1 / second),
    ]
    expected = 4 * sum(divergences) / 2
    assert float(distillation_loss(logits, said, 2.0)) == pytest.approx(expected, rel=1e-5)


def test_a_student_that_says_what_its_teacher_says_has_no_loss() -> None:
    logits = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(1))
    said = (logits / 3).softmax(1)
    assert float(distillation_loss(logits, said, 3.0)) == pytest.approx(0, abs=1e-5)


def test_several_teachers_say_their_mean_softmax_at_the_students_stride(tmp_path: Path) -> None:
    torch.manual_seed(0)
    # cn18 works on multiples of 64: it pads what the others take as it is.
    models = [
        teacher(tmp_path / "a.safetensors", variant="cn14-160", width=1.5),
        teacher(tmp_path / "b.safetensors", variant="cn18", width=0.25, channel_order="BGR"),
    ]
    images = torch.randint(0, 256, (2, 32, 96, 3), dtype=torch.uint8)
    said = Teachers(models, CAMVID, CPU).softmax(images, 2.0)
    expected = []
    for model in models:
        network, header = load_weights(model)
        pixels = images.numpy() / 255.0
        if header.channel_order == "RGB":
            pixels = pixels[..., ::-1]
        pixels = (pixels - header.mean) / header.std
        inputs = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))).float()
        bottom, right = -32 % network.size_multiple, -96 % network.size_multiple
        inputs = torch.nn.functional.pad(inputs, (0, right, 0, bottom))
        with torch.no_grad():
            expected.append((network.coarse_logits(inputs)[..., :4, :12] / 2).softmax(1))
    assert said.shape == (2, 11, 4, 12)
    torch.testing.assert_close(said, (expected[0] + expected[1]) / 2, atol=1e-4, rtol=0)


def test_only_the_student_learns(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = teacher(tmp_path / "wide.safetensors", variant="cn14-160", width=1.5)
    recipe = Recipe.from_dict(
        {
            "variant": "cn14-160", "network_size": "frame", "train": [SCENES], "steps": 2,
            "batch": 2, "augmentation": {"crop": [32, 64]}, "teacher": model, "teacher_weight": 3,
        }
    )  # fmt: skip
    training = Training(recipe, tmp_path / "run", None, "cpu", workers=0)
    images = torch.randint(0, 256, (2, 32, 64, 3), dtype=torch.uint8)
    # Nothing is labelled: whatever the student learns, it learns from its teacher.
    labels = torch.full((2, 32, 64), 255, dtype=torch.uint8)
    teachers = training.objective.teachers
    before = [p.clone() for network in teachers.networks for p in network.state_dict().values()]
    training.model.eval()
    parts = training.objective(training.model, images, labels)
    assert float(parts["main"].detach()) == float(parts["auxiliary"].detach()) == 0
    said = teachers.softmax(images, 1.0)
    assert not said.requires_grad
    with torch.no_grad():
        logits, _ = training.model(torch.as_tensor(_inputs(images, training.header)))
    expected = 3 * distillation_loss(logits, said, 1.0)
    assert float(parts["teacher"].detach()) == pytest.approx(float(expected), rel=1e-4)
    sum(parts.values()).backward()
    # The auxiliary head hangs on the context branch, which the divergence does not pass.
    learns = {
        name
        for name, parameter in training.model.named_parameters()
        if parameter.grad is not None and float(parameter.grad.abs().sum()) > 0
    }
    assert {name.split(".")[0] for name in learns} == {"network"}
    assert "network.detail.0.0.weight" in learns
    assert "network.context.0.0.weight" in learns
    training.run()
    after = [p for network in teachers.networks for p in network.state_dict().values()]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert all(p.grad is None for network in teachers.networks for p in network.parameters())


def _inputs(images: torch.Tensor, header: WeightHeader) -> np.ndarray:
    pixels = (images.numpy()[..., ::-1] / 255 - header.mean) / header.std
    return pixels.transpose(0, 3, 1, 2).astype(np.float32)


def test_the_licence_of_a_teacher_is_inherited(tmp_path: Path) -> None:
    model = teacher(tmp_path / "t.safetensors", variant="cn14-160")
    recipe = Recipe.from_dict({"train": [SCENES], "teacher": [model], "batch": 1})
    header = Training(recipe, tmp_path / "run", None, "cpu").header
    assert header.data_licence == "generated scenes: no restriction; licence of t"


def test_a_teacher_of_other_classes_is_refused(tmp_path: Path) -> None:
    model = teacher(tmp_path / "t.safetensors", CITYSCAPES, variant="cn14-160")
    recipe = Recipe.from_dict({"train": [SCENES], "teacher": [model], "batch": 1})
    with pytest.raises(
        UserError, match=r"t\.safetensors has 19 cityscapes classes.*11 camvid classes:"
    ):
        Training(recipe, tmp_path / "run", None, "cpu")


def test_a_teacher_that_is_not_there_is_named(tmp_path: Path) -> None:
    recipe = Recipe.from_dict({"train": [SCENES], "teacher": ["nowhere.safetensors"]})
    with pytest.raises(UserError, match=r"nowhere\.safetensors"):
        Training(recipe, tmp_path / "run", None, "cpu")
