"""The published networks by their names: what distinguishes one from another (Table 4)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

STRIDE = 8
"""Network pixels per logit in each direction."""

DetailChannels = tuple[int, int, int, int]


@dataclass(frozen=True)
class Variant:
    """Resolutions and feature maps of one network.

    `context_scale`: the deep branch sees the image reduced by it. `context` rows are (expansion,
    output channels, repeats, stride of the first), Table 2 without its two convolutions.
    `half_detail_channels`: of a second shallow branch at half resolution, which only cn124 has.
    """

    context_scale: int
    detail_channels: DetailChannels
    context_stem: int
    context: tuple[tuple[int, int, int, int], ...]
    context_channels: int
    fusion_channels: int
    half_detail_channels: DetailChannels | None = None

    @property
    def size_multiple(self) -> int:
        """Height and width that the branches and their fusion need to divide by."""
        return STRIDE * max(self.context_scale, 2 if self.half_detail_channels else 1)

    def widened(self, width: float) -> Variant:
        """The same network with `width` times the feature maps, rounded; raises ValueError."""
        if not 1 / 16 <= width <= 16:
            raise ValueError(f"width {width} is outside 1/16 to 16")

        def maps(count: int) -> int:
            return max(1, math.floor(count * width + 0.5))

        def detail(channels: DetailChannels) -> DetailChannels:
            first, second, third, fourth = channels
            return maps(first), maps(second), maps(third), maps(fourth)

        half = self.half_detail_channels
        return replace(
            self,
            detail_channels=detail(self.detail_channels),
            context_stem=maps(self.context_stem),
            context=tuple((t, maps(channels), n, s) for t, channels, n, s in self.context),
            context_channels=maps(self.context_channels),
            fusion_channels=maps(self.fusion_channels),
            half_detail_channels=detail(half) if half else None,
        )


_CN14 = Variant(
    context_scale=4,
    detail_channels=(32, 64, 128, 128),
    context_stem=32,
    context=(
        (1, 32, 1, 1),
        (6, 32, 1, 1),
        (6, 48, 3, 2),
        (6, 64, 3, 2),
        (6, 96, 2, 1),
        (6, 128, 2, 1),
    ),
    context_channels=128,
    fusion_channels=128,
)

VARIANTS = {
    "cn14": _CN14,
    "cn18": replace(_CN14, context_scale=8),
    "cn12": replace(_CN14, context_scale=2),
    # Channel counts from here on are not printed: docs/network.md has the reasons for these.
    "cn124": replace(_CN14, half_detail_channels=(64, 128, 128, 128)),
    "cn14-500": _CN14.widened(0.75),
    "cn14-160": Variant(
        context_scale=4,
        detail_channels=(16, 32, 48, 48),
        context_stem=16,
        context=(
            (1, 16, 1, 1),
            (6, 16, 1, 1),
            (6, 24, 3, 2),
            (6, 24, 3, 2),
            (6, 40, 2, 1),
            (6, 48, 2, 1),
        ),
        context_channels=48,
        fusion_channels=48,
    ),
}
"""Networks by the paper's names (Table 4)."""
