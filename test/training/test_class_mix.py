"""Classes of one crop laid over another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from contextnet_ros.files import UserError
from contextnet_ros.training.class_mix import mix_classes
from contextnet_ros.training.crop_device import Windows
from contextnet_ros.training.distributed import World
from contextnet_ros.training.loop import Training
from contextnet_ros.training.recipe import Recipe
from contextnet_ros.training.sampling import AugmentedSamples, batches


def crops(number: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Crops in stripes of six classes and a stripe without label; a pixel tells crop and label."""
    stripes = torch.tensor([0, 1, 2, 3, 4, 5, 255], dtype=torch.uint8).repeat_interleave(4)
    shifted = [stripes.roll(3 * index) for index in range(number)]
    labels = torch.stack([row.expand(8, -1) for row in shifted]).contiguous()
    which = torch.arange(number, dtype=torch.uint8).view(-1, 1, 1).expand_as(labels)
    return torch.stack([which, labels, labels], -1), labels


def test_half_the_classes_of_the_next_crop_lie_over_each() -> None:
    images, labels = crops()
    before = images.clone(), labels.clone()
    mixed_images, mixed_labels = mix_classes(images, labels, 1.0, np.random.default_rng(0))
    assert torch.equal(images, before[0]), "the batch itself stays as it is"
    assert torch.equal(labels, before[1])
    assert torch.equal(mixed_images[..., 1], mixed_labels), "pixels and labels come together"
    for index in range(3):
        other = (index + 1) % 3
        over = mixed_images[index, ..., 0] == other
        laid = set(labels[other][over].tolist())
        assert len(laid) == 3
        assert 255 not in laid
        # All of their pixels, and nothing else.
        whole = torch.isin(labels[other], torch.tensor(sorted(laid), dtype=torch.uint8))
        assert torch.equal(over, whole)
        assert torch.equal(mixed_labels[index][~over], labels[index][~over])


def test_the_share_of_crops_is_drawn_and_others_stay() -> None:
    images, labels = crops(2)
    changed = 0
    for seed in range(200):
        mixed, _ = mix_classes(images, labels, 0.25, np.random.default_rng(seed))
        changed += sum(not torch.equal(a, b) for a, b in zip(mixed, images, strict=True))
    assert 70 <= changed <= 130


def test_a_crop_without_labels_lays_nothing_and_one_class_is_laid_whole() -> None:
    images, labels = crops(2)
    labels[0] = 255
    labels[1] = 4
    mixed_images, mixed_labels = mix_classes(images, labels, 1.0, np.random.default_rng(0))
    assert (mixed_labels[0] == 4).all()
    assert torch.equal(mixed_images[0], images[1])
    assert torch.equal(mixed_images[1], images[1])


def recipe(**changes: Any) -> Recipe:
    data = {
        "variant": "cn14-160", "width": 0.5, "network_size": "frame",
        "train": [{"data": "generated", "first_seed": 1, "num_scenes": 3, "size": [64, 96],
                   "share": 1}],
        "steps": 4, "batch": 2, "warmup_steps": 0, "checkpoint_every": 1,
        "augmentation": {"crop": [64, 64], "class_mix": 1.0},
    }  # fmt: skip
    return Recipe.from_dict({**data, **changes})


@pytest.mark.parametrize("augment", ["loader", "device"])
def test_a_training_mixes_whoever_renders_and_a_resumed_one_alike(
    augment: str, tmp_path: Path
) -> None:
    training = Training(recipe(), tmp_path / "run", workers=0, device="cpu", augment=augment)
    samples = AugmentedSamples(
        list(training.sources), [1], training.recipe.augmentation, training.network_size, 1, 8,
        rendered=augment == "loader",
    )  # fmt: skip
    batch = next(iter(batches(samples, 0, 4, 2, 0)))
    assert isinstance(batch, Windows) == (augment == "device")
    images, labels = training._rendered(batch)
    plain = Training(
        recipe(augmentation={"crop": [64, 64]}), tmp_path / "plain", workers=0, device="cpu",
        augment=augment,
    )._rendered(batch)  # fmt: skip
    rng = np.random.default_rng([1, 3, 0, 0])
    expected = mix_classes(*plain, 1.0, rng)
    assert torch.equal(images, expected[0])
    assert torch.equal(labels, expected[1])
    assert not torch.equal(labels, plain[1])
    training.run()
    halves = tmp_path / "halves"
    first = Training(recipe(), halves, workers=0, device="cpu", augment=augment)
    first.run(stop=lambda: first.step >= 2)
    second = Training(recipe(), halves, workers=0, device="cpu", augment=augment)
    second.run()
    whole = training.model.state_dict()
    for name, value in second.model.state_dict().items():
        assert torch.equal(value, whole[name]), name


def test_a_batch_without_another_crop_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="batch 1 leaves class_mix no other crop"):
        Training(recipe(batch=1), tmp_path, workers=0, device="cpu")
    with pytest.raises(UserError, match="give 2 or more a process"):
        Training(recipe(), tmp_path, workers=0, device="cpu", world=World(0, 2))
    with pytest.raises(UserError, match=r"class_mix is 1\.5; give 0 to 1"):
        recipe(augmentation={"crop": [64, 64], "class_mix": 1.5})
