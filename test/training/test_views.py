"""Averages over scales and flips."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from contextnet_ros.files import UserError
from contextnet_ros.inference import Segmenter
from contextnet_ros.labels import CAMVID
from contextnet_ros.network import ContextNet, NetworkSize, WeightHeader
from contextnet_ros.training.datasets import GeneratedScenes
from contextnet_ros.training.views import AveragedViews

HEADER = WeightHeader(CAMVID, "cn14-160")


@pytest.fixture
def network() -> ContextNet:
    """Random weights whose normalization fits its activations: the labels differ by place."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = ContextNet(11, "cn14-160").train()
    torch.nn.init.normal_(network.classifier.weight, std=0.5)
    with torch.no_grad():
        for _ in range(30):
            network(torch.nn.functional.avg_pool2d(3 * torch.randn(2, 3, 64, 64), 5, 1, 2))
    return network.eval()


@pytest.fixture
def image() -> np.ndarray:
    return GeneratedScenes(3, 1, (75, 101))[0][0]


@pytest.mark.parametrize("size", ["frame", "scale 0.5", "scale 1.5"])
def test_one_view_is_what_a_segmenter_gives(
    network: ContextNet, image: np.ndarray, size: str
) -> None:
    header = replace(HEADER, network_size=NetworkSize.parse(size))
    view = AveragedViews(network, header, header.network_size)(image)
    label = Segmenter(network, header, "cpu", "float32", num_threads=1)(image).label
    assert len(np.unique(label)) > 2
    assert (view == label).mean() > 0.999


def test_the_mean_over_views_is_that_of_their_softmax(
    network: ContextNet, image: np.ndarray
) -> None:
    with torch.no_grad():
        lut = (torch.arange(256) / 255)[:, None]
        table = (lut - torch.tensor(HEADER.mean)) / torch.tensor(HEADER.std)
        pixels = torch.stack(
            [table[torch.from_numpy(image[..., 2 - c].astype(int)), c] for c in range(3)]
        )[None]
        straight = network(pixels).softmax(1)
        # The mirrored frame is padded on what was its left side, as a frame of its own.
        mirrored = network(pixels.flip(-1)).softmax(1).flip(-1)
        expected = (straight + mirrored)[0].argmax(0).numpy()
    found = AveragedViews(network, HEADER, NetworkSize(), flip=True)(image)
    assert (found == expected).mean() > 0.999
    assert (found != straight[0].argmax(0).numpy()).any()


def test_scales_multiply_the_network_size(network: ContextNet, image: np.ndarray) -> None:
    double = AveragedViews(network, HEADER, NetworkSize(), scales=(2.0,))(image)
    header = replace(HEADER, network_size=NetworkSize.parse("scale 2"))
    label = Segmenter(network, header, "cpu", "float32", num_threads=1)(image).label
    assert len(np.unique(label)) > 2
    assert (double == label).mean() > 0.999
    assert double.shape == image.shape[:2]


def test_of_several_scales_every_one_counts_alike(network: ContextNet, image: np.ndarray) -> None:
    scales = (0.5, 1.0, 2.0)
    each = [AveragedViews(network, HEADER, NetworkSize(), (one,)).softmax(image) for one in scales]
    mean = AveragedViews(network, HEADER, NetworkSize(), scales).softmax(image)
    torch.testing.assert_close(mean, torch.stack(each).mean(0))
    assert all((one - mean).abs().max() > 0.01 for one in each)


@pytest.mark.parametrize("scales", [(), (0.0,), (1.0, 9.0)])
def test_impossible_scales_are_named(network: ContextNet, scales: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match="not all in 1/8 to 8"):
        AveragedViews(network, HEADER, NetworkSize(), scales=scales)
