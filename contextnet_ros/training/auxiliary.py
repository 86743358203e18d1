"""The auxiliary classifier on the context branch (section 2.2, Design Choices)."""

from __future__ import annotations

import torch
from torch import nn

from contextnet_ros.network import ContextNet
from contextnet_ros.network.blocks import ConvUnit


class AuxiliaryHead(nn.Sequential):
    """Context features (N, C, h, w) -> logits (N, num_classes, h, w).

    The paper prints only the weight of its loss, 0.4; its layers are ours: 3 x 3, then 1 x 1.
    """

    def __init__(self, channels: int, num_classes: int, dropout: float = 0.1) -> None:
        super().__init__(
            ConvUnit(channels, channels, 3),
            nn.Dropout(dropout),
            nn.Conv2d(channels, num_classes, 1),
        )


class TrainedNetwork(nn.Module):
    """The network with its auxiliary head, as one module to optimise and to checkpoint."""

    def __init__(self, network: ContextNet, auxiliary: AuxiliaryHead) -> None:
        super().__init__()
        self.network = network
        self.auxiliary = auxiliary

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, 3, H, W) -> logits at 1/8 of the size, and auxiliary ones at the context's."""
        context = self.network.context_features(images)
        logits = self.network.classify(self.network.detail_features(images), context)
        auxiliary: torch.Tensor = self.auxiliary(context)
        return logits, auxiliary
