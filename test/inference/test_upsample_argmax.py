from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from contextnet_ros.inference import compiled_upsample
from contextnet_ros.inference.compiled_upsample import COMPILED, CompiledUpsample
from contextnet_ros.inference.team import Team
from contextnet_ros.inference.upsample import Axis, interpolate
from contextnet_ros.inference.upsample_argmax import (
    decided_share,
    lowest_argmax,
    upsample_argmax,
)

SIZES = [
    ((128, 192), (128, 192)),  # whole cells
    ((360, 480), (360, 480)),  # padded below
    ((37, 51), (37, 51)),  # odd, padded on both sides
    ((1, 1), (1, 1)),
    ((3, 200), (3, 200)),
    ((128, 256), (64, 128)),  # scale 0.5: cells of 16
    ((135, 240), (90, 160)),  # cells of 12
    ((100, 171), (75, 128)),  # cells of 10 and 11
    ((60, 80), (240, 320)),  # enlarged: cells of 2
    ((10, 12), (160, 192)),  # enlarged so far that cells are skipped
]


def axes(frame, network):
    return [
        Axis.between(pixels, seen, -(-seen // 32) * 4)
        for pixels, seen in zip(frame, network, strict=True)
    ]


def interpolation_matrix(frame, network):
    """The formula of bilinear interpolation with align_corners=False, float64 (frame, logits)."""
    logits = -(-network // 32) * 4
    position = ((np.arange(frame) + 0.5) * network / frame) / 8 - 0.5
    distance = np.abs(position.clip(0, logits - 1)[:, None] - np.arange(logits))
    return np.maximum(0, 1 - distance)


def dense(logits, frame, network):
    vertical, horizontal = (
        interpolation_matrix(*axis) for axis in zip(frame, network, strict=True)
    )
    return np.einsum(
        "yi,cij,xj->cyx", vertical, logits.astype(np.float64), horizontal, optimize=True
    )


def smooth_logits(network, classes, seed):
    height, width = (-(-seen // 32) * 4 for seen in network)
    noise = np.random.default_rng(seed).normal(size=(3 + height // 6, 3 + width // 6, classes))
    return 4 * np.stack(
        [
            cv2.resize(noise[..., i], (width, height), interpolation=cv2.INTER_CUBIC)
            for i in range(classes)
        ]
    ).astype(np.float32)


needs_compiled = pytest.mark.skipif(
    not COMPILED, reason="upsample.c is not compiled in the folder that is imported"
)


def compiled(logits, rows, columns):
    return CompiledUpsample(rows, columns).argmax(logits)


@pytest.fixture(params=["numpy", pytest.param("compiled", marks=needs_compiled)])
def argmax(request):
    return {"numpy": upsample_argmax, "compiled": compiled}[request.param]


@pytest.mark.parametrize("classes", [2, 11, 19, 255])
@pytest.mark.parametrize(("frame", "network"), SIZES)
def test_label_is_the_argmax_of_the_dense_interpolation(frame, network, classes, argmax):
    logits = smooth_logits(network, classes, seed=classes)
    label = argmax(logits, *axes(frame, network))
    interpolated = dense(logits, frame, network)
    largest, second = np.sort(interpolated, axis=0)[[-1, -2]]
    # The dense formula in float32 is no surer than this of which of two logits is larger.
    clear = largest - second > 1e-5 * np.abs(logits).max()
    assert label.shape == frame
    assert label.dtype == np.uint8
    assert label.flags.c_contiguous
    np.testing.assert_array_equal(label[clear], interpolated.argmax(0)[clear])
    assert clear.mean() > 0.998


@pytest.mark.parametrize(("frame", "network"), SIZES[:6])
def test_label_is_exact_where_no_rounding_happens_and_the_lowest_index_wins_a_tie(
    frame, network, argmax
):
    # Whole numbers times sixteenths: every product and sum is exact, and ties are everywhere.
    height, width = (-(-seen // 32) * 4 for seen in network)
    logits = np.random.default_rng(1).integers(0, 3, (5, height, width)).astype(np.float32)
    interpolated = dense(logits, frame, network)
    label = argmax(logits, *axes(frame, network))
    np.testing.assert_array_equal(label, interpolated.argmax(0))


def test_a_single_class_wins_everywhere(argmax):
    label = argmax(smooth_logits((64, 96), 1, seed=0), *axes((60, 90), (60, 90)))
    np.testing.assert_array_equal(label, np.zeros((60, 90), np.uint8))


def test_a_class_that_wins_no_corner_wins_between_them(argmax):
    logits = np.full((3, 4, 4), -9, np.float32)
    logits[0, :, ::2], logits[2, :, 1::2] = 1, 1
    logits[0, :, 1::2], logits[2, :, ::2] = -1, -1
    logits[1] = 0.5
    label = argmax(logits, *axes((32, 32), (32, 32)))
    assert label[16, 4] == 0
    assert label[16, 8] == 1
    assert label[16, 12] == 2


@needs_compiled
@pytest.mark.parametrize("spread", [0.01, 1, 30])
def test_the_compiled_label_is_that_of_the_dense_computation_in_float32(spread):
    # Noise: nearly every cell has many candidates. A pixel may differ where rounding ends a lead.
    logits = spread * np.random.default_rng(2).normal(size=(11, 20, 28)).astype(np.float32)
    rows, columns = axes((151, 211), (151, 211))
    values = interpolate(torch.from_numpy(logits), rows, columns).numpy()
    label = compiled(logits, rows, columns)
    np.testing.assert_array_equal(
        np.take_along_axis(values, label[None].astype(int), 0)[0], values.max(axis=0)
    )


@needs_compiled
def test_threads_share_out_the_rows_of_a_large_frame():
    logits = smooth_logits((1024, 2048), 11, seed=0)
    rows, columns = axes((1024, 2048), (1024, 2048))
    parts = []

    class Watched(Team):
        def share_out(self, rows, work, pixels=None):
            super().share_out(rows, lambda part: (parts.append(part), work(part)), pixels)

    label = CompiledUpsample(rows, columns, Watched(3)).argmax(logits)
    assert len(parts) == 3
    np.testing.assert_array_equal(label, CompiledUpsample(rows, columns).argmax(logits))


@needs_compiled
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_gives_a_class_all_the_same(value):
    logits = smooth_logits((64, 96), 5, seed=0)
    logits[2, 3:5, 4:7] = value
    label = compiled(logits, *axes((64, 96), (64, 96)))
    assert label.max() < 5


def test_a_library_of_another_machine_or_none_means_numpy(tmp_path, monkeypatch):
    monkeypatch.setattr(compiled_upsample, "__file__", str(tmp_path / "module.py"))
    assert compiled_upsample._load() is None
    (tmp_path / "compiled").mkdir()
    (tmp_path / "compiled" / "upsample.abi3.so").write_bytes(b"not of this machine")
    assert compiled_upsample._load() is None


def test_one_winner_everywhere_needs_no_evaluation(monkeypatch):
    logits = np.zeros((3, 8, 8), np.float32)
    logits[1] = np.random.default_rng(0).uniform(1, 2, (8, 8))
    monkeypatch.setattr("contextnet_ros.inference.upsample_argmax._evaluate", None)
    rows, columns = axes((64, 64), (64, 64))
    assert decided_share(logits, rows, columns) == 1
    assert (upsample_argmax(logits, rows, columns) == 1).all()


def test_decided_share_counts_the_cells_with_one_winner():
    logits = np.zeros((2, 4, 4), np.float32)
    logits[1, 0, 0] = 1
    # 5 x 5 cells; the logit at the corner decides its own, and is shared by three others.
    assert decided_share(logits, *axes((32, 32), (32, 32))) == 22 / 25


def test_lowest_argmax_equals_numpys_first_maximum():
    values = np.random.default_rng(0).integers(0, 4, (9, 20, 30)).astype(np.float32)
    np.testing.assert_array_equal(lowest_argmax(values), values.argmax(0))
