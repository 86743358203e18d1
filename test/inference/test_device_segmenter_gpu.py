"""The whole way of a frame on a GPU, beside float32 on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from agreement import assert_equal

from contextnet_ros.inference import OUTPUTS, Segmenter, model_path
from contextnet_ros.inference.device_segmenter import DeviceSegmenter
from contextnet_ros.network import ContextNet, load_weights
from contextnet_ros.training.datasets import FIRST_UNSEEN_SEED
from contextnet_ros.training.scenes import render_frame

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def mean_iou(label, truth):
    classes = np.unique(truth)
    masks = [(label == number, truth == number) for number in classes]
    return np.mean([(one & other).sum() / (one | other).sum() for one, other in masks])


@pytest.fixture(scope="module")
def pair():
    """The default weights on a GPU and, in float32, on the CPU."""
    return load("cuda"), load("cpu", "float32")


def load(device, precision="auto", network_size="frame"):
    """The default weights: random ones magnify what half precision rounds, and many of their labels
    turn."""
    return Segmenter.load("default", device, precision, network_size)


def make_street(height, width):
    return render_frame(FIRST_UNSEEN_SEED, 3, height, width).image_bgr


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("size", [(1024, 2048), (512, 1024), (375, 1242)])
def test_gpu_labels_agree_with_float32_on_the_cpu(pair, size):
    gpu, cpu = pair
    frame = make_street(*size)
    ours, theirs = gpu(frame, OUTPUTS), cpu(frame, OUTPUTS)
    assert (ours.label == theirs.label).mean() >= 0.998
    # Scored against labels that both miss at the edges.
    truth = np.roll(theirs.label, (3, 5), (0, 1))
    assert abs(mean_iou(ours.label, truth) - mean_iou(theirs.label, truth)) <= 0.001
    assert np.abs(ours.confidence.astype(int) - theirs.confidence).mean() < 2
    same = ours.label == theirs.label
    np.testing.assert_array_equal(ours.overlay[same], theirs.overlay[same])


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("network_size", ["scale 0.5", "scale 1.5"])
def test_gpu_labels_agree_where_the_network_sees_another_size(network_size):
    frame = make_street(512, 1024)
    gpu = load("cuda", network_size=network_size)
    cpu = load("cpu", "float32", network_size)
    assert (gpu(frame).label == cpu(frame).label).mean() >= 0.998


@pytest.mark.gpu
@needs_gpu
def test_gpu_kernels_and_plain_operators_agree():
    kernels = load("cuda")
    assert kernels._runs.note == ""
    plain = load("cuda")
    network, header = load_weights(model_path("default"))
    gpu = plain._gpu
    plain._gpu = DeviceSegmenter(
        gpu._device, network, header, "float16", 2, plain.network_size, plain._blender, None
    )
    frame = make_street(375, 1242)
    assert_equal(kernels(frame, OUTPUTS), plain(frame, OUTPUTS), share=0.998)
    # Nor did fused layers fail, or give anything but PyTorch's logits.
    assert kernels._runs.note == ""


@pytest.mark.gpu
@needs_gpu
def test_gpu_allocates_and_captures_nothing_after_warm_up(pair, make_frame):
    gpu, _ = pair
    gpu.warm_up(512, 1024)
    given = [make_frame(512, 1024, seed=i) for i in range(4)]
    for _ in gpu.stream(given * 2):
        pass
    before = torch.cuda.memory_stats()["allocation.all.allocated"]
    rings = {key: [slot.replay for slot in ring.slots] for key, ring in rings_of(gpu).items()}
    for _ in gpu.stream(given * 5):
        pass
    assert torch.cuda.memory_stats()["allocation.all.allocated"] == before
    assert {key: sorted(map(id, replays)) for key, replays in rings.items()} == {
        key: sorted(id(slot.replay) for slot in ring.slots) for key, ring in rings_of(gpu).items()
    }


def rings_of(segmenter):
    return segmenter._gpu.pipeline._rings


@pytest.mark.gpu
@needs_gpu
def test_gpu_streams_keep_their_order_and_every_frame_its_result(pair, make_frame):
    gpu, _ = pair
    given = [make_frame(256, 512, seed=i) for i in range(12)]
    alone = [gpu(frame).label for frame in given]
    for label, result in zip(alone, gpu.stream(given), strict=True):
        np.testing.assert_array_equal(result.label, label)


@pytest.mark.gpu
@needs_gpu
def test_gpu_copies_overlap_with_the_kernels_of_other_frames(pair):
    gpu, _ = pair
    frame = gpu.host_frame(1024, 2048)
    frame[...] = 90
    pipeline = gpu._gpu.pipeline
    for _ in gpu.stream([frame] * 6):
        pass
    jobs = [pipeline.submit(frame, ("label",), i) for i in range(3)]
    slots = list(next(reversed(rings_of(gpu).values())).slots)
    for job in jobs:
        job.finish()
    # The second frame was in before the first one's kernels had ended.
    first, second = slots[0], slots[1]
    assert second.ends["copy_in"].elapsed_time(first.ends["network"]) > 0


@pytest.mark.gpu
@needs_gpu
def test_gpu_memory_at_full_size_is_at_most_500_mb(header, make_frame):
    torch.manual_seed(0)
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    gpu = Segmenter(ContextNet(11, "cn14").eval(), header, device="cuda")
    for _ in gpu.stream([make_frame(1024, 2048)] * 6):
        pass
    assert torch.cuda.memory_reserved() - before <= 500e6
