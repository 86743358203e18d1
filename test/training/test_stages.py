"""A training with the stages of pruning after it, as it runs and as it goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from contextnet_ros.files import UserError
from contextnet_ros.network import ContextNet, WeightHeader, load_weights, read_header
from contextnet_ros.training import stages
from contextnet_ros.training.datasets import LabelledFrames
from contextnet_ros.training.loop import Training
from contextnet_ros.training.optimizers import learning_rate
from contextnet_ros.training.pruning import prune
from contextnet_ros.training.recipe import Recipe
from contextnet_ros.training.stages import Setup

RECIPE = Recipe.from_dict(
    {
        "name": "pruned",
        "variant": "cn14-160",
        "width": 1.0,
        "network_size": "frame",
        "train": [{"data": "camvid", "split": "train", "share": 1}],
        "validate": [{"data": "camvid", "split": "val"}],
        "steps": 3,
        "batch": 2,
        "warmup_steps": 0,
        "validate_every": 2,
        "checkpoint_every": 1,
        "augmentation": {"crop": [32, 64]},
        "prune": {"widths": [0.5, 0.25], "steps": 2, "learning_rate": "1e-3"},
    }
)


@pytest.fixture
def setup(drawn_camvid: Path) -> Setup:
    return Setup(drawn_camvid, "cpu", workers=0)


def stopping(after: int):
    """Runs a training for `after` steps more."""

    def run(training: Training) -> Path:
        last = training.step + after
        return training.run(stop=lambda: training.step >= last)

    return run


def test_stages_interrupted_anywhere_end_bit_for_bit_where_uninterrupted_ones_do(
    tmp_path: Path, setup: Setup
) -> None:
    whole = stages.train(RECIPE, tmp_path / "whole", setup)
    assert (whole.finished, whole.step, whole.steps) == (True, 7, 7)

    parts = tmp_path / "parts"
    seen = []
    while not seen or not seen[-1].finished:
        # Two steps a stage end it, or leave it one before its end.
        seen.append(stages.train(RECIPE, parts, setup, stopping(2)))
        assert len(seen) < 9
    assert [outcome.step for outcome in seen] == [2, 7]
    expected, header = load_weights(whole.best)
    found, other = load_weights(seen[-1].best)
    assert header.scores == other.scores
    for name, tensor in expected.state_dict().items():
        assert torch.equal(tensor, found.state_dict()[name]), name

    assert (header.width, header.recipe) == (0.25, RECIPE.to_dict())
    log = [json.loads(line) for line in (parts / "log.jsonl").read_text().splitlines()]
    assert [(entry["step"], entry["width"]) for entry in log] == [
        (2, 1.0), (3, 1.0), (5, 0.5), (7, 0.25),
    ]  # fmt: skip


def test_each_stage_starts_from_the_best_weights_of_the_one_before(
    tmp_path: Path, setup: Setup
) -> None:
    started: list[tuple[float, ContextNet]] = []
    read: list[list[LabelledFrames]] = []

    def run(training: Training) -> Path:
        network = ContextNet(11, "cn14-160", width=training.recipe.width)
        network.load_state_dict(training.model.network.state_dict())
        started.append((learning_rate(training.recipe, 0), network))
        read.append([*training.sources, *training.validation])
        return training.run()

    stages.train(RECIPE, tmp_path, setup, run)
    rates, networks = zip(*started, strict=True)
    assert rates == (RECIPE.learning_rate, 1e-3, 1e-3)
    assert read[0] == read[1] == read[2]
    for folder, later in (("1-width-1", networks[1]), ("2-width-0.5", networks[2])):
        best, _ = load_weights(tmp_path / folder / "best.safetensors")
        expected = prune(best, later.width).state_dict()
        for name, tensor in later.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                assert torch.equal(tensor, expected[name]), name


def test_a_finished_recipe_trains_no_more_and_another_is_refused(
    tmp_path: Path, setup: Setup
) -> None:
    plain = RECIPE.with_settings(["prune=null", "steps=1"])
    stages.train(plain, tmp_path, setup)

    def never(training: Training) -> Path:
        raise AssertionError(training.recipe.name)

    assert stages.train(plain, tmp_path, setup, never).finished
    with pytest.raises(UserError, match="another recipe"):
        stages.train(plain.with_settings(["batch=4"]), tmp_path, setup, never)
    (tmp_path / "best.safetensors").unlink()
    with pytest.raises(UserError, match=r"best\.safetensors of a finished training is gone"):
        stages.train(plain, tmp_path, setup, never)


def test_a_branch_trained_alone_keeps_the_other_zeroed(tmp_path: Path, setup: Setup) -> None:
    recipe = RECIPE.with_settings(["prune=null", "steps=2", "branch=context"])
    outcome = stages.train(recipe, tmp_path, setup)
    network, header = load_weights(outcome.best)
    assert header.recipe["branch"] == "context"
    assert not network.fusion.detail[0].weight.any()
    assert network.fusion.context[0][0].weight.any()


def test_weights_given_to_start_with_keep_their_licence(tmp_path: Path, setup: Setup) -> None:
    recipe = RECIPE.with_settings(["prune=null", "steps=1"])
    header = WeightHeader(recipe.table, "cn14-160", data_licence="mine alone")
    start = ContextNet(11, "cn14-160"), header
    Training(recipe, tmp_path, setup.roots, "cpu", workers=0, start=start).run()
    assert "mine alone" in read_header(tmp_path / "best.safetensors").data_licence


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["prune={widths: [0.5, 0.5], steps: 2}"], r"widths are \[0\.5, 0\.5\] from width 1"),
        (["prune={widths: [2], steps: 2}"], r"widths are \[2\.0\] from width 1"),
        (["prune={widths: []}"], r"widths are \[\]"),
        (["prune={widths: 1}"], "widths is 1; give a list"),
        (["prune={widths: [0.01], steps: 1}"], r"prune: width 0\.01 is outside"),
        (["prune={steps: 0}"], "steps is 0"),
        (["prune={stps: 1}"], "did you mean 'steps'"),
        (["prune={learning_rate: 0}"], "learning_rate is 0"),
        (["prune=1"], "prune is 1"),
        (["prune=null", "prune={widths: [1]}"], "lacks 'steps'"),
        (["branch=left"], "branch 'left' is unknown"),
    ],
)
def test_a_wrong_setting_is_told(settings: list[str], message: str) -> None:
    *before, wrong = settings
    recipe = RECIPE.with_settings(before)
    with pytest.raises(UserError, match=message):
        recipe.with_settings([wrong])
