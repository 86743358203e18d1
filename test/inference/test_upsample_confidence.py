from __future__ import annotations

import numpy as np
import pytest

from contextnet_ros.inference.compiled_upsample import COMPILED, CompiledUpsample
from contextnet_ros.inference.team import ALONE, Team
from contextnet_ros.inference.upsample import Axis
from contextnet_ros.inference.upsample_confidence import NumpySeries, upsample_confidence

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


@pytest.fixture(
    params=[
        "numpy",
        pytest.param(
            "compiled",
            marks=pytest.mark.skipif(
                not COMPILED, reason="upsample.c is not compiled in the folder that is imported"
            ),
        ),
    ]
)
def confidence(request):
    """From logits, both axes and perhaps a team to confidence."""

    def by_numpy(logits, rows, columns, team=ALONE):
        return upsample_confidence(logits, rows, columns, NumpySeries(rows, columns, team))

    def by_compiled(logits, rows, columns, team=ALONE):
        series = CompiledUpsample(rows, columns, team).confidence
        return upsample_confidence(logits, rows, columns, series)

    return {"numpy": by_numpy, "compiled": by_compiled}[request.param]


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
def test_confidence_is_the_largest_softmax_in_255ths(frame, network, classes, confidence):
    logits = random_logits(network, classes, spread=4)
    ours = confidence(logits, *axes(frame, network))
    assert ours.dtype == np.uint8
    assert ours.shape == frame
    assert ours.flags.c_contiguous
    # Half a level of rounding, and what float32 leaves of the exact value.
    assert np.abs(ours - exact_confidence(logits, frame, network)).max() <= 0.5 + 2e-3


@pytest.mark.parametrize("spread", [10, 30, 3000])
@pytest.mark.parametrize(("frame", "network"), [SIZES[0], SIZES[5], SIZES[7]])
@pytest.mark.filterwarnings("error")
def test_logits_far_apart_are_no_less_exact(frame, network, spread, confidence):
    logits = random_logits(network, 5, spread)
    ours = confidence(logits, *axes(frame, network))
    exact = exact_confidence(logits, frame, network)
    # The interpolated logits themselves are known to some 1e-7 of the spread.
    assert np.abs(ours - exact).max() <= 0.5 + 1e-4 * spread


def test_all_classes_alike_have_one_share_each(confidence):
    logits = np.full((5, 8, 8), 3, np.float32)
    assert (confidence(logits, *axes((64, 64), (64, 64))) == 51).all()


@pytest.mark.parametrize("threads", [2, 3, 16])
def test_threads_change_nothing(threads, confidence):
    logits = random_logits((75, 101), 11, spread=4)
    alone, shared = (
        confidence(logits, *axes((75, 101), (75, 101)), Team(number)) for number in (1, threads)
    )
    np.testing.assert_array_equal(alone, shared)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_leaves_the_rest_as_it_is(value, confidence):
    logits = random_logits((64, 96), 5, spread=4)
    whole = confidence(logits, *axes((64, 96), (64, 96)))
    with np.errstate(invalid="ignore"):
        logits[2, 0, 0] = value
        ours = confidence(logits, *axes((64, 96), (64, 96)))
    assert np.abs(ours[16:, 16:].astype(int) - whole[16:, 16:]).max() <= 1


@pytest.mark.parametrize("ahead", [8.4, 8.6, 12.0])
def test_cells_between_certain_corners_are_certain_and_others_are_not(ahead, confidence):
    logits = random_logits((64, 96), 11, spread=0.01)
    logits[3, :, :6] += ahead
    logits[4, :, 6:] += ahead
    ours = confidence(logits, *axes((64, 96), (64, 96)))
    exact = exact_confidence(logits, (64, 96), (64, 96))
    assert np.abs(ours - exact).max() <= 0.5 + 2e-3
    # One of eleven has 254.5 / 255 where it is 8.53 ahead of the others.
    assert (ours.max() == 255) == (ahead > 8.53)
    assert ours[:, 44:52].min() < 250
