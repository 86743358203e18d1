"""Crops on the device that trains, in batches: the loader only cuts windows out of frames.

The arithmetic is OpenCV's up to rounding, so that both ways draw from the same distributions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from contextnet_ros.labels import IGNORE_ID
from contextnet_ros.training.crops import Crop


@dataclass(frozen=True)
class Windows:
    """A batch of windows, BGR (h, w, 3) and label (h, w) bytes, each of its own size (h, w), and
    what crops to make of them.

    `pixels`: all of a window's image, then of its label, and so on: one copy instead of many.
    """

    pixels: torch.Tensor
    sizes: list[tuple[int, int]]
    crops: list[Crop]

    @classmethod
    def collate(cls, samples: Sequence[tuple[torch.Tensor, torch.Tensor, Crop]]) -> Windows:
        """A batch of samples, for a DataLoader."""
        parts = [part.flatten() for image, label, _ in samples for part in (image, label)]
        sizes = [(label.shape[0], label.shape[1]) for _, label, _ in samples]
        return cls(torch.cat(parts), sizes, [crop for *_, crop in samples])

    def pin_memory(self) -> Windows:
        """The same in memory that a GPU reads while the CPU goes on; a DataLoader calls this."""
        return Windows(self.pixels.pin_memory(), self.sizes, self.crops)


@torch.no_grad()
def render(batch: Windows, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Crops (N, H, W, 3) BGR and their labels (N, H, W), uint8 on the device."""
    count, shape = len(batch.crops), batch.crops[0].shape
    images = torch.zeros((count, *shape, 3), device=device)
    labels = torch.full((count, *shape), IGNORE_ID, dtype=torch.uint8, device=device)
    counts = [part * rows * columns for rows, columns in batch.sizes for part in (3, 1)]
    parts = batch.pixels.to(device, non_blocking=True).split_with_sizes(counts)
    windows = zip(batch.crops, batch.sizes, parts[::2], parts[1::2], strict=True)
    for index, (crop, size, pixels, marks) in enumerate(windows):
        window, ids = pixels.view(*size, 3).float(), marks.view(size)
        rows, columns = (
            _resampling(source, target, crop.shrinks, crop.blur, device)
            for source, target in zip(ids.shape, crop.resized, strict=True)
        )
        images[index][crop.shown] = torch.einsum("yr,rcd,xc->yxd", rows, window, columns).round()
        near = [
            _nearest(source, target, device)
            for source, target in zip(ids.shape, crop.resized, strict=True)
        ]
        labels[index][crop.shown] = ids[near[0]][:, near[1]]
        if crop.flip:
            images[index] = images[index].flip(1)
            labels[index] = labels[index].flip(1)
    images = _colours(images, batch.crops)
    for index, crop in enumerate(batch.crops):
        if crop.noise:
            generator = torch.Generator(device).manual_seed(crop.noise_seed)
            noise = torch.randn((*shape, 3), generator=generator, device=device)
            images[index] += crop.noise * noise
        for hole in crop.holes:
            images[index][hole] = 0
            labels[index][hole] = IGNORE_ID
    return images.round_().clamp_(0, 255).to(torch.uint8), labels


def _resampling(
    source: int, target: int, areas: bool, blur: float, device: torch.device
) -> torch.Tensor:
    """(target, source) weights of resizing along one axis, and of blurring after it."""
    ratio = source / target
    places = torch.arange(source, device=device, dtype=torch.float32)
    starts = torch.arange(target, device=device, dtype=torch.float32)[:, None] * ratio
    if areas:
        overlap = torch.minimum(starts + ratio, places + 1) - torch.maximum(starts, places)
        weights = overlap.clamp(min=0) / ratio
    else:
        centres = (starts + ratio / 2 - 0.5).clamp(0, source - 1)
        weights = (1 - (centres - places).abs()).clamp(min=0)
    return _blurring(target, blur, device) @ weights if blur else weights


def _blurring(length: int, sigma: float, device: torch.device) -> torch.Tensor:
    """(length, length) weights of a Gaussian blur, as wide as OpenCV's, mirrored at the ends."""
    # A mirror folds once: a kernel wider than the picture is cut off, where OpenCV folds on.
    reach = min(round(sigma * 6 + 1) // 2, length - 1)
    offsets = torch.arange(-reach, reach + 1, device=device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    places = (torch.arange(length, device=device)[:, None] + offsets).abs()
    places = torch.minimum(places, 2 * (length - 1) - places)
    weights = torch.zeros((length, length), device=device)
    return weights.scatter_add_(1, places, (kernel / kernel.sum()).expand(length, -1))


def _nearest(source: int, target: int, device: torch.device) -> torch.Tensor:
    """Indices into one axis, as OpenCV's INTER_NEAREST_EXACT computes them in whole numbers."""
    step = ((source << 16) + target // 2) // target
    first = step // 2 - source % 2
    places = (torch.arange(target, device=device) * step + first) >> 16
    return places.clamp(max=source - 1)


def _colours(images: torch.Tensor, crops: Sequence[Crop]) -> torch.Tensor:
    """Saturation, hue, grey, contrast, brightness and gamma of images (N, H, W, 3), 0 to 255."""

    def each(name: str) -> torch.Tensor:
        values = [float(getattr(crop, name)) for crop in crops]
        return torch.tensor(values, device=images.device).view(-1, 1, 1)

    blue, green, red = images.unbind(-1)
    value, spread = images.amax(-1), images.amax(-1) - images.amin(-1)
    some = spread.clamp(min=1e-6)
    sixth = torch.where(
        value == red,
        (green - blue) / some,
        torch.where(value == green, 2 + (blue - red) / some, 4 + (red - green) / some),
    )
    sixth = sixth + each("hue") / 30
    chroma = value * (spread / value.clamp(min=1e-6) * each("saturation")).clamp(max=1)

    def channel(start: int) -> torch.Tensor:
        turn = (start + sixth) % 6
        return value - chroma * torch.minimum(turn, 4 - turn).clamp(0, 1)

    coloured = torch.stack([channel(1), channel(3), channel(5)], -1)
    if any(crop.gray for crop in crops):
        weights = torch.tensor([0.114, 0.587, 0.299], device=images.device)
        gray = (coloured @ weights)[..., None].expand_as(coloured)
        coloured = torch.where(each("gray")[..., None] > 0, gray, coloured)
    contrast, brightness = each("contrast")[..., None], each("brightness")[..., None]
    curved = (((coloured - 127.5) * contrast + 127.5) * brightness).clamp(0, 255)
    if any(crop.gamma != 1 for crop in crops):
        curved = 255 * (curved / 255) ** each("gamma")[..., None]
    return curved
