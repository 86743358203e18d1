"""A network as after a training, without one."""

from __future__ import annotations

import torch
from torch import nn

from contextnet_ros.network import ContextNet


def random_network(variant: str, width: float, ppm: bool = False) -> ContextNet:
    """Batch-norm statistics as after a training, and filters of very different size."""
    torch.manual_seed(0)
    network = ContextNet(5, variant, width=width, ppm=ppm).eval()
    nn.init.normal_(network.classifier.weight, std=0.5)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.5)
        elif isinstance(module, nn.Conv2d):
            module.weight.data *= torch.rand(len(module.weight), 1, 1, 1) + 0.5
    return network
