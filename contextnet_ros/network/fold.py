"""Batch normalization merged into the convolutions, as section 3.1 does for inference."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from contextnet_ros.network.blocks import ConvUnit
from contextnet_ros.network.contextnet import ContextNet


def fold_batch_norm(network: ContextNet) -> ContextNet:
    """A copy in evaluation mode whose convolutions carry the batch normalization behind them."""
    folded = copy.deepcopy(network).eval()
    with torch.no_grad():
        for unit in folded.modules():
            if isinstance(unit, ConvUnit):
                convolution, normalization = unit[0], unit[1]
                assert isinstance(convolution, nn.Conv2d)
                assert isinstance(normalization, nn.BatchNorm2d)
                unit[0] = fuse_conv_bn_eval(convolution, normalization)
                del unit[1]
    return folded
