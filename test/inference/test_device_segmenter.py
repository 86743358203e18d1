"""The whole way of a frame on a device with streams, on the stand-in and on a GPU."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from agreement import assert_equal
from decided_network import decided
from stand_in_device import StandInDevice, on_stand_in

from contextnet_ros.files import UserError
from contextnet_ros.inference import (
    OUTPUTS,
    DeviceError,
    Segmenter,
    device_segmenter,
)
from contextnet_ros.inference.frame_program import FrameProgram
from contextnet_ros.inference.overlay import OverlayBlender
from contextnet_ros.network import NetworkSize
from contextnet_ros.tools import evaluate


@pytest.mark.parametrize("size", [(75, 101), (160, 64), (1, 1)])
@pytest.mark.parametrize("network_size", ["frame", "scale 0.5", "scale 1.5"])
def test_results_are_the_cpus(network, header, make_frame, size, network_size):
    ours, _ = on_stand_in(network, header, network_size=network_size)
    theirs = Segmenter(
        network, header, device="cpu", backend="torch", network_size=network_size, num_threads=1
    )
    frame = make_frame(*size)
    assert_equal(ours(frame, OUTPUTS), theirs(frame, OUTPUTS))


def test_frames_come_within_a_callers_inference_mode_and_without_it(network, header, make_frame):
    frame = make_frame(64, 96)
    with torch.inference_mode():
        ours, _ = on_stand_in(network, header)
        first = ours(frame, OUTPUTS)
    assert_equal(ours(frame, OUTPUTS), first)
    ours.overlay_opacity = 0.9
    ours(frame, OUTPUTS)


@pytest.mark.parametrize("variant", ["cn18", "cn12", "cn124"])
def test_every_context_resolution_gives_the_cpus_results(header, make_frame, variant):
    network, header = decided(variant), replace(header, variant=variant)
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
    frames = [make_frame(64, 96, seed=i) for i in range(3)]
    frame = frames[0]
    before = ours(frame, OUTPUTS)
    times = ours.time_stages(frames, OUTPUTS)
    assert set(times) == {
        "copy_in", "preprocess", "network", "postprocess", "kernels", "copy_out",
    }  # fmt: skip
    assert all(len(each) == 3 and min(each) >= 0 for each in times.values())
    assert_equal(ours(frame, OUTPUTS), before, share=1)
    with pytest.raises(UserError, match="on a GPU only, not on cpu"):
        Segmenter(network, header, device="cpu").time_stages(frames)


def test_every_stage_is_timed_with_every_frame(network, header, make_frame, monkeypatch):
    ours, _ = on_stand_in(network, header)
    frames = [make_frame(64, 96, seed=i) for i in range(3)]
    seen = {"prepare": [], "logits": [], "finish": []}

    def watch(name, read):
        real, different = getattr(FrameProgram, name), []

        def watched(program, *arguments):
            found = read(program, *arguments)
            if not any(torch.equal(found, other) for other in different):
                different.append(found.clone())
            seen[name].append(next(i for i, d in enumerate(different) if torch.equal(found, d)))
            return real(program, *arguments)

        monkeypatch.setattr(FrameProgram, name, watched)

    watch("prepare", lambda _, inputs: inputs["seen"])
    watch("logits", lambda program: program._images)
    watch("finish", lambda _, logits, *__: logits)
    ours.time_stages(frames)
    # Each twice where it is timed, and once where the next stage needs it; 2 for a first time.
    twice, once = [0, 0, 1, 1, 2, 2], [0, 1, 2]
    assert seen == {
        "prepare": [*twice, *once, 2, *once, *twice],
        "logits": [*twice, 2, *once, *twice],
        "finish": [*twice, *twice],
    }


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
        (
            RuntimeError("CUDA error: no kernel image is available for execution on the device\n"),
            UserError,
            r"^torch \S+ has no code for cuda:0 \(.*\): install a build .* device cpu$",
        ),
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
    with pytest.raises(told, match=says) as caught:
        device_segmenter.on_cuda(torch.device("cuda", 0), network, header, *options)
    # Of a DeviceError the node would think that another process helps.
    assert type(caught.value) is told


def test_too_little_memory_for_what_is_no_frame_is_one_line_too(network, header, make_frame):
    ours, device = on_stand_in(network, header)
    device.refusals["run"] = [torch.OutOfMemoryError("CUDA out of memory.")]
    with pytest.raises(UserError, match=r"memory for the colours of an overlay .*network_size"):
        ours.overlay_opacity = 0.9
    device.limit = 0
    with pytest.raises(UserError, match=r"the stages of a frame of 96 x 64 .*network_size"):
        ours.time_stages([make_frame(64, 96)])
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
