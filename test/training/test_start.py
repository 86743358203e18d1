"""Weights that a training starts from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_training import RECIPE, train

from contextnet_ros.files import UserError
from contextnet_ros.labels import CAMVID
from contextnet_ros.network import (
    load_weights,
)
from contextnet_ros.training.loop import Training
from contextnet_ros.training.recipe import Recipe


def test_training_starts_from_given_weights(tmp_path: Path, camvid: Path) -> None:
    train(tmp_path / "first", camvid)
    start = tmp_path / "first" / "best.safetensors"
    recipe = RECIPE.with_settings([f"init={start}"])
    second = Training(recipe, tmp_path / "second", camvid, "cpu")
    expected, _ = load_weights(start)
    for name, tensor in expected.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(second.model.network.state_dict()[name], tensor), name


def test_weights_of_another_network_are_no_start(tmp_path: Path, camvid: Path) -> None:
    train(tmp_path / "first", camvid, RECIPE.with_settings(["steps=1", "variant=cn14-160"]))
    recipe = RECIPE.with_settings([f"init={tmp_path / 'first' / 'best.safetensors'}", "width=0.5"])
    with pytest.raises(UserError, match=r"is cn14-160, the recipe wants cn14 x 0\.5"):
        Training(recipe, tmp_path / "second", camvid, "cpu")


def test_weights_of_other_classes_start_all_but_the_classes_that_are_new(
    tmp_path: Path, camvid: Path
) -> None:
    train(tmp_path / "first", camvid)
    start = tmp_path / "first" / "best.safetensors"
    table = tmp_path / "farm.yaml"
    table.write_text(
        "name: farm\nclasses:\n"
        "  - {name: cow, color: [1, 1, 1]}\n  - {name: sky, color: [2, 2, 2]}\n"
    )
    names = {name: None for name in CAMVID.names if name != "sky"}
    data = {"data": "camvid", "split": "train", "map": names}
    recipe = Recipe.from_dict(
        {
            **RECIPE.to_dict(),
            "classes": str(table),
            "init": str(start),
            "train": [{**data, "share": 1}],
            "validate": [],
        }
    )
    found = Training(recipe, tmp_path / "second", camvid, "cpu").model.network.state_dict()
    expected = load_weights(start)[0].state_dict()
    for name, tensor in expected.items():
        if name.startswith("classifier"):
            sky = CAMVID.names.index("sky")
            assert torch.equal(found[name][1], tensor[sky]), name
            assert not (found[name][0] == tensor).all(), name
        elif not name.endswith("num_batches_tracked"):
            assert torch.equal(found[name], tensor), name


def test_the_licence_of_the_start_is_inherited(tmp_path: Path, camvid: Path) -> None:
    train(tmp_path / "first", camvid)
    recipe = RECIPE.with_settings(
        [
            f"init={tmp_path / 'first' / 'best.safetensors'}",
            "train=[{data: generated, first_seed: 0, num_scenes: 1, size: [72, 96], share: 1}]",
            "validate=[]",
        ]
    )
    header = Training(recipe, tmp_path / "second", None, "cpu").header
    assert "CC BY-NC" in header.data_licence
