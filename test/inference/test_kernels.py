"""The Triton kernels against the plain computation: on a GPU, or else in Triton's interpreter."""

from __future__ import annotations

import os

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from stand_in_device import StandInDevice

from contextnet_ros.inference import OUTPUTS
from contextnet_ros.inference.device_segmenter import DeviceSegmenter
from contextnet_ros.inference.frame_program import find_kernels
from contextnet_ros.inference.overlay import OverlayBlender
from contextnet_ros.inference.preprocess import Preprocessor, normalization_table
from contextnet_ros.inference.upsample import Axis
from contextnet_ros.labels import CAMVID
from contextnet_ros.network import NetworkSize, WeightHeader

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
if DEVICE.type == "cpu":
    # Read when Triton is first imported.
    os.environ.setdefault("TRITON_INTERPRET", "1")
pytest.importorskip("triton", reason="Triton is not installed")
kernels = pytest.importorskip("contextnet_ros.inference.kernels")

# Frame and network sizes.
SIZES = [
    ((32, 40), (32, 40)),  # whole cells
    ((19, 37), (19, 37)),  # odd, padded on both sides
    ((1, 1), (1, 1)),
    ((3, 50), (3, 50)),
    ((48, 32), (24, 16)),  # scale 0.5: cells of 16
    ((20, 28), (15, 21)),  # cells of 10 and 11
    ((60, 45), (12, 9)),  # cells of 40: several programs for each
    ((9, 10), (36, 40)),  # enlarged: cells of 2
    ((5, 6), (80, 96)),  # enlarged so far that cells are skipped
]


