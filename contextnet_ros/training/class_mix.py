"""Classes of one crop laid over another: more scenes out of few (ClassMix, Olsson et al. 2020).

The paper has none of it.
"""

from __future__ import annotations

import numpy as np
import torch

from contextnet_ros.labels import IGNORE_ID


def mix_classes(
    images: torch.Tensor, labels: torch.Tensor, share: float, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Lay half the classes of the next crop of the batch, pixels and labels, over each crop that
    is drawn, with probability `share`.

    `images` (N, H, W, 3) and `labels` (N, H, W), uint8 on one device, N at least 2; returns new
    ones. Of an odd number of classes the smaller half is taken, of one that one.
    """
    number = len(images)
    mixed_images, mixed_labels = images.clone(), labels.clone()
    for index in range(number):
        if rng.random() >= share:
            continue
        other = (index + 1) % number
        present = np.flatnonzero(torch.bincount(labels[other].flatten(), minlength=256).cpu())
        present = present[present != IGNORE_ID]
        if not present.size:
            continue
        chosen = torch.zeros(256, dtype=torch.bool)
        chosen[rng.choice(present, max(1, present.size // 2), replace=False)] = True
        over = chosen.to(labels.device)[labels[other].long()]
        mixed_labels[index] = torch.where(over, labels[other], labels[index])
        mixed_images[index] = torch.where(over[..., None], images[other], images[index])
    return mixed_images, mixed_labels
