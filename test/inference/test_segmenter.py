"""What a Segmenter on the CPU makes of frames, whose its results are, and what they depend on."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from copy import deepcopy
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from decided_network import decided

from contextnet_ros.inference import SegmentedFrame, Segmenter
from contextnet_ros.inference.preprocess import Bordered, Normalizer
from contextnet_ros.labels import CITYSCAPES
from contextnet_ros.network import VARIANTS, ContextNet, save_weights
from contextnet_ros.network.contextnet import pad_to_multiple

ALL = ("label", "overlay", "confidence")


def normalized(image, header):
    """The arithmetic of the weight file's header, spelled out."""
    channels = image[..., ::-1] if header.channel_order == "RGB" else image
    scaled = (channels / 255.0 - np.array(header.mean)) / np.array(header.std)
    return torch.from_numpy(scaled.astype(np.float32)).permute(2, 0, 1)[None]


def assert_label_of(label, logits):
    """`label` is the argmax of `logits` (C, H, W), wherever float32 can tell."""
    top = logits.topk(2, dim=0)
    clear = (top.values[0] - top.values[1] > 1e-4 * logits.abs().max()).numpy()
    np.testing.assert_array_equal(label[clear], top.indices[0].numpy()[clear])
    assert clear.mean() > 0.98


@pytest.mark.parametrize("size", [(96, 160), (75, 101), (1, 1), (33, 7), (200, 90)])
def test_label_is_the_argmax_of_the_networks_own_full_size_logits(
    network, header, segmenter, make_frame, size
):
    frame = make_frame(*size)
    result = segmenter(frame)
    assert result.label.shape == size
    assert result.label.dtype == np.uint8
    with torch.inference_mode():
        assert_label_of(result.label, network(normalized(frame, header))[0])


def test_the_random_network_of_these_tests_uses_several_classes(segmenter, make_frame):
    assert len(np.unique(segmenter(make_frame(96, 160)).label)) >= 4


@pytest.mark.parametrize(
    ("size", "network_size", "seen", "interpolation"),
    [
        ((128, 192), "scale 0.5", (64, 96), cv2.INTER_AREA),
        ((192, 288), "long_side 96", (64, 96), cv2.INTER_AREA),
        ((64, 96), "scale 2", (128, 192), cv2.INTER_LINEAR),
    ],
)
def test_label_of_a_resized_frame_comes_from_the_network_at_that_size(
    network, header, make_frame, backend, size, network_size, seen, interpolation
):
    frame = make_frame(*size)
    resized = cv2.resize(frame, seen[::-1], interpolation=interpolation)
    with torch.inference_mode():
        coarse = network.coarse_logits(normalized(resized, header))
        # These sizes divide by 32: without padding, PyTorch's resize to the frame is the same map.
        logits = torch.nn.functional.interpolate(
            coarse, size=size, mode="bilinear", align_corners=False
        )[0]
    options = {"network_size": network_size, "backend": backend}
    assert_label_of(Segmenter(network, header, "cpu", "float32", **options)(frame).label, logits)


def test_channel_order_is_that_of_the_header(network, header, make_frame, backend):
    frame = make_frame(64, 96)
    bgr = replace(header, channel_order="BGR")
    label = Segmenter(network, bgr, "cpu", "float32", backend=backend)(frame).label
    with torch.inference_mode():
        assert_label_of(label, network(normalized(frame, bgr))[0])


def test_confidence_is_the_largest_softmax_of_full_size_logits(
    network, header, segmenter, make_frame
):
    frame = make_frame(75, 101)
    result = segmenter(frame, outputs=("confidence",))
    with torch.inference_mode():
        logits = network(normalized(frame, header))[0]
    exact = 255 * logits.softmax(0).amax(0).numpy()
    assert result.confidence.dtype == np.uint8
    assert np.abs(result.confidence - exact).max() < 0.6


def test_only_what_was_asked_for_is_made(segmenter, make_frame):
    frame = make_frame(64, 64)
    plain, everything = segmenter(frame), segmenter(frame, outputs=ALL)
    assert plain.overlay is None
    assert plain.confidence is None
    assert everything.overlay.shape == (64, 64, 3)
    assert everything.confidence.shape == (64, 64)
    np.testing.assert_array_equal(plain.label, everything.label)
    assert set(plain.timings) == {"preprocess", "network", "postprocess"}
    assert all(milliseconds >= 0 for milliseconds in plain.timings.values())


# OpenVINO's graph takes the bytes.
@pytest.mark.parametrize("backend", ["torch", "onnxruntime"], indirect=True)
def test_making_the_float_image_is_preprocessing_and_not_the_networks_time(
    segmenter, backend, make_frame, monkeypatch
):
    frame = make_frame(64, 64)
    segmenter(frame)
    makes = Normalizer if backend == "torch" else Bordered
    whole = makes.__call__
    seconds = 0.0

    def slow(self, image):
        nonlocal seconds
        seconds += 0.3
        return whole(self, image)

    monkeypatch.setattr(makes, "__call__", slow)
    monkeypatch.setattr(time, "perf_counter", lambda: seconds)
    timings = segmenter(frame).timings
    assert timings == {"preprocess": pytest.approx(300), "network": 0, "postprocess": 0}


