"""Bytes of frames as the network wants them, for batches on the device."""

from __future__ import annotations

import torch

from contextnet_ros.network import WeightHeader


def normalized(images: torch.Tensor, header: WeightHeader) -> torch.Tensor:
    """Bytes (N, H, W, 3) BGR -> (N, 3, H, W) float32, channels last, in the header's order."""
    mean = torch.tensor(header.mean, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(header.std, device=images.device).view(1, 3, 1, 1)
    pixels = images.permute(0, 3, 1, 2)
    if header.channel_order == "RGB":
        pixels = pixels.flip(1)
    scaled = (pixels.float() / 255 - mean) / std
    return scaled.contiguous(memory_format=torch.channels_last)
