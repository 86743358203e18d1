"""Recipes: what they hold, and what is refused before a training starts."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from contextnet_ros.files import UserError, resource_dir
from contextnet_ros.training.recipe import Recipe

TRAIN = [{"data": "generated", "first_seed": 0, "num_scenes": 2, "share": 1}]
SCENES = {"data": "generated", "first_seed": 0, "num_scenes": 1, "share": 1}


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
        ({"width": 0}, r"width 0\.0 is outside"),
        ({"variant": "cn18", "augmentation": {"crop": [96, 64]}}, "multiples of 64"),
        ({"train": [{"data": "cityscapes", "share": 1}]}, "cityscapes lacks 'split'"),
        ({"epsilon": 0}, "epsilon 0.0; give"),
        ({"label_smoothing": 1}, r"label_smoothing is 1\.0"),
        ({"ohem_share": 0}, r"ohem_share is 0\.0"),
        ({"loss_stride": 2}, "loss_stride is 2; give an odd number"),
        ({"loss_stride": 5}, "loss_stride is 5.*divides both sides of the crop"),
        ({"precision": "float8"}, "precision 'float8' is unknown; choose auto, float32"),
        ({"precison": "auto"}, "'precison' is unknown; did you mean 'precision'"),
        ({"flip": False}, r"'flip' is unknown; did you mean 'flip' of augmentation\?"),
        ({"widhts": [1]}, r"'widhts' is unknown; did you mean 'widths' of prune\?"),
        ({"lr": 0.1}, r"'lr' is unknown; did you mean 'learning_rate'\?"),
        ({"stepps": 1}, r"'stepps' is unknown; did you mean 'steps'\?"),
        ({"teacher": 3}, "teacher is 3; give a list"),
        ({"teacher_weight": -1}, r"teacher_weight is -1\.0"),
        ({"teacher_temperature": 0}, r"teacher_temperature 0\.0"),
        ({"gradient_clip": -1}, r"gradient_clip is -1\.0"),
        ({"network_size": "big"}, "'big' is unknown"),
        ({"steps": 0}, "steps is 0"),
        ({"train": []}, "no training data"),
        ({"train": "camvid"}, "train is 'camvid'"),
        ({"train": [{"data": "generated", "share": 1}]}, "lacks 'first_seed'"),
        ({"train": [{**TRAIN[0], "share": None}]}, "share is None"),
        ({"steps": "abc"}, "steps is 'abc'; give a whole number"),
        ({"steps": 1.5}, "steps is 1.5; give a whole number"),
        ({"seed": "x"}, "seed is 'x'"),
        ({"steps": math.inf}, "steps is inf; give a whole number"),
        ({"learning_rate": math.nan}, "learning_rate is nan; give a number"),
        ({"learning_rate": math.inf}, "learning_rate is inf"),
        ({"learning_rate": 0}, r"learning_rate is 0\.0; give more than 0"),
        ({"seed": -1}, "seed is -1; give 0 or more"),
        ({"weight_decay": -0.1}, r"weight_decay is -0\.1; give 0 or more"),
        ({"auxiliary_weight": -1}, r"auxiliary_weight is -1\.0"),
        ({"power": -1}, r"power is -1\.0"),
        ({"warmup_steps": -1}, "warmup_steps is -1"),
        ({"ppm": "false"}, "ppm is 'false'; give true or false"),
        ({"freeze_normalization": None}, "freeze_normalization is None; give true or false"),
        ({"augmentation": {"flip": "no"}}, "flip is 'no'; give true or false"),
        ({"init": 5}, "init is 5; give a text"),
        ({"train": [{**TRAIN[0], "share": math.nan}]}, "share is nan"),
        ({"class_weights": 0.5}, r"class_weights is 0\.5"),
        ({"augmentation": 5}, "augmentation is 5"),
        ({"augmentation": {"crop": 5}}, "crop is 5"),
        ({"augmentation": {"scale": [2, 1]}}, "scale is 2.0 to 1.0"),
        ({"augmentation": {"gamma": -1}}, r"augmentation gamma is -1\.0; give 0 or more"),
        ({"augmentation": {"rare_crops": 2}}, r"augmentation rare_crops is 2\.0; give 0 to 1"),
        ({"augmentation": {"cutout": 0.5}}, "cutout is 0.5; give a whole number"),
        ({"train": [{"data": "imagenet"}]}, "'imagenet' is unknown"),
        ({"train": [{"data": "camvid", "splt": "train"}]}, "did you mean 'split'"),
        ({"train": [{"data": ["camvid"]}]}, r"data \['camvid'\] is unknown"),
        ({"train": [{**SCENES, "first_seed": "ten"}]}, "first_seed is 'ten'; give a whole number"),
        ({"train": [{**SCENES, "first_seed": True}]}, "first_seed is True"),
        ({"train": [{**SCENES, "num_scenes": 1.5}]}, "num_scenes is 1.5"),
        ({"train": [{**SCENES, "size": [64.5, 64]}]}, "size is 64.5"),
        ({"train": [{**SCENES, "root": 5}]}, "root is 5.*give a text"),
        ({"train": [{"data": "camvid", "split": 5}]}, "split is 5.*give a text"),
        ({"validate": [{"data": "camvid", "split": "val", "only": 6}]}, "only is 6; give a list"),
        ({"seed": 1 << 64}, "seed is 18446744073709551616; give less"),
        ({True: 2}, "key True is unknown"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        Recipe.from_dict({"train": TRAIN, **change})
    assert "\n" not in str(caught.value)


def test_a_rate_with_an_exponent_is_a_number() -> None:
    recipe = Recipe.from_dict({"train": TRAIN}).with_settings(["learning_rate=2e-3"])
    assert recipe.learning_rate == 0.002


def test_a_setting_of_a_group_is_told_where_it_belongs() -> None:
    recipe = Recipe.from_dict({"train": TRAIN})
    for setting, told in (
        ("crop=[64, 64]", r"--set 'augmentation=\{crop: \[64, 64\]\}'"),
        ("widths=[1]", r"--set 'prune=\{widths: \[1\]\}'"),
    ):
        with pytest.raises(UserError, match=told):
            recipe.with_settings([setting])


def test_a_setting_that_is_no_yaml_is_one_line() -> None:
    with pytest.raises(UserError, match="is no YAML value"):
        Recipe.from_dict({"train": TRAIN}).with_settings(["steps=[1"])


def test_a_share_is_one_unless_it_is_given() -> None:
    entries = [{"data": "camvid", "split": "train"}, {**TRAIN[0], "share": 0.5}]
    recipe = Recipe.from_dict({"train": entries})
    assert [entry["share"] for entry in recipe.train] == [1, 0.5]


def test_a_size_has_two_sides() -> None:
    entry = {"data": "generated", "first_seed": 0, "num_scenes": 1, "size": 64}
    with pytest.raises(UserError, match="size is 64"):
        Recipe.from_dict({"train": [{**entry, "share": 1}]})


def test_a_merged_mapping_may_be_given_keys_anew(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("train:\n- &a {data: camvid, split: train, share: 1}\n- {<<: *a, split: val}\n")
    one, other = Recipe.load(str(path)).train
    assert other == {**one, "split": "val"}


def test_files_that_are_no_recipes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no \.yaml file: give"):
        Recipe.load(__file__)
    with pytest.raises(UserError, match=r"'nowhere' does not exist.*camvid"):
        Recipe.load("nowhere")
    path = tmp_path / "r.yaml"
    path.write_text("a: [1")
    with pytest.raises(UserError, match="is no YAML"):
        Recipe.load(str(path))
    path.write_bytes("name: Stra\u00dfe".encode("latin-1"))
    with pytest.raises(UserError, match=r"r\.yaml is no UTF-8"):
        Recipe.load(str(path))
    path.write_text("steps: 1\nbatch: 2\nsteps: 3")
    with pytest.raises(UserError, match=r"'steps' stands there twice, again in line 3"):
        Recipe.load(str(path))
    path.write_text("name: 2024-13-45")
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
