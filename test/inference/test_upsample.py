from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from contextnet_ros.inference.upsample import Axis, confidence, interpolate


def axes(frame, network):
    return [
        Axis.between(pixels, seen, -(-seen // 32) * 4)
        for pixels, seen in zip(frame, network, strict=True)
    ]


def random_logits(network, classes=11, seed=0):
    shape = (classes, *(-(-seen // 32) * 4 for seen in network))
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("size", [(64, 96), (37, 51), (1, 1), (5, 260)])
def test_a_frame_seen_as_it_is_gets_torchs_interpolation_by_8_cropped(size):
    logits = torch.from_numpy(random_logits(size))
    ours = interpolate(logits, *axes(size, size))
    whole = F.interpolate(logits[None], scale_factor=8, mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(ours, whole[:, : size[0], : size[1]], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("frame", "network"), [((64, 128), (32, 64)), ((96, 144), (64, 96)), ((40, 80), (64, 128))]
)
def test_a_resized_frame_without_padding_gets_torchs_interpolation_to_its_size(frame, network):
    logits = torch.from_numpy(random_logits(network))
    ours = interpolate(logits, *axes(frame, network))
    theirs = F.interpolate(logits[None], size=frame, mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("frame", [37, 100, 480, 7])
@pytest.mark.parametrize("network", [37, 75, 333])
def test_every_pixel_reads_the_logits_that_its_centre_lies_between(frame, network):
    logits = -(-network // 32) * 4
    axis = Axis.between(frame, network, logits)
    for pixel in range(frame):
        in_network = (pixel + 0.5) * network / frame - 0.5
        position = min(max((in_network + 0.5) / 8 - 0.5, 0), logits - 1)
        read = axis.low[pixel] * (1 - axis.weight[pixel]) + axis.high[pixel] * axis.weight[pixel]
        assert axis.high[pixel] - axis.low[pixel] in (0, 1)
        assert read == pytest.approx(position, abs=1e-5)


@pytest.mark.parametrize(("frame", "network"), [(96, 96), (37, 37), (100, 75), (30, 300), (1, 1)])
def test_cells_hold_each_pixel_once_with_its_own_logits_and_weight(frame, network):
    axis = Axis.between(frame, network, -(-network // 32) * 4)
    cells, slots = axis.cell_weight.shape
    taken = np.arange(cells * slots)[axis.pixels()]
    np.testing.assert_array_equal(taken, axis.slot)
    assert (np.diff(axis.slot) > 0).all()
    assert len(axis.slot) == frame
    cell = axis.slot // slots
    np.testing.assert_array_equal(axis.cell_low[cell], axis.low)
    np.testing.assert_array_equal(axis.cell_high[cell], axis.high)
    np.testing.assert_array_equal(axis.cell_weight.ravel()[axis.slot], axis.weight)


@pytest.mark.parametrize(
    ("frame", "network"), [((64, 96), (64, 96)), ((37, 51), (37, 51)), ((90, 70), (45, 35))]
)
def test_confidence_is_the_largest_softmax_in_255ths(frame, network):
    logits = 4 * random_logits(network)
    rows, columns = axes(frame, network)
    dense = interpolate(torch.from_numpy(logits), rows, columns)
    exact = 255 * dense.double().softmax(0).amax(0).numpy()
    ours = confidence(dense).numpy()
    assert ours.dtype == np.uint8
    # Half a level of rounding, and what float32 leaves of the exact value.
    assert np.abs(ours - exact).max() <= 0.5 + 1e-3
