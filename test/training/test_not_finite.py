"""What a run does when a loss or its gradient is not finite."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from contextnet_ros.files import UserError
from contextnet_ros.training.checkpoint import CHECKPOINT_NAME, save_batch
from contextnet_ros.training.distributed import World
from contextnet_ros.training.loop import Training
from contextnet_ros.training.recipe import Recipe

RECIPE = Recipe.from_dict(
    {
        "variant": "cn14-160", "network_size": "frame", "steps": 6, "batch": 2,
        "validate_every": 2, "checkpoint_every": 1, "augmentation": {"crop": [32, 64]},
        "train": [
            {"data": "generated", "first_seed": 0, "num_scenes": 2, "size": [48, 64], "share": 1}
        ],
    }
)  # fmt: skip


def trained(folder: Path, steps: int, recipe: Recipe = RECIPE) -> Training:
    """A training in `folder` that has come as far and goes on when run again."""
    torch.set_num_threads(1)
    training = Training(recipe, folder, None, "cpu", workers=0)
    if steps:
        training.run(stop=lambda: training.step >= steps)
    return training


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    training = trained(tmp_path, 0)
    with torch.no_grad():
        training.model.network.classifier.bias.fill_(math.nan)
    with pytest.raises(UserError, match=r"loss is nan at step 0.*bad_batch\.npz") as caught:
        training.run()
    assert "-o NEW; the batch" in str(caught.value), "there are no weights to go on from"
    batch = np.load(tmp_path / "bad_batch.npz")
    assert batch["images"].shape == (2, 32, 64, 3)
    assert batch["labels"].dtype == np.uint8


def test_a_gradient_that_is_not_finite_stops_the_run_before_it_is_learned_from(
    tmp_path: Path,
) -> None:
    training = trained(tmp_path, 1)
    checkpoint = (tmp_path / CHECKPOINT_NAME).read_bytes()
    before = {name: value.clone() for name, value in training.model.state_dict().items()}
    bias = training.model.network.classifier.bias
    # A root's slope at zero is infinite, its value is not.
    training.objective = lambda *_: {"main": 2 + (bias * 0).sum().sqrt()}
    with pytest.raises(UserError, match=r"gradients is nan at step 1: .*bad_batch\.npz"):
        training.run()
    for name, value in training.model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert (tmp_path / CHECKPOINT_NAME).read_bytes() == checkpoint
    assert np.load(tmp_path / "bad_batch.npz")["step"] == 1


def test_the_remedy_works(tmp_path: Path) -> None:
    training = trained(tmp_path / "run", 2)
    training.objective = lambda model, *_: {"main": next(model.parameters()).sum() * math.nan}
    with pytest.raises(UserError, match="loss is nan at step 2") as caught:
        training.run()
    setting = str(caught.value).partition("-o NEW --set ")[2].partition(";")[0]
    changed = RECIPE.with_settings([setting, "learning_rate=1e-4"])
    assert trained(tmp_path / "new", 1, changed).step == 1


def test_the_batch_is_saved_by_every_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = []
    monkeypatch.setattr(World, "any", lambda self, *_: waited.append(self.rank))
    for rank in range(2):
        images, labels = torch.full((1, 2, 2, 3), rank), torch.zeros(1, 2, 2)
        paths = save_batch(tmp_path, images, labels, 7, World(rank, 2))
    assert [path.name for path in paths] == ["bad_batch_0.npz", "bad_batch_1.npz"]
    assert [int(np.load(path)["images"].max()) for path in paths] == [0, 1]
    assert waited == [0, 1]
