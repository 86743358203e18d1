"""What a step minimizes: the parts of a recipe's loss, over all processes."""

from __future__ import annotations

import torch
from torch import nn

from contextnet_ros.network import WeightHeader
from contextnet_ros.training.distillation import Teachers, distillation_loss
from contextnet_ros.training.distributed import World
from contextnet_ros.training.losses import labeled_weight, segmentation_loss, thinned
from contextnet_ros.training.pixels import normalized
from contextnet_ros.training.precision import Precision
from contextnet_ros.training.recipe import Recipe

PARTS = ("main", "auxiliary", "teacher")


class Objective:
    """The loss of a batch, in parts that sum to it; `class_weights` (num_classes,) or None."""

    def __init__(
        self,
        recipe: Recipe,
        header: WeightHeader,
        class_weights: torch.Tensor | None,
        teachers: Teachers,
        precision: Precision,
        world: World,
    ) -> None:
        self.recipe = recipe
        self.header = header
        self.class_weights = class_weights
        self.teachers = teachers
        self.precision = precision
        self.world = world

    def __call__(
        self, model: nn.Module, images: torch.Tensor, labels: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Bytes (N, H, W, 3) BGR and (N, H, W) on the model's device -> each part with its weight.

        `main` at the label's size and `auxiliary` are zero if nothing is labelled; `teacher`, there
        if the recipe names one, counts every position. Of several processes each gets what makes
        their mean the loss of the whole batch.
        """
        recipe = self.recipe
        labels = thinned(labels, recipe.loss_stride).long()
        with self.precision.autocast():
            logits, auxiliary = model(normalized(images, self.header))
        logits, auxiliary = logits.float(), auxiliary.float()
        main = segmentation_loss(
            logits,
            labels,
            class_weights=self.class_weights,
            label_smoothing=recipe.label_smoothing,
            ohem_share=recipe.ohem_share,
            lovasz_weight=recipe.lovasz_weight,
        )
        side = segmentation_loss(auxiliary, labels, class_weights=self.class_weights)
        parts = {"main": main, "auxiliary": recipe.auxiliary_weight * side}
        if self.world.size > 1:
            counted = labeled_weight(labels, self.class_weights)
            everywhere = self.world.total(counted).clamp(min=1e-9)
            share = counted / everywhere * self.world.size
            parts = {name: part * share for name, part in parts.items()}
        if len(self.teachers):
            with self.precision.autocast():
                said = self.teachers.softmax(images, recipe.teacher_temperature)
            divergence = distillation_loss(logits, said, recipe.teacher_temperature)
            parts["teacher"] = recipe.teacher_weight * divergence
        return parts
