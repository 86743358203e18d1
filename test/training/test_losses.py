"""Losses against what their definitions give by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from contextnet_ros.training.losses import lovasz_softmax, segmentation_loss, thinned


def sample(classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, classes, 8, 8, generator=generator)
    labels = torch.randint(0, classes, (2, 8, 8), generator=generator)
    labels[0, :3] = 255
    return logits, labels


def pixel_entropies(logits: torch.Tensor, labels: torch.Tensor) -> list[float]:
    rows = logits.permute(0, 2, 3, 1).reshape(-1, logits.shape[1]).double().numpy()
    return [
        float(np.log(np.exp(row).sum()) - row[label])
        for row, label in zip(rows, labels.flatten().tolist(), strict=True)
        if label != 255
    ]


def test_plain_cross_entropy_is_the_mean_over_labelled_pixels() -> None:
    logits, labels = sample()
    expected = np.mean(pixel_entropies(logits, labels))
    assert float(segmentation_loss(logits, labels)) == pytest.approx(expected, abs=1e-5)


def test_thinned_labels_meet_the_logits_that_the_full_size_has_there() -> None:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(2, 4, 12, 18, generator=generator)
    labels = torch.randint(0, 4, (2, 96, 144), generator=generator)
    full = F.interpolate(coarse, size=(96, 144), mode="bilinear", align_corners=False)
    expected = segmentation_loss(full[:, :, 1::3, 1::3], labels[:, 1::3, 1::3])
    torch.testing.assert_close(segmentation_loss(coarse, thinned(labels, 3)), expected)


def test_ohem_is_the_mean_over_the_hardest_share() -> None:
    logits, labels = sample()
    entropies = sorted(pixel_entropies(logits, labels), reverse=True)
    hardest = entropies[: round(0.25 * len(entropies))]
    found = segmentation_loss(logits, labels, ohem_share=0.25)
    assert float(found) == pytest.approx(np.mean(hardest), abs=1e-5)
    everything = segmentation_loss(logits, labels, ohem_share=1.0)
    assert float(everything) == pytest.approx(np.mean(entropies), abs=1e-5)


def test_ohem_over_everything_weighs_classes_as_cross_entropy_does() -> None:
    logits, labels = sample()
    weights = torch.tensor([0.5, 1.0, 2.0, 4.0])
    expected = segmentation_loss(logits, labels, class_weights=weights)
    found = segmentation_loss(logits, labels, class_weights=weights, ohem_share=1.0)
    torch.testing.assert_close(found, expected)


def test_label_smoothing_moves_the_target_towards_an_even_guess() -> None:
    logits = torch.tensor([[[[2.0]], [[0.0]]]])
    labels = torch.zeros(1, 1, 1, dtype=torch.long)
    right = math.log(1 + math.exp(-2))
    wrong = math.log(1 + math.exp(2))
    found = segmentation_loss(logits, labels, label_smoothing=0.2)
    assert float(found) == pytest.approx(0.9 * right + 0.1 * wrong, abs=1e-6)


def test_lovasz_of_a_hard_prediction_is_one_minus_its_iou() -> None:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 3, (1, 6, 6), generator=generator)
    labels[0, 0, :2] = 255
    predicted = torch.randint(0, 3, (1, 6, 6), generator=generator)
    hard = torch.nn.functional.one_hot(predicted, 3).permute(0, 3, 1, 2).float()
    counted = labels != 255
    losses = []
    for class_id in range(3):
        mine, truth = (predicted == class_id) & counted, (labels == class_id) & counted
        losses.append(1 - float((mine & truth).sum()) / float((mine | truth).sum()))
    assert float(lovasz_softmax(hard, labels)) == pytest.approx(np.mean(losses), abs=1e-6)


def test_lovasz_is_added_with_its_weight_and_has_a_gradient() -> None:
    logits, labels = sample()
    logits.requires_grad_(True)
    plain = segmentation_loss(logits, labels)
    both = segmentation_loss(logits, labels, lovasz_weight=0.5)
    extra = lovasz_softmax(logits.softmax(1), labels)
    torch.testing.assert_close(both, plain + 0.5 * extra)
    extra.backward()
    assert float(logits.grad.abs().sum()) > 0


def test_nothing_labelled_is_zero_with_every_option() -> None:
    logits, labels = sample()
    labels[:] = 255
    assert float(segmentation_loss(logits, labels, ohem_share=0.5, lovasz_weight=1)) == 0