@pytest.mark.parametrize("outputs", [ALL, ("label", "overlay")])
def test_results_belong_to_the_caller(segmenter, make_frame, outputs):
    first_frame, second_frame = make_frame(64, 96, seed=1), make_frame(64, 96, seed=2)
    untouched = first_frame.copy()
    first = segmenter(first_frame, outputs=outputs)
    kept = [array.copy() for array in arrays(first)]
    second = segmenter(second_frame, outputs=outputs)
    for array, copy, other in zip(arrays(first), kept, arrays(second), strict=True):
        np.testing.assert_array_equal(array, copy)
        assert not np.shares_memory(array, other)
        assert not np.shares_memory(array, first_frame)
        array[...] = 0  # writable
    np.testing.assert_array_equal(first_frame, untouched)


def arrays(result: SegmentedFrame) -> list[np.ndarray]:
    return [a for a in (result.label, result.overlay, result.confidence) if a is not None]


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[::-1],
        lambda a: a[:, ::-1],
        lambda a: a[..., ::-1],
        lambda a: a[10:70:2, 5:90],
        lambda a: a.transpose(1, 0, 2),
        lambda a: np.frombuffer(a.tobytes(), np.uint8).reshape(a.shape),  # read-only
        lambda a: np.broadcast_to(a[:1, :1], a.shape),
    ],
    ids=["upside down", "mirrored", "rgb", "window", "turned", "read-only", "broadcast"],
)
def test_a_view_gives_what_its_copy_gives(segmenter, make_frame, view):
    seen = view(make_frame(96, 128))
    for of_view, of_copy in zip(
        arrays(segmenter(seen, outputs=ALL)),
        arrays(segmenter(seen.copy(order="C"), outputs=ALL)),
        strict=True,
    ):
        np.testing.assert_array_equal(of_view, of_copy)


def test_threads_that_share_a_segmenter_get_their_own_frames_results(segmenter, make_frame):
    frames = [make_frame(64, 96 + 32 * (i % 2), seed=i) for i in range(6)]
    alone = [segmenter(frame, outputs=ALL) for frame in frames]
    together: list[list[SegmentedFrame]] = [[] for _ in frames]

    def work(i):
        for _ in range(3):
            together[i].append(segmenter(frames[i], outputs=ALL))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(frames))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for expected, results in zip(alone, together, strict=True):
        assert len(results) == 3
        for result in results:
            for one, other in zip(arrays(expected), arrays(result), strict=True):
                np.testing.assert_array_equal(one, other)


def test_a_network_changed_after_it_was_given_changes_nothing(network, header, make_frame, backend):
    changing = deepcopy(network)
    segmenter = Segmenter(changing, header, device="cpu", backend=backend)
    with torch.no_grad():
        changing.classifier.weight.zero_()
    frame = make_frame(64, 96)
    expected = Segmenter(network, header, device="cpu", backend=backend)(frame).label
    np.testing.assert_array_equal(segmenter(frame).label, expected)


DIGEST = """
import hashlib, sys
import numpy as np
from contextnet_ros.inference import Segmenter
image = np.random.default_rng(0).integers(0, 256, (75, 101, 3), np.uint8)
segmenter = Segmenter.load(sys.argv[1], device="cpu", backend=sys.argv[2])
result = segmenter(image, ("label", "overlay", "confidence"))
for array in (result.label, result.overlay, result.confidence):
    print(hashlib.sha256(array.tobytes()).hexdigest())
"""


def test_two_processes_give_the_same_bytes(network, header, tmp_path, backend):
    path = tmp_path / "weights.safetensors"
    save_weights(path, network, header)
    digests = [
        subprocess.run(
            [sys.executable, "-c", DIGEST, str(path), backend],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for _ in range(2)
    ]
    assert digests[0] == digests[1]
    assert len(set(digests[0].split())) == 3


def test_warm_up_takes_any_size(segmenter):
    segmenter.warm_up(48, 40)


def test_padding_of_the_input_is_the_networks_own(header, make_frame):
    frame = make_frame(75, 101)
    normalize = Normalizer(75, 101, header)
    normalize(make_frame(75, 101, seed=9))
    expected = pad_to_multiple(normalized(frame, header), VARIANTS[header.variant].size_multiple)
    ours = normalize(frame)
    assert ours.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)


def test_nothing_depends_on_the_number_of_classes(header, backend):
    nineteen = replace(header, table=CITYSCAPES)
    segmenter = Segmenter(ContextNet(19), nineteen, device="cpu", backend=backend)
    result = segmenter(np.zeros((32, 32, 3), np.uint8), outputs=ALL)
    assert result.label.max() < 19


@pytest.mark.parametrize("variant", ["cn18", "cn12", "cn124"])
def test_every_context_resolution_gives_the_networks_own_label(
    header, make_frame, backend, variant
):
    network = decided(variant)
    frame = make_frame(75, 101)
    with torch.no_grad():
        expected = network(normalized(frame, header))[0].argmax(0).numpy()
    options = {"precision": "float32", "num_threads": 1, "backend": backend}
    segmenter = Segmenter(network, replace(header, variant=variant), "cpu", **options)
    # Folding rounds otherwise than normalizing: a tie may fall the other way.
    assert (segmenter(frame).label == expected).mean() > 0.999
