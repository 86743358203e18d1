"""contextnet-bench on a GPU, with the stand-in and fakes in its place."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from stand_in_device import on_stand_in

from contextnet_ros.files import UserError
from contextnet_ros.inference import Segmenter
from contextnet_ros.network import save_weights
from contextnet_ros.tools import bench, bench_gpu, bench_worker
from contextnet_ros.tools.bench_gpu import (
    OursOnGpu,
    TorchOnGpu,
    add_overlap,
    inputs,
    make_pipeline,
    measure_alone,
)
from contextnet_ros.tools.bench_pipelines import Setting
from contextnet_ros.tools.bench_report import add_ratios, plot, table

SIZE = (64, 96)
MODES = [mode for mode in bench_worker.MODES if mode != "coarse"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(network, header, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_weights(path, network, header)
    return path


@pytest.fixture
def setting(weights, monkeypatch):
    # Peers set it for their process.
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)

    def make(backend="ours", **changes):
        values = {
            "backend": backend, "weights": weights, "network_size": "frame", "device": "cuda:0",
            "precision": "auto", "outputs": ("label",), "height": SIZE[0], "width": SIZE[1],
            "num_threads": 1, "input": "pageable",
        }  # fmt: skip
        return Setting(**{**values, **changes})

    return make


@pytest.fixture
def ours(network, header, setting):
    def make(memory="pinned"):
        segmenter, device = on_stand_in(network, header)
        return OursOnGpu(setting(input=memory), segmenter), device

    return make


@pytest.mark.parametrize("memory", ["pinned", "pageable"])
def test_frames_are_handed_over_in_the_memory_that_the_row_names(
    network, header, make_frame, ours, memory
):
    pipeline, device = ours(memory)
    given = np.stack([make_frame(*SIZE, seed=i) for i in range(4)])
    frames = pipeline.prepare(given)
    np.testing.assert_array_equal(np.stack(frames), given)
    pinned = [device.is_host_memory(torch.from_numpy(frame)) for frame in frames]
    assert pinned == [memory == "pinned"] * 4
    cpu = Segmenter(network, header, device="cpu", backend="torch", num_threads=1)
    for frame, label in zip(frames, pipeline.stream(iter(frames)), strict=True):
        assert (label == cpu(frame).label).mean() >= 0.999
    assert (pipeline(frames[0]) == cpu(frames[0]).label).mean() >= 0.999


def test_kernel_and_stages_of_ours_are_the_devices_times_of_each_alone(make_frame, ours):
    pipeline, _ = ours()
    asked = []
    times = {"copy_in": [1.0, 2.0], "network": [3.0, 3.0], "kernels": [4.0, 5.0]}
    times["copy_out"] = [0.5, 0.25]
    real = pipeline._segmenter.time_stages
    pipeline._segmenter.time_stages = lambda *args: asked.append(args) or times
    frames = [make_frame(*SIZE, seed=i) for i in range(2)]
    kernel = measure_alone(pipeline, "kernel", frames)
    assert kernel == {"frame_ms": [4.0, 5.0], "stage_ms": {}}
    stages = measure_alone(pipeline, "stages", frames)
    assert stages == {"frame_ms": [5.5, 7.25], "stage_ms": times}
    assert asked == [(frames,)] * 2
    pipeline._segmenter.time_stages = real
    assert len(measure_alone(pipeline, "stages", frames)["frame_ms"]) == 2


def test_memory_is_that_of_frames_and_not_that_of_timing_stages(make_frame, ours, monkeypatch):
    taken = [100]
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda _: taken[0])
    pipeline, _ = ours()
    taken[0] = 300
    assert pipeline.peak_device_bytes() == 300
    pipeline._time_stages = lambda *_: taken.__setitem__(0, 900) or {}
    for _ in range(2):
        pipeline.time_stages([make_frame(*SIZE)])
    assert taken[0] == 900
    assert pipeline.peak_device_bytes() == 300


class Tick:
    """An event whose time is the number of pieces of work done until then."""

    def __init__(self, work):
        self._work = work

    def record(self):
        self._at = len(self._work)

    def synchronize(self):
        pass

    def elapsed_time(self, end):
        return end._at - self._at


@pytest.mark.parametrize("half", [False, True])
def test_a_peer_labels_as_the_networks_full_size_logits_and_times_what_is_between_the_copies(
    network, header, make_frame, setting, monkeypatch, half
):
    monkeypatch.setattr(bench_gpu, "choose_precision", lambda name, _: name)
    work = []
    pipeline = TorchOnGpu(setting("torch"), CPU, lambda: Tick(work), half=half)
    assert pipeline.precision == ("float16" if half else "float32")
    frame = make_frame(*SIZE)
    scaled = (frame[..., ::-1] / 255.0 - np.array(header.mean)) / np.array(header.std)
    images = torch.from_numpy(scaled.astype(np.float32)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        expected = network(images)[0].argmax(0).numpy()
    label = pipeline(frame)
    assert label.dtype == np.uint8
    assert (label == expected).mean() >= (0.97 if half else 0.999)
    kernels = pipeline._kernels
    pipeline._kernels = lambda there: work.append(there.clone()) or kernels(there)
    frames = [make_frame(*SIZE, seed=i) for i in range(3)]
    assert measure_alone(pipeline, "stages", frames)["stage_ms"] == {
        "copy_in": [0, 0, 0], "kernels": [1, 1, 1], "copy_out": [0, 0, 0],
    }  # fmt: skip
    # Once for its label, and each time behind one that is not counted.
    for there, i in zip(work, (0, 0, 0, 1, 1, 2, 2), strict=True):
        assert torch.equal(there, torch.from_numpy(frames[i]))


def test_peers_on_a_gpu_are_eager_float32_half_precision_and_that_compiled_with_max_autotune(
    setting, monkeypatch
):
    class Device:
        device, event = CPU, None

        def __init__(self, asked):
            assert asked == torch.device("cuda", 0)

    compiled, chosen = [], []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(bench_gpu, "choose_device", torch.device)
    monkeypatch.setattr(bench_gpu, "CudaDevice", Device)
    monkeypatch.setattr(bench_gpu, "choose_precision", lambda name, _: name)
    monkeypatch.setattr(torch, "compile", lambda *args, **more: compiled.append((args, more)))
    made = {
        backend: make_pipeline(setting(backend))
        for backend in ("torch", "torch-channels-last", "torch-compile")
    }
    assert chosen == [Device.device] * 3
    assert [type(pipeline) for pipeline in made.values()] == [TorchOnGpu] * 3
    assert [p.precision for p in made.values()] == ["float32", "float16", "float16"]
    assert [next(p._network.parameters()).dtype for p in made.values()] == [
        torch.float32, torch.float16, torch.float16,
    ]  # fmt: skip
    ((args, more),) = compiled
    assert args == (made["torch-compile"]._label,)
    assert more["mode"] == "max-autotune"
    asked = make_pipeline(setting("torch-compile", precision="float32"))
    assert asked.precision == "float32"
    with pytest.raises(UserError, match=r"not at scale 0\.5"):
        make_pipeline(setting("torch", network_size="scale 0.5"))


def test_a_cpu_has_no_kinds_of_memory_and_a_gpu_times_stages_from_pinned_memory():
    assert inputs("ours", "cpu", ["kernel"]) == {None: ["kernel"]}
    assert inputs("torch", "cuda", MODES) == {"pageable": MODES}
    assert inputs("ours", "cuda", ["kernel", "pipelined"]) == {
        "pinned": ["kernel", "pipelined"],
        "pageable": ["pipelined"],
    }
    assert inputs("ours", "cuda", ["kernel"]) == {"pinned": ["kernel"]}


class Connection:
    """Gives a worker its orders and keeps what it answers."""

    def __init__(self, orders):
        self._orders = iter([*orders, None])
        self.answers = []

    def recv(self):
        return next(self._orders)

    def send(self, answer):
        self.answers.append(answer)


def test_a_worker_times_stages_of_other_frames_in_every_turn(
    make_frame, ours, tmp_path, monkeypatch, setting
):
    pipeline, _ = ours()
    seen = []

    def time_stages(frames):
        seen.extend(frames)
        return {name: [1.0] * len(frames) for name in ("copy_in", "kernels", "copy_out")}

    pipeline._time_stages = time_stages
    monkeypatch.setattr(bench_worker, "make_pipeline", lambda _: pipeline)
    reserved = [9]
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda _: reserved[0])
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: reserved.__setitem__(0, 7))
    given = np.stack([make_frame(*SIZE, seed=i) for i in range(4)])
    np.save(tmp_path / "frames.npy", given)
    connection = Connection([("kernel", 3), ("stages", 3), ("pipelined", 2), ("memory", 0)])
    bench_worker._serve(connection, setting(), tmp_path / "frames.npy")
    info, kernel, stages, pipelined, memory = connection.answers
    assert [label.shape for label in info["labels"]] == [SIZE] * 4
    assert kernel["frame_ms"] == [1.0] * 3
    assert stages["frame_ms"] == [3.0] * 3
    assert len(pipelined["frame_ms"]) == 2
    assert memory["peak_device_bytes"] == 7
    for frame, expected in zip(seen, given[[0, 1, 2, 3, 0, 1]], strict=True):
        np.testing.assert_array_equal(frame, expected)


class FakeWorker:
    """Takes 2 ms for a frame, pageable ones 1 ms more, and 8 ms in the hands of a peer."""

    def __init__(self, setting, frames):  # noqa: ARG002
        self.setting = setting
        self.info = {"runs": "x", "precision": "float16", "labels": [np.zeros(SIZE, np.uint8)]}

    def turn(self, mode, count):
        if self.setting.backend != "ours":
            frame = 8.0
        else:
            frame = 2.0 if self.setting.input == "pinned" else 3.0
        stages = {"copy_in": 0.5, "network": 1.0, "kernels": 1.5, "copy_out": 0.25}
        stage_ms = {k: [v] * count for k, v in stages.items()} if mode == "stages" else {}
        return {"frame_ms": [frame] * count, "stage_ms": stage_ms}

    def memory(self):
        return {"peak_host_bytes": 10**8, "peak_device_bytes": 4 * 10**8}

    def close(self):
        pass


def test_rows_of_a_gpu_name_their_memory_and_their_overlap(weights, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "choose_device", lambda _: torch.device("cuda", 0))
    monkeypatch.setattr(bench, "Worker", FakeWorker)
    header = {"provenance": {"device": "a GPU"}, "device_type": "cuda"}
    monkeypatch.setattr(bench, "header", lambda *_: header)
    ceilings = {"multiply_adds_per_s": 1e15, "copied_bytes_per_s": 1e12}
    monkeypatch.setattr(bench, "ceilings", lambda device, *_, **__: {str(device): ceilings})
    path = tmp_path / "bench.json"
    arguments = ["--model", str(weights), "--sizes", "64x96", "--frames", "1", "--turn", "2"]
    arguments += ["--modes", *MODES, "--backends", "ours", "torch"]
    assert bench.main([*arguments, "--json", str(path)]) == 0
    result = json.loads(path.read_text())
    assert result["ceilings"] == {"cuda:0": ceilings}
    rows = result["rows"]
    assert all(row["moved_bytes"] > row["multiply_adds"] / 100 for row in rows)
    found = {(row["backend"], row["input"], row["mode"]): row for row in rows}
    assert len(found) == len(rows)
    both = list(itertools.product(["ours"], ["pinned", "pageable"], MODES[:2]))
    alone = list(itertools.product(["ours"], ["pinned"], MODES[2:]))
    peer = list(itertools.product(["torch"], ["pageable"], MODES))
    assert set(found) == {*both, *alone, *peer}
    # The slowest step, 1.5 ms, in the 2 or 8 ms of a frame.
    assert {key: row.get("overlap", "-") for key, row in found.items() if row.get("overlap")} == {
        ("ours", "pinned", "pipelined"): pytest.approx(0.75),
        ("torch", "pageable", "pipelined"): pytest.approx(1.5 / 8),
    }
    assert found["ours", "pageable", "pipelined"]["overlap"] is None
    # A peer's frames are in pageable memory: its ratio is to ours with those.
    ratio = {key: row["ratio_to_ours"] for key, row in found.items()}
    assert ratio["torch", "pageable", "sequential"] == pytest.approx(8 / 3)
    assert ratio["ours", "pinned", "sequential"] == pytest.approx(2 / 3)
    assert ratio["torch", "pageable", "kernel"] == 4
    output = capsys.readouterr().out
    assert "| ours (pinned frames) | x | float16 | 500.00 | 2.000 | 2.000 |" in output
    assert output.count("| 400 | 100.000 % | 0.75 |") == 1
    # Bars are of stages that follow each other; with the kernels' sum they would be longer.
    stages = [row for row in rows if row["mode"] == "stages" and row["backend"] == "ours"]
    with_sum = plot(stages)
    del stages[0]["stage_ms"]["kernels"]
    np.testing.assert_array_equal(with_sum, plot(stages))


def test_coarse_is_refused_on_a_gpu_with_the_remedy(weights, monkeypatch, capsys):
    monkeypatch.setattr(bench, "choose_device", lambda _: torch.device("cuda", 0))
    assert bench.main(["--model", str(weights), "--modes", "kernel", "coarse"]) == 1
    assert "coarse is not available on cuda:0: choose others or" in capsys.readouterr().err


def test_rows_of_a_cpu_have_no_column_for_the_overlap():
    row = {
        "network": "cn14", "model": "m", "backend": "ours", "runs": "x", "mode": "pipelined",
        "precision": "float32", "asked_precision": "auto", "outputs": ["label"], "height": 4,
        "width": 4, "fps": 1.0, "p50_ms": 1.0, "p99_ms": 1.0, "stage_ms": None,
        "peak_device_bytes": None, "peak_host_bytes": None, "label_agreement": None,
    }  # fmt: skip
    rows = [dict(row)]
    add_ratios(rows)
    add_overlap(rows)
    assert rows == [{**row, "ratio_to_ours": 1.0}]
    assert "overlap" not in table(rows)
