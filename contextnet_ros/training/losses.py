"""Losses of recipes: cross entropy and its companions, over the pixels that are labelled."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from contextnet_ros.labels import IGNORE_ID


def segmentation_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    class_weights: torch.Tensor | None = None,
    label_smoothing: float = 0.0,
    ohem_share: float | None = None,
    lovasz_weight: float = 0.0,
) -> torch.Tensor:
    """Mean loss of logits (N, C, h, w), interpolated to labels (N, H, W); 0 if none is labelled.

    `ohem_share`: of the labelled pixels only this share counts, those with the largest cross
    entropy. `lovasz_weight`: of the Lovasz softmax loss, which is added.
    """
    if not bool((labels != IGNORE_ID).any()):
        return logits.sum() * 0
    full = F.interpolate(logits, size=labels.shape[-2:], mode="bilinear", align_corners=False)
    reduction = "mean" if ohem_share is None else "none"
    entropy = F.cross_entropy(
        full,
        labels,
        weight=class_weights,
        ignore_index=IGNORE_ID,
        label_smoothing=label_smoothing,
        reduction=reduction,
    )
    if ohem_share is not None:
        entropy = _hardest(entropy, labels, class_weights, ohem_share)
    if lovasz_weight:
        entropy = entropy + lovasz_weight * lovasz_softmax(full.softmax(1), labels)
    return entropy


def thinned(labels: torch.Tensor, stride: int) -> torch.Tensor:
    """The middle pixel of every stride x stride block: (N, H, W) -> (N, H / stride, W / stride).

    For an odd stride that divides both sides, logits interpolated to that size are those that
    interpolation to the full size gives at these very pixels.
    """
    return labels[:, stride // 2 :: stride, stride // 2 :: stride]


def labeled_weight(labels: torch.Tensor, class_weights: torch.Tensor | None) -> torch.Tensor:
    """What the mean of the loss divides by: labelled pixels, each with the weight of its class."""
    truth = labels[labels != IGNORE_ID]
    if class_weights is None:
        return torch.tensor(float(truth.numel()), device=labels.device)
    return class_weights[truth].sum()


def _hardest(
    losses: torch.Tensor,
    labels: torch.Tensor,
    class_weights: torch.Tensor | None,
    share: float,
) -> torch.Tensor:
    """Mean over the `share` of labelled pixels with the largest loss, weighted as their classes."""
    counted = labels != IGNORE_ID
    values, truth = losses[counted], labels[counted]
    chosen = torch.topk(values, max(1, round(share * values.numel()))).indices
    if class_weights is None:
        return values[chosen].mean()
    return values[chosen].sum() / class_weights[truth[chosen]].sum()


def lovasz_softmax(probabilities: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Lovasz extension of 1 - IoU, averaged over the classes in `labels` (Berman et al., 2018).

    Probabilities (N, C, H, W), labels (N, H, W) with at least one that is not ignored.
    """
    counted = labels != IGNORE_ID
    flat = probabilities.permute(0, 2, 3, 1)[counted]
    truth = labels[counted]
    losses = []
    for class_id in torch.bincount(truth).nonzero().flatten().tolist():
        present = (truth == class_id).to(flat.dtype)
        errors = (present - flat[:, class_id]).abs()
        order = _descending(errors.detach())
        errors, present = errors[order], present[order]
        # 1 - IoU when the n largest errors are wrong; its steps weigh the errors.
        missed, added = present.cumsum(0), (1 - present).cumsum(0)
        jaccard = 1 - (present.sum() - missed) / (present.sum() + added)
        steps = torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
        losses.append((errors * steps).sum())
    return torch.stack(losses).mean()


def _descending(values: torch.Tensor) -> torch.Tensor:
    """The order of the values (N,), the largest first; any order of equal ones."""
    if values.device.type != "cpu":
        return values.argsort(descending=True)
    # NumPy sorts floats in vectors; PyTorch's sort took a good part of a training step.
    return torch.from_numpy(np.argsort(-values.float().numpy()))
