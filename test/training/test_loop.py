"""The training loop on small real runs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from small_training import RECIPE, train

from contextnet_ros.files import UserError
from contextnet_ros.inference import Segmenter
from contextnet_ros.labels import CAMVID
from contextnet_ros.network import (
    ContextNet,
    WeightHeader,
    load_weights,
    read_header,
    save_weights,
)
from contextnet_ros.training import loop
from contextnet_ros.training.checkpoint import AveragedWeights, load_checkpoint
from contextnet_ros.training.evaluation import evaluate
from contextnet_ros.training.loop import Training
from contextnet_ros.training.optimizers import TensorFlowRMSprop
from contextnet_ros.training.recipe import Recipe


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_an_interrupted_run_ends_bit_for_bit_where_an_uninterrupted_one_does(
    tmp_path: Path, camvid: Path, precision: str
) -> None:
    recipe = RECIPE.with_settings([f"precision={precision}", "variant=cn14-160"])
    whole = train(tmp_path / "whole", camvid, recipe)
    for step in (1, 4):
        train(tmp_path / "parts", camvid, recipe, stop_after=step)
        assert load_checkpoint(tmp_path / "parts", recipe)["step"] == step
    resumed = train(tmp_path / "parts", camvid, recipe)
    assert whole.precision.state_dict() == resumed.precision.state_dict()
    assert bool(whole.precision.state_dict()) == (precision == "float16")
    assert whole.step == resumed.step == 6
    for (name, expected), found in zip(
        whole.model.state_dict().items(), resumed.model.state_dict().values(), strict=True
    ):
        assert torch.equal(expected, found), name
    first, _ = load_weights(tmp_path / "whole" / "best.safetensors")
    second, _ = load_weights(tmp_path / "parts" / "best.safetensors")
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name
    logs = [
        [json.loads(line) for line in (tmp_path / run / "log.jsonl").read_text().splitlines()]
        for run in ("whole", "parts")
    ]
    assert [entry["step"] for entry in logs[1]] == [3, 6]
    # Losses are means since the last entry, with those from before an interruption.
    for key in ("scores", "loss", "losses"):
        assert [entry[key] for entry in logs[0]] == [entry[key] for entry in logs[1]], key


def test_a_run_goes_on_without_the_weights_that_it_began_with(tmp_path: Path, camvid: Path) -> None:
    start = tmp_path / "start" / "best.safetensors"
    header = train(tmp_path / "start", camvid).header
    network, _ = load_weights(start)
    save_weights(start, network, dataclasses.replace(header, data_licence="none but mine"))
    recipe = RECIPE.with_settings([f"init={start}"])
    first = train(tmp_path / "parts", camvid, recipe, stop_after=1)
    start.unlink()
    resumed = train(tmp_path / "parts", camvid, recipe)
    assert resumed.step == RECIPE.steps
    assert "none but mine" in first.header.data_licence
    assert resumed.header == first.header


def test_the_best_weights_run_in_a_segmenter_with_the_scores_of_their_header(
    tmp_path: Path, camvid: Path
) -> None:
    train(tmp_path / "run", camvid)
    path = tmp_path / "run" / "best.safetensors"
    header = read_header(path)
    assert header.recipe["steps"] == 6
    assert "CC BY-NC" in header.data_licence
    assert "generated" in header.data_licence
    frames = Training(RECIPE, tmp_path / "other", camvid, "cpu").validation[0]
    scores = evaluate(Segmenter.load(path, "cpu", "float32"), frames)
    assert header.scores == [{"network_size": "frame", **scores}]


def test_the_best_weights_are_the_average_where_it_scored_highest(
    tmp_path: Path, camvid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = [60.0, 40.0]
    monkeypatch.setattr(
        loop, "evaluate", lambda *_: {"data": "camvid", "miou_percent": scores.pop(0)}
    )
    recipe = RECIPE.with_settings(["variant=cn14-160"])
    first = train(tmp_path / "run", camvid, recipe, stop_after=3)
    # What was best stays known over an interruption.
    assert train(tmp_path / "run", camvid, recipe).step == 6
    assert not scores
    network, header = load_weights(tmp_path / "run" / "best.safetensors")
    assert [entry["miou_percent"] for entry in header.scores] == [60.0]
    best, average = network.state_dict(), first.average.module.network.state_dict()
    for name, tensor in best.items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(average[name], tensor), name


def test_checkpoints_are_written_at_their_steps_and_where_a_run_is_stopped(
    tmp_path: Path, camvid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = []
    monkeypatch.setattr(loop, "save_checkpoint", lambda _, state: saved.append(state["step"]))
    recipe = RECIPE.with_settings(["variant=cn14-160", "validate_every=100", "checkpoint_every=2"])
    train(tmp_path / "run", camvid, recipe, stop_after=5)
    assert saved == [2, 4, 5]


def test_scores_are_of_the_average_in_float32_whatever_the_processor_does(
    tmp_path: Path, camvid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    class Recording(Segmenter):
        def __init__(self, network: ContextNet, header: WeightHeader, *choices: str) -> None:
            asked.append((network, *choices))
            super().__init__(network, header, *choices)

    monkeypatch.setattr(loop, "Segmenter", Recording)
    average = train(tmp_path / "run", camvid).average.module.network
    assert set(asked) == {(average, "cpu", "float32")}


def test_the_loss_falls_on_one_repeated_scene(tmp_path: Path) -> None:
    recipe = Recipe.from_dict(
        {
            **RECIPE.to_dict(),
            "train": [
                {
                    "data": "generated",
                    "first_seed": 5,
                    "num_scenes": 1,
                    "size": [64, 64],
                    "share": 1,
                }
            ],
            "validate": [],
            "steps": 30,
            "validate_every": 10,
            "checkpoint_every": 100,
            "augmentation": {"crop": [64, 64], "scale": [1, 1], "flip": False},
        }
    )
    Training(recipe, tmp_path, None, "cpu", workers=0).run()
    losses = [
        json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().splitlines()
    ]
    assert losses[-1] < 0.6 * losses[0]


def test_another_recipe_in_the_same_folder_is_refused(tmp_path: Path, camvid: Path) -> None:
    train(tmp_path / "run", camvid, stop_after=1)
    with pytest.raises(UserError, match=r"another recipe \(different: batch\)"):
        Training(RECIPE.with_settings(["batch=4"]), tmp_path / "run", camvid, "cpu")


def test_a_run_from_before_a_recipe_key_was_there_goes_on(tmp_path: Path, camvid: Path) -> None:
    train(tmp_path / "run", camvid, stop_after=1)
    path = tmp_path / "run" / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    for key in ("width", "ppm", "optimizer", "epsilon"):
        del state["recipe"][key]
    assert state.pop("table") == CAMVID.to_dict()
    torch.save(state, path)
    assert Training(RECIPE, tmp_path / "run", camvid, "cpu").step == 1


def test_rmsprop_trains_and_goes_on_from_its_checkpoint(tmp_path: Path, camvid: Path) -> None:
    recipe = RECIPE.with_settings(["optimizer=rmsprop", "steps=2", "variant=cn14-160"])
    train(tmp_path / "run", camvid, recipe, stop_after=1)
    training = train(tmp_path / "run", camvid, recipe)
    assert isinstance(training.optimizer, TensorFlowRMSprop)
    assert training.optimizer.param_groups[0]["epsilon"] == 1.0
    assert training.step == 2
    assert read_header(tmp_path / "run" / "best.safetensors").variant == "cn14-160"


def test_a_damaged_checkpoint_is_named(tmp_path: Path, camvid: Path) -> None:
    train(tmp_path / "run", camvid, stop_after=1)
    path = tmp_path / "run" / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"checkpoint\.pt can't be read"):
        Training(RECIPE, tmp_path / "run", camvid, "cpu")


@pytest.mark.parametrize(
    ("device", "workers", "message"), [("foo", 0, "'foo' is unknown"), ("cpu", -1, "workers is -1")]
)
def test_impossible_machines_are_refused(
    tmp_path: Path, camvid: Path, device: str, workers: int, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        Training(RECIPE, tmp_path / "run", camvid, device, workers)


def test_averaged_weights_follow_the_formula() -> None:
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(module.weight, 0.0)
    average = AveragedWeights(module, decay=0.5)
    expected = 0.0
    for step, value in enumerate((1.0, 3.0, -2.0)):
        torch.nn.init.constant_(module.weight, value)
        average.update(module, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    assert float(average.module.weight) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["best-teacher", "best"])
def test_the_recipe_for_a_gpu_starts_on_small_frames(
    name: str, tmp_path: Path, camvid: Path
) -> None:
    settings = Recipe.load(name).to_dict()
    for entry in (*settings["train"], *settings["validate"]):
        if entry["data"] == "generated":
            entry.update(num_scenes=1, size=[72, 96])
    settings["augmentation"].update(crop=[96, 96])
    settings.update(network_size="frame", batch=2, steps=1, width=0.25, warmup_steps=0)
    teacher = WeightHeader(CAMVID, "cn12", width=0.25)
    save_weights(tmp_path / "teacher.safetensors", teacher.build(), teacher)
    if name == "best":
        settings["teacher"] = [str(tmp_path / "teacher.safetensors")]
    training = train(tmp_path / "run", camvid, Recipe.from_dict(settings))
    assert training.step == 1
    assert len(read_header(tmp_path / "run" / "best.safetensors").scores) == 2
    entry = json.loads((tmp_path / "run" / "log.jsonl").read_text())
    assert ("teacher" in entry["losses"]) == (name == "best")
    assert sum(entry["losses"].values()) == pytest.approx(entry["loss"], abs=1e-3)
