"""Recipes: what they hold, and what is refused before a training starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from contextnet_ros.files import UserError, resource_dir
from contextnet_ros.training.recipe import Recipe

TRAIN = [{"data": "generated", "first_seed": 0, "num_scenes": 2, "share": 1}]


@pytest.mark.parametrize(
    "name", sorted(p.stem for p in (resource_dir("config") / "recipes").glob("*.yaml"))
)
def test_every_shipped_recipe_loads_and_survives_its_dict(name: str) -> None:
    recipe = Recipe.load(name)
    assert recipe.name == name
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_shipped_recipes_never_train_on_what_they_are_scored_on() -> None:
    for path in (resource_dir("config") / "recipes").glob("*.yaml"):
        recipe = Recipe.load(path.stem)
        for entry in recipe.train:
            assert entry.get("split") != "test"
            if entry["data"] == "generated":
                assert entry["first_seed"] + entry["num_scenes"] <= 800_000


def test_settings_override_the_recipe() -> None:
    recipe = Recipe.from_dict({"train": TRAIN, "augmentation": {"hue": 3}})
    changed = recipe.with_settings(["steps=7", "augmentation={crop: [64, 96]}"])
    assert changed.steps == 7
    assert changed.augmentation.crop == (64, 96)
    assert changed.augmentation.hue == 3
    assert recipe.steps != 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rte": 1}, "'learning_rte' is unknown; did you mean 'learning_rate'"),
        ({"augmentation": {"crp": 1}}, "'crp' is unknown; did you mean 'crop'"),
        ({"augmentation": {"crop": [100, 100]}}, "multiples of 32"),
        ({"variant": "cn99"}, "'cn99' is unknown"),
        ({"classes": "ade20k"}, "'ade20k' is unknown"),
        ({"optimizer": "sgd"}, "optimizer 'sgd' is unknown"),
        ({"width": 0}, "width 0 is outside"),
        ({"variant": "cn18", "augmentation": {"crop": [96, 64]}}, "multiples of 64"),
        ({"train": [{"data": "cityscapes", "share": 1}]}, "cityscapes lacks split"),
        ({"train": [{"data": "cityscapes", "split": "train"}]}, "needs a share"),
        ({"network_size": "big"}, "'big' is unknown"),
        ({"steps": 0}, "steps is 0"),
        ({"train": []}, "no training data"),
        ({"train": [{"data": "imagenet"}]}, "'imagenet' is unknown"),
        ({"train": [{"data": "camvid", "splt": "train"}]}, "did you mean 'split'"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        Recipe.from_dict({"train": TRAIN, **change})
    assert "\n" not in str(caught.value)


def test_files_that_are_no_recipes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'nowhere' does not exist.*camvid"):
        Recipe.load("nowhere")
    path = tmp_path / "r.yaml"
    path.write_text("a: [1")
    with pytest.raises(UserError, match="is no YAML"):
        Recipe.load(str(path))
    path.write_text("just text")
    with pytest.raises(UserError, match="holds no settings"):
        Recipe.load(str(path))


def test_the_paper_recipe_has_every_printed_figure() -> None:
    recipe = Recipe.load("paper")
    assert (recipe.variant, recipe.classes, recipe.network_size) == ("cn14", "cityscapes", "frame")
    assert (recipe.optimizer, recipe.discount, recipe.momentum, recipe.epsilon) == (
        "rmsprop", 0.9, 0.9, 1.0,
    )  # fmt: skip
    assert (recipe.learning_rate, recipe.power) == (0.045, 0.98)
    assert recipe.auxiliary_weight == 0.4
    assert recipe.batch == 16
    assert recipe.steps == -(-1000 * 2975 // 16)
    assert recipe.class_weights is None
    assert recipe.init is None
    assert recipe.augmentation.scale == (0.5, 2.0)
    assert recipe.augmentation.flip
    assert [entry["data"] for entry in recipe.train] == ["cityscapes"]
