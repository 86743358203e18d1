"""What a recipe says of losses and steps reaches them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_training import RECIPE, train

from contextnet_ros.labels import CAMVID
from contextnet_ros.training import loop
from contextnet_ros.training.loop import Training
from contextnet_ros.training.losses import segmentation_loss, thinned
from contextnet_ros.training.optimizers import learning_rate
from contextnet_ros.training.pixels import normalized
from contextnet_ros.training.recipe import Recipe
from contextnet_ros.training.start import class_weights


def test_every_step_has_the_learning_rate_of_the_schedule(tmp_path: Path, camvid: Path) -> None:
    recipe = RECIPE.with_settings(["variant=cn14-160", "validate=[]"])
    training = Training(recipe, tmp_path / "run", camvid, "cpu", workers=0)
    rates = []
    training.run(stop=lambda: rates.append([g["lr"] for g in training.optimizer.param_groups]))
    assert rates == [[learning_rate(recipe, step)] * 2 for step in range(recipe.steps)]


def test_gradients_are_clipped_to_their_norm(tmp_path: Path, camvid: Path) -> None:
    recipe = RECIPE.with_settings(["gradient_clip=0.001", "optimizer=rmsprop", "warmup_steps=0"])
    recipe = recipe.with_settings(["steps=1", "weight_decay=0", "variant=cn14-160"])
    training = Training(recipe, tmp_path / "run", camvid, "cpu", workers=0)
    before = [parameter.detach().clone() for parameter in training.model.parameters()]
    training.run()
    moved = [
        (after.detach() - start).square().sum()
        for after, start in zip(training.model.parameters(), before, strict=True)
    ]
    # One step of rmsprop divides by about sqrt(0.9 + 1): what moved tells the gradients' norm.
    norm = float(torch.stack(moved).sum().sqrt()) / recipe.learning_rate * 1.9**0.5
    assert norm == pytest.approx(0.001, rel=1e-2)


def test_every_option_of_the_recipe_reaches_the_loss(tmp_path: Path, camvid: Path) -> None:
    recipe = RECIPE.with_settings(
        ["variant=cn14-160", "dropout=0", "augmentation={crop: [96, 96]}"]
    )
    training = Training(recipe, tmp_path / "run", camvid, "cpu")
    # At the start all classes are about as likely: many options would change next to nothing.
    torch.nn.init.normal_(training.model.network.classifier.weight, std=0.5)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (2, 96, 96, 3), dtype=torch.uint8, generator=generator)
    labels = torch.randint(11, (2, 96, 96), dtype=torch.uint8, generator=generator)
    weights = class_weights(recipe, training.sources)
    assert weights.std() > 0.1
    logits, side = training.model(normalized(images, training.header))
    seen = set()
    for stride, weight, options in (
        (1, 0.4, {}),
        (1, 0.7, {"label_smoothing": 0.1}),
        (1, 0.4, {"ohem_share": 0.3}),
        (1, 0.4, {"lovasz_weight": 0.5}),
        (3, 0.4, {}),
    ):
        settings = {**options, "loss_stride": stride, "auxiliary_weight": weight}
        training.objective.recipe = recipe.with_settings([f"{k}={v}" for k, v in settings.items()])
        parts = training.objective(training.model, images, labels)
        kept = thinned(labels, stride).long()
        main = segmentation_loss(logits, kept, class_weights=weights, **options)
        auxiliary = weight * segmentation_loss(side, kept, class_weights=weights)
        torch.testing.assert_close(parts["main"], main)
        torch.testing.assert_close(parts["auxiliary"], auxiliary)
        seen.add(round(float(main.detach()), 3))
    assert len(seen) == 5, "options that change nothing would compare equal"


def test_classes_weigh_by_how_often_the_shares_of_the_data_show_them() -> None:
    class Labels:
        table = CAMVID
        description = "labels"

        def __init__(self, *ids: int) -> None:
            self.ids = np.array([ids], np.uint8)

        def __len__(self) -> int:
            return 1

        def label(self, _: int) -> np.ndarray:
            return self.ids

    entry = {"data": "generated", "first_seed": 0, "num_scenes": 1}
    entries = [{**entry, "share": 3}, {**entry, "share": 1}]
    recipe = Recipe.from_dict({"train": entries, "class_weights": 1.1})
    # Of the first three quarters and a quarter, of the other, which counts a third, all.
    found = class_weights(recipe, [Labels(0, 0, 0, 1), Labels(1)])
    frequencies = [(3 * 0.75) / 4, (3 * 0.25 + 1) / 4] + [0] * 9
    expected = 1 / np.log(1.1 + np.array(frequencies))
    np.testing.assert_allclose(found, expected / expected.mean(), rtol=1e-5)


def test_dropout_and_shares_are_those_of_the_recipe(
    tmp_path: Path, camvid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = [{**entry, "share": share} for entry, share in zip(RECIPE.train, (3, 1), strict=True)]
    changes = {"train": shares, "steps": 200, "dropout": 0.3}
    recipe = Recipe.from_dict({**RECIPE.to_dict(), **changes})
    training = Training(recipe, tmp_path / "run", camvid, "cpu")
    rates = [m.p for m in training.model.modules() if isinstance(m, torch.nn.Dropout)]
    assert rates == [0.3, 0.3]
    asked = []
    monkeypatch.setattr(loop, "batches", lambda samples, *_, **__: asked.append(samples) or [])
    training.run()
    assert 270 <= (asked[0].source_of == 0).sum() <= 330


def test_every_loss_option_trains(tmp_path: Path, camvid: Path) -> None:
    recipe = RECIPE.with_settings(
        ["label_smoothing=0.1", "ohem_share=0.3", "lovasz_weight=0.5", "steps=1"]
    ).with_settings(["variant=cn14-160"])
    assert train(tmp_path / "run", camvid, recipe).step == 1


def test_a_batch_without_labels_gives_a_zero_loss(tmp_path: Path, camvid: Path) -> None:
    training = Training(RECIPE, tmp_path / "run", camvid, "cpu")
    images = torch.zeros(2, 64, 64, 3, dtype=torch.uint8)
    labels = torch.full((2, 64, 64), 255, dtype=torch.uint8)
    assert float(sum(training.objective(training.model, images, labels).values()).detach()) == 0.0
