"""Which sample comes when: a function of seed and position, so that a resumed run repeats it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from contextnet_ros.files import UserError
from contextnet_ros.network import NetworkSize
from contextnet_ros.training.augment import Augmentation
from contextnet_ros.training.crop_device import Windows
from contextnet_ros.training.crops import Crop
from contextnet_ros.training.datasets import LabelledFrames
from contextnet_ros.training.distributed import World

Sample = tuple[torch.Tensor, torch.Tensor]
UnrenderedSample = tuple[torch.Tensor, torch.Tensor, Crop]


class AugmentedSamples(Dataset[Sample | UnrenderedSample]):
    """Sample `position` of a training, whatever process asks for it and in whatever order.

    Data sets are drawn by their shares; within one, every frame comes once before any comes again.
    Not `rendered`, a sample is a window of its frame with the crop to make of it.
    """

    def __init__(
        self,
        sources: list[LabelledFrames],
        shares: list[float],
        augmentation: Augmentation,
        network_size: NetworkSize,
        seed: int,
        length: int,
        rendered: bool = True,
    ) -> None:
        self.rendered = rendered
        self.sources = sources
        self.augmentation = augmentation
        self.network_size = network_size
        self.seed = seed
        probabilities = np.asarray(shares) / np.sum(shares)
        rng = np.random.default_rng([seed, 0])
        self.source_of = rng.choice(len(sources), size=length, p=probabilities)
        self.draw_of = np.zeros(length, np.int64)
        for index in range(len(sources)):
            drawn = self.source_of == index
            self.draw_of[drawn] = np.arange(drawn.sum())

    def __len__(self) -> int:
        return len(self.source_of)

    def __getitem__(self, position: int) -> Sample | UnrenderedSample:
        """BGR image (H, W, 3) and label (H, W), both uint8, at the size of the crop."""
        index = int(self.source_of[position])
        source = self.sources[index]
        epoch, place = divmod(int(self.draw_of[position]), len(source))
        order = np.random.default_rng([self.seed, 1, index, epoch]).permutation(len(source))
        image, label = source[int(order[place])]
        rng = np.random.default_rng([self.seed, 2, position])
        if self.rendered:
            image, label = self.augmentation.apply(image, label, self.network_size, rng)
            return torch.from_numpy(image), torch.from_numpy(label)
        crop = self.augmentation.draw(label, self.network_size, rng)
        # Copied: a window that hangs on its frame would take all of it along to the process.
        return (
            torch.from_numpy(image[crop.window].copy()),
            torch.from_numpy(label[crop.window].copy()),
            crop,
        )


class _BatchPositions:
    """Positions of this process's part of the batches from `first_step` on."""

    def __init__(self, first_step: int, steps: int, batch: int, world: World) -> None:
        self.first_step, self.steps, self.batch = first_step, steps, batch
        self.world = world

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.first_step, self.steps):
            part = self.batch // self.world.size
            start = step * self.batch + self.world.rank * part
            yield list(range(start, start + part))

    def __len__(self) -> int:
        return self.steps - self.first_step


class _Loader(DataLoader[Any]):
    """A DataLoader that tells a mistake of the user's as it was told in the loading process."""

    def __iter__(self) -> Any:
        try:
            yield from super().__iter__()
        except UserError as error:
            # Of another process torch tells where it was, and what, in the last line.
            _, _, told = str(error).strip().splitlines()[-1].rpartition(f"{UserError.__name__}: ")
            raise UserError(told) from error


def batches(
    samples: AugmentedSamples,
    first_step: int,
    steps: int,
    batch: int,
    workers: int,
    world: World | None = None,
    pin_memory: bool = False,
) -> DataLoader[Any]:
    """Batches `first_step` .. `steps` - 1 of (N, H, W, 3) images and (N, H, W) labels, uint8; of
    samples that are not rendered, Windows.

    Of several processes each gets its own part of every batch.
    """
    return _Loader(
        samples,
        batch_sampler=_BatchPositions(first_step, steps, batch, world or World()),
        num_workers=workers,
        collate_fn=None if samples.rendered else Windows.collate,
        pin_memory=pin_memory,
        worker_init_fn=_one_thread,
        prefetch_factor=4 if workers else None,
        # Its own generator: an iterator draws a seed when made, and a resumed run makes one more.
        generator=torch.Generator(),
    )


def _one_thread(_: int) -> None:
    cv2.setNumThreads(0)
