"""One branch without the other: for its training alone, and for what it adds (section 3.2)."""

from __future__ import annotations

import torch
from torch import nn

from contextnet_ros.network import ContextNet


def zero_branch(network: ContextNet, branch: str) -> None:
    """Make the fusion see zeros, for good, in place of what `branch` puts out, in place.

    `branch`: "context" or "detail", which of cn124 has both its shallow branches. The network
    stays a ContextNet like any other: zeroed are the first weights that read the branch, which is
    the same, and they learn no more. Raises ValueError for another branch.
    """
    for convolution in _readers(network, branch):
        with torch.no_grad():
            convolution.weight.zero_()
        convolution.weight.requires_grad_(False)


def _readers(network: ContextNet, branch: str) -> list[nn.Conv2d]:
    """The convolutions that the branch's features go through first on their way to the sum."""
    if branch == "detail":
        fusions = [network.fusion, network.half_fusion]
        readers = [fusion.detail[0] for fusion in fusions if fusion is not None]
    elif branch == "context":
        first = network.fusion if network.half_fusion is None else network.half_fusion
        depthwise = first.context[0]
        assert isinstance(depthwise, nn.Sequential)
        readers = [depthwise[0]]
    else:
        raise ValueError(f"branch {branch!r} is neither context nor detail")
    convolutions = []
    for reader in readers:
        assert isinstance(reader, nn.Conv2d)
        convolutions.append(reader)
    return convolutions
