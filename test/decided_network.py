"""Networks of random weights that decide clearly, by both of their branches."""

from __future__ import annotations

import functools
from typing import Any

import torch

from contextnet_ros.network import ContextNet


@functools.cache
def decided(variant: str = "cn14", **options: Any) -> ContextNet:
    """A network of 11 classes, for all tests that ask for it: to be changed in a copy only.

    Its normalization fits its activations. Without that the context branch's features fade layer by
    layer, and no label is another one where they are lost.
    """
    torch.manual_seed(0)
    network = ContextNet(11, variant, **options)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    torch.nn.init.normal_(network.classifier.weight, std=0.3)
    network.train()
    with torch.no_grad():
        for size in (128, 192, 256):
            network(torch.nn.functional.avg_pool2d(3 * torch.randn(2, 3, size, size), 5, 1, 2))
    return network.eval()