def logits_of(network, classes, seed=0, levels=None):
    """Smooth half-precision logits (C, h, w), channels last; whole numbers below `levels`."""
    height, width = (-(-seen // 32) * 4 for seen in network)
    random = np.random.default_rng(seed)
    if levels:
        logits = random.integers(0, levels, (height, width, classes))
    else:
        noise = random.normal(size=(3 + height // 6, 3 + width // 6, classes))
        planes = [cv2.resize(noise[..., i], (width, height)) for i in range(classes)]
        logits = 4 * np.stack(planes, axis=-1)
    return torch.from_numpy(logits).half().to(DEVICE).permute(2, 0, 1)


def axes(frame, network):
    return [
        Axis.between(pixels, seen, -(-seen // 32) * 4)
        for pixels, seen in zip(frame, network, strict=True)
    ]


def dense(logits, frame, network):
    """Bilinear interpolation with align_corners=False by its formula, float64 (C, H, W)."""
    matrices = []
    for pixels, seen in zip(frame, network, strict=True):
        count = -(-seen // 32) * 4
        position = ((np.arange(pixels) + 0.5) * seen / pixels) / 8 - 0.5
        distance = np.abs(position.clip(0, count - 1)[:, None] - np.arange(count))
        matrices.append(np.maximum(0, 1 - distance))
    values = logits.cpu().numpy().astype(np.float64)
    return np.einsum("yi,cij,xj->cyx", matrices[0], values, matrices[1], optimize=True)


def run_finish(logits, frame_size, network_size, confidence=False, overlay=None):
    """Label, confidence and overlay; `overlay`: the frame and its blender."""
    rows, columns = (kernels.Cells.of(axis, DEVICE) for axis in axes(frame_size, network_size))
    # What no pixel may keep.
    label = torch.full(frame_size, 200, dtype=torch.uint8, device=DEVICE)
    extra = {}
    if confidence:
        extra["confidence"] = torch.full_like(label, 0)
    if overlay:
        frame, blender = overlay
        frame_part, colour_part = blender.tables()
        extra["overlay"] = torch.full((*frame_size, 3), 7, dtype=torch.uint8, device=DEVICE)
        extra["frame"] = torch.from_numpy(frame).to(DEVICE)
        extra["frame_part"] = torch.from_numpy(frame_part).to(DEVICE)
        extra["colour_part"] = torch.from_numpy(colour_part).to(DEVICE)
    kernels.finish(logits, rows, columns, label, **extra)
    return tuple(
        None if array is None else array.cpu().numpy()
        for array in (label, extra.get("confidence"), extra.get("overlay"))
    )


@pytest.mark.parametrize(
    ("frame", "network", "classes"),
    [(*size, 5) for size in SIZES] + [(*SIZES[1], 2), (*SIZES[1], 19)],
)
def test_label_is_the_argmax_of_the_dense_interpolation(frame, network, classes):
    logits = logits_of(network, classes)
    label, _, _ = run_finish(logits, frame, network)
    interpolated = dense(logits, frame, network)
    largest, second = np.sort(interpolated, axis=0)[[-1, -2]]
    # Float32 is no surer than this of which of two logits is larger.
    clear = largest - second > 1e-5 * np.abs(interpolated).max()
    np.testing.assert_array_equal(label[clear], interpolated.argmax(0)[clear])
    assert clear.mean() > 0.998


@pytest.mark.parametrize(("frame", "network"), [SIZES[i] for i in (0, 1, 2, 3, 4, 7, 8)])
def test_the_lowest_index_wins_a_tie(frame, network):
    # Whole numbers, and shares that are binary fractions: every sum is exact, ties are everywhere.
    logits = logits_of(network, 4, seed=1, levels=3)
    label, _, _ = run_finish(logits, frame, network)
    np.testing.assert_array_equal(label, dense(logits, frame, network).argmax(0))


def test_a_class_that_wins_no_corner_wins_between_them():
    logits = torch.full((3, 4, 4), -9.0)
    logits[0, :, ::2], logits[2, :, 1::2] = 1, 1
    logits[0, :, 1::2], logits[2, :, ::2] = -1, -1
    logits[1] = 0.5
    label, _, _ = run_finish(channels_last(logits), (32, 32), (32, 32))
    assert [label[16, x] for x in (4, 8, 12)] == [0, 1, 2]


def channels_last(logits):
    return logits.half().to(DEVICE)[None].to(memory_format=torch.channels_last)[0]


@pytest.mark.parametrize(("frame", "network"), [SIZES[1], SIZES[4]])
def test_confidence_is_the_largest_softmax_of_the_dense_interpolation(frame, network):
    logits = logits_of(network, 5)
    label, confidence, _ = run_finish(logits, frame, network, confidence=True)
    interpolated = dense(logits, frame, network)
    exact = 255 / np.exp(interpolated - interpolated.max(0)).sum(0)
    assert np.abs(confidence - exact).max() < 0.501
    without, _, _ = run_finish(logits, frame, network)
    np.testing.assert_array_equal(label, without)


@pytest.mark.parametrize("opacity", [0.0, 0.3])
def test_overlay_is_the_cpus(make_frame, opacity):
    size = (19, 37)
    frame, blender = make_frame(*size), OverlayBlender(CAMVID, opacity)
    label, confidence, overlay = run_finish(
        logits_of(size, 5), size, size, confidence=True, overlay=(frame, blender)
    )
    assert len(np.unique(label)) > 3
    assert confidence.max() > 0
    np.testing.assert_array_equal(overlay, blender(frame, label))


def test_logits_that_are_not_channels_last_are_refused():
    rows, columns = (kernels.Cells.of(axis, DEVICE) for axis in axes((32, 32), (32, 32)))
    with pytest.raises(ValueError, match="not channels last"):
        kernels.finish(torch.zeros(3, 4, 4), rows, columns, torch.zeros(32, 32))


@pytest.mark.parametrize("order", ["RGB", "BGR"])
@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize("size", [(16, 140), (9, 21), (1, 1)])
def test_prepared_inputs_are_the_cpus_and_its_average(make_frame, size, scale, order):
    header = WeightHeader(table=CAMVID, data_licence="test only", channel_order=order)
    frame = make_frame(*size)
    expected = Preprocessor(*size, NetworkSize(), header)(frame)
    images = torch.zeros_like(expected, dtype=torch.half, device=DEVICE)
    small = F.avg_pool2d(expected, scale)
    reduced = torch.zeros_like(small, dtype=torch.half, device=DEVICE)
    reduced = reduced.to(memory_format=torch.channels_last)
    table = torch.from_numpy(normalization_table(header)[0]).to(DEVICE)
    kernels.prepare(
        torch.from_numpy(frame).to(DEVICE), table, images, reduced, scale, order == "RGB"
    )
    torch.testing.assert_close(images.cpu(), expected.half(), rtol=0, atol=0)
    # The order of a sum of 64 is free: one step of half precision.
    torch.testing.assert_close(reduced.cpu().float(), small, rtol=1.1 / 1024, atol=1e-5)


@pytest.mark.skipif(DEVICE.type == "cuda", reason="a GPU has tests of its own")
def test_the_whole_way_with_kernels_is_the_plain_one(network, header, make_frame):
    found, note = find_kernels(StandInDevice(), torch.float32)
    assert (found, note) == (kernels, "")
    results = []
    for module in (found, None):
        options = "float32", 1, NetworkSize(), OverlayBlender(CAMVID)
        segmenter = DeviceSegmenter(StandInDevice(), network, header, *options, module)
        results.append(segmenter.segment(make_frame(16, 24), OUTPUTS))
    with_kernels, plain = results
    assert (with_kernels.label == plain.label).mean() > 0.995
    same = with_kernels.label == plain.label
    np.testing.assert_array_equal(with_kernels.overlay[same], plain.overlay[same])
    assert np.abs(with_kernels.confidence.astype(int) - plain.confidence).max() <= 1
