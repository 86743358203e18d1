"""Distillation: a network learns from larger ones, and costs no more for it afterwards."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from contextnet_ros.files import UserError
from contextnet_ros.inference import model_path
from contextnet_ros.labels import ClassTable
from contextnet_ros.network import fold_batch_norm, load_weights
from contextnet_ros.network.contextnet import pad_to_multiple
from contextnet_ros.network.variants import STRIDE
from contextnet_ros.training.pixels import normalized
from contextnet_ros.training.tables import told_apart


class Teachers:
    """Trained networks whose mean softmax is what a student is to say.

    Any variant and width; each sees the pixels as its own header wants them. Nothing of them is
    trained. Raises UserError for weights that are missing or of another class table.
    """

    def __init__(self, models: Sequence[str], table: ClassTable, device: torch.device) -> None:
        self.licences: list[str] = []
        self.networks = []
        self._headers = []
        for model in models:
            network, header = load_weights(model_path(model))
            if header.table != table:
                raise UserError(
                    f"teacher {model} has {told_apart(header.table, table)}, the recipe "
                    f"{told_apart(table, header.table)}: name one with the same table"
                )
            folded = fold_batch_norm(network).to(device).requires_grad_(False)
            self.licences.append(header.data_licence)
            folded.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            self.networks.append(folded)
            self._headers.append(header)

    def __len__(self) -> int:
        return len(self.networks)

    @torch.no_grad()
    def softmax(self, images: torch.Tensor, temperature: float) -> torch.Tensor:
        """Bytes (N, H, W, 3) BGR on the device -> mean of softmax(logits / temperature) over the
        teachers, float32 (N, num_classes, H / 8, W / 8)."""
        height, width = (-(-side // STRIDE) for side in images.shape[1:3])
        said = []
        for network, header in zip(self.networks, self._headers, strict=True):
            # A teacher with a deeper reduction may need more padding than the student.
            padded = pad_to_multiple(normalized(images, header), network.size_multiple)
            logits = network.coarse_logits(padded)[..., :height, :width].float()
            said.append((logits / temperature).softmax(1))
        return torch.stack(said).mean(0)


def distillation_loss(
    logits: torch.Tensor, softmax: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Kullback-Leibler divergence of softmax(logits / temperature) from a teacher's `softmax`.

    Both (N, C, h, w); mean over all positions, times temperature^2, so that the gradients keep
    their size (Hinton et al., 2015).
    """
    student = F.log_softmax(logits / temperature, dim=1)
    divergence = F.kl_div(student, softmax, reduction="none").sum(1)
    return divergence.mean() * temperature**2
