"""Augmentation moves image and label together."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from contextnet_ros.network import NetworkSize
from contextnet_ros.training import crop_host
from contextnet_ros.training.augment import Augmentation
from contextnet_ros.training.crops import Crop

PLAIN = Augmentation(
    crop=(64, 96), scale=(1, 1), flip=False, brightness=0, contrast=0, saturation=0, hue=0
)


def blocks(height: int, width: int, block: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """A picture of large blocks whose grey value tells the label."""
    rows, columns = np.mgrid[:height, :width] // block
    label = ((rows * 7 + columns * 3) % 6).astype(np.uint8)
    return np.repeat((label * 40)[..., None], 3, axis=2), label


@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.5, 0.5), (2.0, 2.0), (0.5, 2.0)])
@pytest.mark.parametrize("flip", [False, True])
def test_image_and_label_stay_aligned(scale: tuple[float, float], flip: bool) -> None:
    image, label = blocks(128, 192, block=32)
    augmentation = replace(PLAIN, scale=scale, flip=flip)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        got_image, got_label = augmentation.apply(image, label, NetworkSize(), rng)
        assert got_image.shape == (64, 96, 3)
        assert got_label.shape == (64, 96)
        seen = got_label != 255
        right = np.abs(got_image[..., 0].astype(int) - got_label * 40.0) < 20
        # Only block borders may differ, by one pixel: image resizing blends them.
        border = cv2.dilate(got_label, np.ones((3, 3))) != cv2.erode(got_label, np.ones((3, 3)))
        assert right[seen & ~border].all()
        assert (seen & ~border).mean() > 0.1


def test_draws_fill_their_ranges() -> None:
    label, rng = np.zeros((400, 600), np.uint8), np.random.default_rng(0)
    augmentation = Augmentation(crop=(64, 96))
    crops = [augmentation.draw(label, NetworkSize(), rng) for _ in range(300)]
    scales = [crop.resized[0] / (crop.window[0].stop - crop.window[0].start) for crop in crops]
    assert 0.49 < min(scales) < 0.55
    assert 1.8 < max(scales) < 2.05
    # As often smaller as larger, and mirrored as not.
    assert 0.4 < np.mean([scale < 1 for scale in scales]) < 0.6
    assert 0.4 < np.mean([crop.flip for crop in crops]) < 0.6
    for side in (0, 1):
        assert len({crop.window[side].start for crop in crops}) > 50
    for key, middle in (("brightness", 1), ("contrast", 1), ("saturation", 1), ("hue", 0)):
        drawn, reach = [getattr(crop, key) - middle for crop in crops], getattr(augmentation, key)
        assert -reach <= min(drawn) < -0.9 * reach, key
        assert 0.9 * reach < max(drawn) <= reach, key


def test_a_flip_mirrors_image_and_label() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (64, 96, 3)).astype(np.uint8)
    label = rng.integers(0, 11, (64, 96)).astype(np.uint8)
    crop = Crop(np.s_[:64, :96], shrinks=False, resized=(64, 96), shape=(64, 96))
    straight = crop_host.render(crop, image, label)
    mirrored = crop_host.render(replace(crop, flip=True), image, label)
    for one, other in zip(straight, mirrored, strict=True):
        np.testing.assert_array_equal(one[:, ::-1], other)


def test_without_scaling_a_crop_is_a_window_of_the_frame() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (128, 192, 3)).astype(np.uint8)
    label = rng.integers(0, 11, (128, 192)).astype(np.uint8)
    got_image, got_label = PLAIN.apply(image, label, NetworkSize(), rng)
    windows = np.lib.stride_tricks.sliding_window_view(label, (64, 96))
    tops, lefts = np.nonzero((windows == got_label).all((2, 3)))
    assert len(tops) == 1
    np.testing.assert_array_equal(image[tops[0] :, lefts[0] :][:64, :96], got_image)


def test_what_lies_beyond_the_frame_is_ignored() -> None:
    image, label = blocks(32, 48)
    got_image, got_label = PLAIN.apply(image, label, NetworkSize(), np.random.default_rng(0))
    assert (got_label != 255).sum() == 32 * 48
    assert (got_image[got_label == 255] == 0).all()


def test_scale_is_relative_to_the_network_size() -> None:
    image, label = blocks(32, 48)
    size = NetworkSize.parse("long_side 96")
    _, got_label = PLAIN.apply(image, label, size, np.random.default_rng(0))
    assert (got_label != 255).all(), "a 32 x 48 frame fills a 64 x 96 crop at twice its size"


def test_colours_change_the_image_and_never_the_label() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (64, 96, 3)).astype(np.uint8)
    label = rng.integers(0, 11, (64, 96)).astype(np.uint8)
    coloured = replace(PLAIN, brightness=0.4, contrast=0.4, saturation=0.4, hue=8)
    got_image, got_label = coloured.apply(image, label, NetworkSize(), np.random.default_rng(3))
    np.testing.assert_array_equal(got_label, label)
    assert (got_image != image).mean() > 0.5


def test_no_variation_leaves_the_image_as_it_is() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (64, 96, 3)).astype(np.uint8)
    got, _ = PLAIN.apply(image, np.zeros((64, 96), np.uint8), NetworkSize(), rng)
    np.testing.assert_array_equal(got, image)


def test_the_generator_decides_everything() -> None:
    image, label = blocks(128, 192)
    augmentation = Augmentation(crop=(64, 96))
    first, again, other = (
        augmentation.apply(image, label, NetworkSize(), np.random.default_rng(seed))
        for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first[0], again[0])
    assert (first[0] != other[0]).any()


def test_rare_crops_hold_a_pixel_of_a_class_drawn_evenly() -> None:
    image, label = np.zeros((400, 600, 3), np.uint8), np.zeros((400, 600), np.uint8)
    label[0, :300] = 255
    label[377, 12] = 3  # one pixel among 240,000
    held = {}
    for share in (0.0, 1.0):
        augmentation = replace(PLAIN, rare_crops=share)
        labels = [
            augmentation.apply(image, label, NetworkSize(), np.random.default_rng(seed))[1]
            for seed in range(200)
        ]
        assert all(one.shape == (64, 96) for one in labels)
        held[share] = sum(bool((one == 3).any()) for one in labels)
    # Windows anywhere hold it in 1 of about 600; half of the draws take its class.
    assert held[0.0] < 10
    assert 75 <= held[1.0] <= 125


def test_a_frame_without_labels_is_cropped_all_the_same() -> None:
    image, label = np.zeros((128, 192, 3), np.uint8), np.full((128, 192), 255, np.uint8)
    _, got = replace(PLAIN, rare_crops=1.0).apply(
        image, label, NetworkSize(), np.random.default_rng(0)
    )
    assert (got == 255).all()


def test_holes_are_black_and_ignored() -> None:
    image, label = np.full((64, 96, 3), 200, np.uint8), np.zeros((64, 96), np.uint8)
    got_image, got_label = replace(PLAIN, cutout=3).apply(
        image, label, NetworkSize(), np.random.default_rng(0)
    )
    hidden = got_label == 255
    assert 0 < hidden.sum() <= 3 * (64 // 3) * (96 // 3)
    assert (got_image[hidden] == 0).all()
    assert (got_image[~hidden] == 200).all()


def test_grayscale_takes_all_colour_and_blur_takes_edges() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (64, 96, 3)).astype(np.uint8)
    label = np.zeros((64, 96), np.uint8)
    gray, _ = replace(PLAIN, grayscale=1.0).apply(image, label, NetworkSize(), rng)
    luma = image @ [0.114, 0.587, 0.299]
    assert np.abs(gray - luma[..., None]).max() <= 1
    blurred, _ = replace(PLAIN, blur=2.0).apply(
        image, label, NetworkSize(), np.random.default_rng(1)
    )
    assert blurred.std() < 0.8 * image.std()
    assert blurred.mean() == pytest.approx(image.mean(), abs=1)


def test_gamma_is_an_exponent_between_its_inverses() -> None:
    image, label = np.full((64, 96, 3), 64, np.uint8), np.zeros((64, 96), np.uint8)
    values = [
        int(replace(PLAIN, gamma=0.5).apply(
            image, label, NetworkSize(), np.random.default_rng(seed))[0][0, 0, 0])
        for seed in range(50)
    ]  # fmt: skip
    darkest, brightest = (255 * (64 / 255) ** np.exp(power) for power in (0.5, -0.5))
    assert darkest - 1 <= min(values) < 60 < 70 < max(values) <= brightest + 1
