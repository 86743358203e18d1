"""Which frame, and what of it, stands at a position of a training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from contextnet_ros.files import UserError
from contextnet_ros.labels import Pixels
from contextnet_ros.network import NetworkSize
from contextnet_ros.training.augment import Augmentation
from contextnet_ros.training.datasets import GeneratedScenes, InMemory
from contextnet_ros.training.sampling import AugmentedSamples, batches


def test_samples_depend_on_seed_and_position_alone() -> None:
    source = InMemory(GeneratedScenes(0, 3, (72, 96)))

    def samples(seed: int) -> AugmentedSamples:
        return AugmentedSamples(
            [source], [1.0], Augmentation(crop=(32, 64)), NetworkSize(), seed, 12
        )

    there, back = samples(4), samples(4)
    backwards = {position: back[position] for position in reversed(range(12))}
    for position in range(12):
        for one, other in zip(there[position], backwards[position], strict=True):
            assert torch.equal(one, other)
    assert not torch.equal(samples(4)[0][0], samples(5)[0][0])
    tail = [images for images, _ in batches(samples(4), 2, 4, 3, workers=0)]
    assert len(tail) == 2
    assert torch.equal(tail[0][0], samples(4)[6][0])


def test_every_frame_comes_once_before_any_comes_again_and_shares_hold() -> None:
    class Counting:
        def __init__(self, length: int) -> None:
            self.length, self.seen = length, []

        def __len__(self) -> int:
            return self.length

        def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
            self.seen.append(index)
            return np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32), np.uint8)

    small, large = Counting(7), Counting(20)
    samples = AugmentedSamples(
        [small, large], [3, 1], Augmentation(crop=(32, 32)), NetworkSize(), 1, 400
    )
    for position in range(400):
        samples[position]
    assert 270 <= len(small.seen) <= 330
    assert set(small.seen[:7]) == set(small.seen[7:14]) == set(range(7))
    assert small.seen[:7] != small.seen[7:14]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_frame_that_breaks_during_the_training_is_told_in_one_line(workers: int) -> None:
    class Broken(GeneratedScenes):
        def __getitem__(self, index: int) -> tuple[Pixels, Pixels]:
            raise UserError(f"frame {index} is cut off: copy it again")

    samples = AugmentedSamples(
        [Broken(0, 1, (72, 96))], [1.0], Augmentation(crop=(32, 64)), NetworkSize(), 1, 4
    )
    with pytest.raises(UserError) as caught:
        list(batches(samples, 0, 2, 2, workers))
    assert str(caught.value) == "frame 0 is cut off: copy it again"
