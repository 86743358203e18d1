"""Crops on the device against OpenCV's, drawn alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from contextnet_ros.network import NetworkSize
from contextnet_ros.training import crop_device, crop_host
from contextnet_ros.training.augment import Augmentation
from contextnet_ros.training.crop_device import Windows
from contextnet_ros.training.crops import Crop
from contextnet_ros.training.loop import Training
from contextnet_ros.training.recipe import Recipe
from contextnet_ros.training.sampling import AugmentedSamples, batches

CPU = torch.device("cpu")
NO_COLOURS = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}


def frame() -> tuple[np.ndarray, np.ndarray]:
    """A smooth picture of every colour whose blue tells the label, so that both must move alike."""
    noise = np.random.default_rng(0).integers(0, 256, (180, 240, 3)).astype(np.uint8)
    smooth = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 1.2), None, 0, 255, cv2.NORM_MINMAX)
    return smooth, (smooth[..., 0] // 24).astype(np.uint8)


def both(
    augmentation: Augmentation, count: int, size: str = "frame"
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images and labels of the same crops from the device's way and from OpenCV's."""
    image, label = frame()
    crops = [
        augmentation.draw(label, NetworkSize.parse(size), np.random.default_rng(seed))
        for seed in range(count)
    ]
    windows = [
        (torch.from_numpy(image[c.window].copy()), torch.from_numpy(label[c.window].copy()), c)
        for c in crops
    ]
    images, labels = crop_device.render(Windows.collate(windows), CPU)
    rendered = [crop_host.render(c, image[c.window], label[c.window]) for c in crops]
    expected, truths = zip(*rendered, strict=True)
    return images.numpy(), labels.numpy(), np.stack(expected), np.stack(truths)


@pytest.mark.parametrize("size", ["frame", "long_side 400"])
@pytest.mark.parametrize("blur", [0, 3])
def test_the_geometry_is_opencvs(size: str, blur: float) -> None:
    images, labels, expected, truths = both(
        Augmentation(crop=(64, 96), cutout=2, blur=blur, **NO_COLOURS), 24, size
    )
    np.testing.assert_array_equal(labels, truths)
    # Whole numbers on the way, and two roundings where there is a blur.
    assert np.abs(images.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    "colours", [{}, {"grayscale": 0.5}, {"gamma": 0.5, "saturation": 0, "hue": 0}]
)
def test_colours_are_opencvs_up_to_its_rounding_of_hues(colours: dict[str, Any]) -> None:
    images, _, expected, _ = both(Augmentation(crop=(64, 96), scale=(1, 1), **colours), 24)
    difference = np.abs(images.astype(int) - expected)
    # OpenCV's hues are whole: two degrees apart, its saturations 255 steps.
    assert difference.mean() < 1
    assert np.percentile(difference, 99) <= 6
    assert np.abs(expected.astype(int) - both(Augmentation(
        crop=(64, 96), scale=(1, 1), **NO_COLOURS), 24)[2]).mean() > 10  # fmt: skip


def test_noise_has_the_drawn_strength_and_is_the_seeds() -> None:
    grey = torch.full((64, 96, 3), 128, dtype=torch.uint8)
    label = torch.zeros((64, 96), dtype=torch.uint8)
    crop = Crop(np.s_[0:64, 0:96], False, (64, 96), (64, 96), noise=8.0, noise_seed=5)
    batch = Windows.collate([(grey, label, crop)] * 2)
    images, _ = crop_device.render(batch, CPU)
    assert torch.equal(images[0], images[1])
    host, _ = crop_host.render(crop, grey.numpy(), label.numpy())
    for rendered in (images[0].numpy(), host):
        assert rendered.mean() == pytest.approx(128, abs=0.5)
        assert rendered.std() == pytest.approx(8, abs=0.4)


def test_a_training_may_augment_on_its_device(tmp_path: Path) -> None:
    scenes = {"data": "generated", "first_seed": 0, "num_scenes": 2, "size": [48, 64], "share": 1}
    recipe = Recipe.from_dict(
        {
            "variant": "cn14-160", "network_size": "frame", "train": [scenes], "batch": 2,
            "steps": 2, "augmentation": {"crop": [32, 64], "noise": 4, "rare_crops": 0.5},
        }
    )  # fmt: skip
    training = Training(recipe, tmp_path, None, "cpu", workers=1, augment="device")
    samples = [
        AugmentedSamples(
            list(training.sources), [1], recipe.augmentation, training.network_size, 1, 4, rendered
        )
        for rendered in (True, False)
    ]
    rendered, unrendered = (next(iter(batches(one, 0, 2, 2, workers=1))) for one in samples)
    images, labels = training._rendered(unrendered)
    assert torch.equal(labels, rendered[1])
    difference = (images.int() - rendered[0].int()).abs().float()
    assert float(difference.mean()) < 8  # colours, and another noise of at most 4
    training.run()
    assert training.step == 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; torch finds none")
def test_a_gpu_renders_what_the_cpu_does() -> None:
    image, label = frame()
    augmentation = Augmentation(crop=(64, 96), gamma=0.3, blur=2, grayscale=0.3, cutout=2)
    crops = [
        augmentation.draw(label, NetworkSize(), np.random.default_rng(seed)) for seed in range(16)
    ]
    windows = Windows.collate(
        [(torch.from_numpy(image[c.window].copy()), torch.from_numpy(label[c.window].copy()), c)
         for c in crops]
    )  # fmt: skip
    images, labels = crop_device.render(windows, CPU)
    found, found_labels = crop_device.render(windows.pin_memory(), torch.device("cuda"))
    assert torch.equal(found_labels.cpu(), labels)
    difference = (found.cpu().int() - images.int()).abs()
    # Sums in another order round another way, and colours after them enlarge that.
    assert int(difference.max()) <= 8
    assert float(difference.float().mean()) < 0.1
