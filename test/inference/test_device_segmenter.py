"""The whole way of a frame on a device with streams, on the stand-in and on a GPU."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from stand_in_device import StandInDevice, on_stand_in

from contextnet_ros.files import UserError
from contextnet_ros.inference import (
    OUTPUTS,
    DeviceError,
    Segmenter,
    device_segmenter,
    model_path,
)
from contextnet_ros.inference.device_segmenter import DeviceSegmenter
from contextnet_ros.inference.overlay import OverlayBlender
from contextnet_ros.network import ContextNet, NetworkSize, load_weights
from contextnet_ros.tools import evaluate
from contextnet_ros.training.datasets import FIRST_UNSEEN_SEED
from contextnet_ros.training.scenes import render_frame

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def assert_equal(ours, theirs, share=0.999):
    """Equal but for a share of pixels where two classes are within a rounding step."""
    assert (ours.label == theirs.label).mean() >= share
    if theirs.overlay is not None:
        same = ours.label == theirs.label
        np.testing.assert_array_equal(ours.overlay[same], theirs.overlay[same])
    if theirs.confidence is not None:
        assert np.abs(ours.confidence.astype(int) - theirs.confidence).max() <= 1


@pytest.mark.parametrize("size", [(75, 101), (160, 64), (1, 1)])
@pytest.mark.parametrize("network_size", ["frame", "scale 0.5", "scale 1.5"])
def test_results_are_the_cpus(network, header, make_frame, size, network_size):
    ours, _ = on_stand_in(network, header, network_size=network_size)
    theirs = Segmenter(
        network, header, device="cpu", backend="torch", network_size=network_size, num_threads=1
    )
    frame = make_frame(*size)
    assert_equal(ours(frame, OUTPUTS), theirs(frame, OUTPUTS))


@pytest.mark.parametrize("variant", ["cn18", "cn12", "cn124"])
def test_every_context_resolution_gives_the_cpus_results(header, make_frame, variant):
    torch.manual_seed(3)
    network, header = ContextNet(11, variant).eval(), replace(header, variant=variant)
    torch.nn.init.normal_(network.classifier.weight, std=0.3)
    ours, device = on_stand_in(network, header)
    theirs = Segmenter(network, header, device="cpu", backend="torch", num_threads=1)
    frame = make_frame(75, 101)
    assert_equal(ours(frame), theirs(frame))
    assert device.together > 0


def test_channel_order_is_that_of_the_header(network, header, make_frame):
    bgr = replace(header, channel_order="BGR")
    frame = make_frame(64, 96)
    theirs = Segmenter(network, bgr, device="cpu", backend="torch", num_threads=1)
    assert_equal(on_stand_in(network, bgr)[0](frame), theirs(frame))


def test_the_opacity_may_change_between_frames(network, header, make_frame):
    ours, device = on_stand_in(network, header)
    frame = make_frame(64, 96)
    ours(frame, OUTPUTS)
    captures = device.captures
    ours.overlay_opacity = 0.9
    result = ours(frame, OUTPUTS)
    np.testing.assert_array_equal(result.overlay, ours._blender(frame, result.label))
    assert device.captures == captures


def test_warm_up_prepares_every_choice_of_outputs_and_two_sizes_are_kept(
    network, header, make_frame
):
    ours, device = on_stand_in(network, header)
    sizes = (64, 96), (32, 48)
    for size in sizes:
        ours.warm_up(*size)
    captures, allocated = device.captures, len(device.allocated)
    choices = ("label",), ("overlay", "label"), ("label", "confidence"), OUTPUTS, ()
    for size, outputs in itertools.product(sizes, choices):
        assert ours(make_frame(*size), outputs).label.shape == size
    assert (device.captures, len(device.allocated)) == (captures, allocated)


def test_a_stream_gives_the_cpus_results_in_order(network, header, make_frame):
    ours, _ = on_stand_in(network, header)
    theirs = Segmenter(network, header, device="cpu", backend="torch", num_threads=1)
    given = [make_frame(64, 64 + 32 * (i % 2), seed=i) for i in range(5)]
    for i, (frame, result) in enumerate(zip(given, ours.stream(given), strict=True)):
        assert result.index == i
        assert_equal(result, theirs(frame))


def test_a_host_frame_is_not_copied_before_the_device_reads_it(network, header, make_frame):
    ours, device = on_stand_in(network, header)
    frame = ours.host_frame(64, 96)
    frame[...] = make_frame(64, 96)
    assert device.is_host_memory(torch.from_numpy(frame))
    assert_equal(ours(frame), ours(frame.copy()), share=1)


def test_stages_are_timed_alone(network, header, make_frame):
    ours, _ = on_stand_in(network, header)
    frame = make_frame(64, 96)
    before = ours(frame, OUTPUTS)
    times = ours.time_stages(frame, OUTPUTS, repeats=3)
    assert set(times) == {
        "copy_in", "preprocess", "network", "postprocess", "kernels", "copy_out",
    }  # fmt: skip
    assert all(len(each) == 3 and min(each) >= 0 for each in times.values())
    assert_equal(ours(frame, OUTPUTS), before, share=1)
    with pytest.raises(UserError, match="on a GPU only, not on cpu"):
        Segmenter(network, header, device="cpu").time_stages(frame)


@pytest.mark.parametrize("step", ["CudaDevice", "find_kernels", "DeviceNetwork"])
@pytest.mark.parametrize(
    ("error", "told", "says"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory.\nmore"),
            UserError,
            r"^cuda:0 has too little memory for the network \(.*\): .* device cpu$",
        ),
        (RuntimeError("CUDA error: unknown\nmore"), DeviceError, r"^CUDA error: unknown .*\)$"),
    ],
)
def test_what_fails_while_loading_is_one_line(
    network, header, monkeypatch, step, error, told, says
):
    def fail(*_arguments):
        raise error

    monkeypatch.setattr(device_segmenter, "CudaDevice", lambda _device: StandInDevice())
    monkeypatch.setattr(device_segmenter, "find_kernels", lambda *_arguments: (None, ""))
    monkeypatch.setattr(device_segmenter, step, fail)
    options = "float32", 2, NetworkSize(), OverlayBlender(header.table)
    with pytest.raises(told, match=says):
        device_segmenter.on_cuda(torch.device("cuda", 0), network, header, *options)


def test_too_little_memory_for_what_is_no_frame_is_one_line_too(network, header, make_frame):
    ours, device = on_stand_in(network, header)
    device.refusals["run"] = [torch.OutOfMemoryError("CUDA out of memory.")]
    with pytest.raises(UserError, match=r"memory for the colours of an overlay .*network_size"):
        ours.overlay_opacity = 0.9
    device.limit = 0
    with pytest.raises(UserError, match=r"the stages of a frame of 96 x 64 .*network_size"):
        ours.time_stages(make_frame(64, 96))
    with pytest.raises(UserError, match=r"a pinned frame of 96 x 64 .*keep fewer"):
        ours.host_frame(64, 96)


def test_the_note_of_what_is_missing_is_in_the_description(network, header):
    ours, _ = on_stand_in(network, header)
    ours._gpu._network.forms.note = "plain operators"
    assert "plain operators" in ours.describe()


def test_the_note_of_what_is_missing_is_told_where_scores_are_measured(
    network, header, monkeypatch, capsys
):
    ours, _ = on_stand_in(network, header)
    ours._gpu._network.forms.note = "plain operators"
    monkeypatch.setattr(Segmenter, "load", lambda *_arguments, **_options: ours)
    assert evaluate.main(["--data", "generated", "--frames", "1", "--size", "64x96"]) == 0
    said = capsys.readouterr()
    assert "plain operators\n" in said.err
    assert "plain operators" not in said.out


def test_newest_wins_on_a_cpu_too(network, header, make_frame):
    segmenter = Segmenter(network, header, device="cpu", backend="torch", num_threads=1)
    given = [make_frame(32, 64, seed=i) for i in range(40)]
    results = list(segmenter.stream(given, newest_wins=True))
    assert results[-1].index == 39
    assert len(results) < 40
    np.testing.assert_array_equal(results[-1].label, segmenter(given[39]).label)


def mean_iou(label, truth):
    classes = np.unique(truth)
    masks = [(label == number, truth == number) for number in classes]
    return np.mean([(one & other).sum() / (one | other).sum() for one, other in masks])


@pytest.fixture(scope="module")
def pair():
    """The default weights on a GPU and, in float32, on the CPU."""
    return load("cuda"), load("cpu", "float32")


def load(device, precision="auto", network_size="frame"):
    """The default weights: ones that were trained don't magnify what is rounded, as random ones
    do, of which half precision turns more than one label in a hundred."""
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
