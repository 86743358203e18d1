"""More feature maps that change nothing yet: Net2Net's wider network (Chen et al., 2016).

A wider network that starts where a narrower one stands, as a teacher or for a faster machine.
"""

from __future__ import annotations

import torch

from contextnet_ros.network import ContextNet
from contextnet_ros.training.map_groups import Maps, carry_over, paired_groups, weight_of

# Of the weights that are shared out: enough for copies to have gradients of other directions.
_NOISE = 0.5


@torch.no_grad()
def widen(network: ContextNet, width: float) -> ContextNet:
    """A network of `width` with the logits of `network`, up to rounding.

    Maps are copied, in turn, and the weights that read a map are shared out among its copies, not
    evenly, so that a training tells copies apart; the same every time. Raises ValueError for a
    width that is not more, or impossible, or from so few maps that others are added up.
    """
    if width <= network.width:
        raise ValueError(f"width {width:g} is not above the network's {network.width:g}")
    wide = ContextNet(
        network.num_classes, network.variant, network.dropout.p, width=width, ppm=network.ppm
    ).to(network.classifier.weight)
    try:
        groups = paired_groups(network, wide)
    except ValueError as error:
        raise ValueError(f"{error}: begin with a wider network") from error
    device = network.classifier.weight.device
    maps = [
        torch.arange(len(weight_of(ours.filters[0])), device=device)
        % len(weight_of(theirs.filters[0]))
        for theirs, ours in groups
    ]
    random = torch.Generator().manual_seed(0)

    def shared_out(weight: torch.Tensor, chosen: Maps) -> torch.Tensor:
        copies = torch.bincount(chosen)
        even = weight[:, chosen] / copies[chosen][None, :, None, None]
        # One weight alone has no deviation.
        size = torch.nan_to_num(even.std()) * _NOISE
        noise = torch.randn(even.shape, generator=random).to(even) * size
        # What is added to one copy is taken from the others of the same map.
        sums = torch.zeros_like(weight).index_add_(1, chosen, noise)
        return even + (noise - (sums / copies[None, :, None, None])[:, chosen])

    carry_over(network, wide, maps, shared_out)
    return wide.train(network.training)
