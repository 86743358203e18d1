"""A small real training, for the tests of what it does."""

from __future__ import annotations

from pathlib import Path

from contextnet_ros.training.loop import Training
from contextnet_ros.training.recipe import Recipe

RECIPE = Recipe.from_dict(
    {
        "name": "small",
        "network_size": "frame",
        "train": [
            {"data": "camvid", "split": "train", "share": 1},
            {"data": "generated", "first_seed": 0, "num_scenes": 2, "size": [72, 96], "share": 1},
        ],
        "validate": [{"data": "camvid", "split": "val"}],
        "steps": 6,
        "batch": 2,
        "warmup_steps": 2,
        "validate_every": 3,
        "checkpoint_every": 100,
        "class_weights": 1.1,
        "augmentation": {"crop": [64, 64]},
    }
)


def train(folder: Path, camvid: Path, recipe: Recipe = RECIPE, stop_after: int = 10**9) -> Training:
    training = Training(recipe, folder, camvid, "cpu", workers=0)
    training.run(stop=lambda: training.step >= stop_after)
    return training
