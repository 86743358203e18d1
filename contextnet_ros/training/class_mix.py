"""Classes of one crop laid over another: more scenes out of few (ClassMix, Olsson et al. 2020).

The paper has none of it.
"""

from __future__ import annotations

import numpy as np
import torch

from contextnet_ros.files import UserError
from contextnet_ros.labels import IGNORE_ID
from contextnet_ros.training.distributed import World
from contextnet_ros.training.recipe import Recipe


class ClassMix:
    """Mix the batches of a training by its recipe; each process those of its own part.

    Raises UserError for parts of a single crop.
    """

    def __init__(self, recipe: Recipe, world: World) -> None:
        self._share = recipe.augmentation.class_mix
        self._seed, self._rank = recipe.seed, world.rank
        if self._share and recipe.batch < 2 * world.size:
            raise UserError(
                f"batch {recipe.batch} leaves class_mix no other crop: give 2 or more a process"
            )

    def __call__(
        self, images: torch.Tensor, labels: torch.Tensor, step: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A batch as `mix_classes` returns it, or itself where the recipe mixes none."""
        if not self._share:
            return images, labels
        # Of the step, as all that is drawn: a resumed run repeats it.
        rng = np.random.default_rng([self._seed, 3, step, self._rank])
        return mix_classes(images, labels, self._share, rng)


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
