from __future__ import annotations

import numpy as np
import pytest

from contextnet_ros.inference.team import Team
from contextnet_ros.inference.upsample import Axis
from contextnet_ros.inference.upsample_confidence import upsample_confidence

SIZES = [
    ((64, 96), (64, 96)),  # whole cells
    ((37, 51), (37, 51)),  # odd, padded on both sides
    ((1, 1), (1, 1)),
    ((3, 200), (3, 200)),
    ((128, 256), (64, 128)),  # scale 0.5: cells of 16
    ((100, 171), (75, 128)),  # cells of 10 and 11
    ((60, 80), (240, 320)),  # enlarged: cells of 2
    ((10, 12), (160, 192)),  # enlarged so far that cells are skipped
]


def axes(frame, network):
    return [
        Axis.between(pixels, seen, -(-seen // 32) * 4)
        for pixels, seen in zip(frame, network, strict=True)
    ]


def random_logits(network, classes, spread):
    shape = (classes, *(-(-seen // 32) * 4 for seen in network))
    return (spread * np.random.default_rng(classes).normal(size=shape)).astype(np.float32)


def exact_confidence(logits, frame, network):
    """The formulas of bilinear interpolation (align_corners=False) and softmax in float64."""
    vertical, horizontal = (
        np.maximum(0, 1 - np.abs(position.clip(0, logits - 1)[:, None] - np.arange(logits)))
        for position, logits in (
            ((np.arange(pixels) + 0.5) * seen / pixels / 8 - 0.5, -(-seen // 32) * 4)
            for pixels, seen in zip(frame, network, strict=True)
        )
    )
    dense = np.einsum("yi,cij,xj->cyx", vertical, logits.astype(np.float64), horizontal)
    terms = np.exp(dense - dense.max(axis=0))
    return 255 / terms.sum(axis=0)


@pytest.mark.parametrize("classes", [2, 11, 19])
@pytest.mark.parametrize(("frame", "network"), SIZES)
def test_confidence_is_the_largest_softmax_in_255ths(frame, network, classes):
    logits = random_logits(network, classes, spread=4)
    ours = upsample_confidence(logits, *axes(frame, network))
    assert ours.dtype == np.uint8
    assert ours.shape == frame
    assert ours.flags.c_contiguous
    # Half a level of rounding, and what float32 leaves of the exact value.
    assert np.abs(ours - exact_confidence(logits, frame, network)).max() <= 0.5 + 2e-3


@pytest.mark.parametrize("spread", [10, 30, 3000])
@pytest.mark.parametrize(("frame", "network"), [SIZES[0], SIZES[5], SIZES[7]])
@pytest.mark.filterwarnings("error")
def test_logits_far_apart_are_no_less_exact(frame, network, spread):
    logits = random_logits(network, 5, spread)
    ours = upsample_confidence(logits, *axes(frame, network))
    exact = exact_confidence(logits, frame, network)
    # The interpolated logits themselves are known to some 1e-7 of the spread.
    assert np.abs(ours - exact).max() <= 0.5 + 1e-4 * spread


def test_all_classes_alike_have_one_share_each():
    logits = np.full((5, 8, 8), 3, np.float32)
    assert (upsample_confidence(logits, *axes((64, 64), (64, 64))) == 51).all()


@pytest.mark.parametrize("threads", [2, 3, 16])
def test_threads_change_nothing(threads):
    logits = random_logits((75, 101), 11, spread=4)
    alone, shared = (
        upsample_confidence(logits, *axes((75, 101), (75, 101)), Team(number))
        for number in (1, threads)
    )
    np.testing.assert_array_equal(alone, shared)
