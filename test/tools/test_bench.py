from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from bench_setup import SIZE, frames, import_runtime

from contextnet_ros.files import UserError
from contextnet_ros.inference.pipeline import SLOTS
from contextnet_ros.network import load_weights
from contextnet_ros.tools import bench, bench_worker
from contextnet_ros.tools.bench_gpu import make_pipeline
from contextnet_ros.tools.bench_inputs import load_frames
from contextnet_ros.tools.bench_pipelines import PIPELINES, Pipeline
from contextnet_ros.tools.bench_report import (
    add_ratios,
    make_row,
    paper_table,
    peers_table,
    plot,
    table,
)

OF_NETWORK = {"network": "cn14", "multiply_adds": 5 * 10**9, "moved_bytes": 10**9}


# torch-compile is left out: it needs a C++ compiler and minutes; it differs in one line.
@pytest.mark.parametrize("backend", sorted(set(PIPELINES) - {"torch-compile"}))
def test_every_pipeline_gives_the_label_of_the_networks_full_size_logits(setting, weights, backend):
    import_runtime(backend)
    (frame,) = frames(1)
    network, header = load_weights(weights)
    scaled = (frame[..., ::-1] / 255.0 - np.array(header.mean)) / np.array(header.std)
    images = torch.from_numpy(scaled.astype(np.float32)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        top = network(images)[0].topk(2, dim=0)
    clear = (top.values[0] - top.values[1] > 1e-3 * top.values.abs().max()).numpy()
    pipeline = make_pipeline(setting(backend, precision="float32"))
    label = pipeline(frame)
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label[clear], top.indices[0].numpy()[clear])
    assert clear.mean() > 0.9
    assert set(pipeline.stage_ms) == {"preprocess", "network", "postprocess"}
    assert pipeline.precision == "float32"


@pytest.mark.parametrize("backend", ["torch", "torch-channels-last", "onnxruntime"])
def test_peers_in_float32_alone_say_so(setting, backend):
    import_runtime(backend)
    with pytest.raises(UserError, match=f"{backend} is compared in float32.*auto or float32"):
        make_pipeline(setting(backend, precision="bfloat16"))


def test_openvino_and_ours_choose_one_precision(setting):
    chosen = "bfloat16" if import_runtime("openvino").computes_in_bfloat16() else "float32"
    assert [make_pipeline(setting(name)).precision for name in ("ours", "openvino")] == [chosen] * 2


class Clockwork(Pipeline):
    """Notes what it was given; a frame takes 5 ms of its own clock, its network's stage says 7."""

    runs, precision = "clockwork", "float32"

    def __init__(self):
        self.seen = []
        self.streamed = 0
        self.now = 0.0

    def __call__(self, frame):
        self.seen.append(frame)
        self.now += 0.005
        self.stage_ms = {"preprocess": 1.0, "network": 7.0}
        return frame

    def stream(self, frames):
        frames = list(frames)
        for frame in frames:
            self.streamed += 1
            # Those ahead fill the pipeline, and take longer; behind the last nothing is to be done.
            full = SLOTS < self.streamed <= len(frames) - SLOTS
            self.now += 0.005 if full else 0.1 if self.streamed <= SLOTS else 0.0
            yield frame


@pytest.mark.parametrize("mode", [mode for mode in bench_worker.MODES if mode != "coarse"])
def test_each_mode_times_what_it_says(mode, monkeypatch):
    pipeline = Clockwork()
    monkeypatch.setattr(bench_worker, "time", SimpleNamespace(perf_counter=lambda: pipeline.now))
    around = ["x", "y", "z"] if mode == "pipelined" else []
    measured = bench_worker.measure(pipeline, mode, iter([*around, "a", "b", "c", *around]))
    assert measured["frame_ms"] == pytest.approx([7.0 if mode == "kernel" else 5.0] * 3)
    if mode == "pipelined":
        assert (pipeline.streamed, pipeline.seen) == (9, [])
    else:
        assert pipeline.seen == ["a", "b", "c"]
    expected = {"preprocess": [1.0] * 3, "network": [7.0] * 3} if mode == "stages" else {}
    assert measured["stage_ms"] == expected


def test_a_worker_measures_in_a_process_of_its_own_and_ends(setting, tmp_path):
    np.save(tmp_path / "frames.npy", frames())
    worker = bench_worker.Worker(setting("torch"), tmp_path / "frames.npy")
    assert {label.shape for label in worker.info["labels"]} == {SIZE}
    assert len(worker.turn("sequential", 4)["frame_ms"]) == 4
    memory = worker.memory()
    assert memory["peak_host_bytes"] > 50e6
    worker.close()
    assert not worker._process.is_alive()


def test_a_backend_that_can_not_run_is_unavailable_with_its_reason(setting, tmp_path):
    np.save(tmp_path / "frames.npy", frames())
    with pytest.raises(bench_worker.Unavailable, match=r"not at scale 0\.5"):
        bench_worker.Worker(setting("torch", network_size="scale 0.5"), tmp_path / "frames.npy")
    with pytest.raises(bench_worker.Unavailable, match="FileNotFoundError"):
        bench_worker.Worker(setting("torch"), tmp_path / "nothing.npy")


def row(setting, backend, times, mode="sequential", **stages):
    info = {"runs": "x", "precision": "float32", "label_agreement": 1.0}
    measured = {"frame_ms": times, "stage_ms": stages}
    memory = {"peak_host_bytes": 10**8, "peak_device_bytes": None}
    return make_row(setting(backend), OF_NETWORK, mode, info, {**measured, **memory})


def test_a_row_holds_rate_median_p99_and_ratio(setting):
    rows = [
        row(setting, "ours", [10.0] * 98 + [20.0, 50.0], network=[3.0, 5.0, 4.0]),
        row(setting, "torch", [40.0, 40.0, 70.0]),
        row(setting, "torch", [9.0], mode="kernel"),
    ]
    add_ratios(rows)
    assert rows[0]["fps"] == pytest.approx(100 * 1000 / 1050)
    assert rows[0]["p50_ms"] == 10
    # Between the 99th and the 100th of the times: 0.99 * 99 = 98.01 places behind the first.
    assert rows[0]["p99_ms"] == pytest.approx(20.3)
    assert rows[0]["stage_ms"] == {"network": 4}
    assert [r["ratio_to_ours"] for r in rows] == [1, 4, None]
    assert "| torch |" in table(rows)
    assert "| 4.00 |" in table(rows)


def test_with_several_precisions_each_is_compared_with_ours_of_the_same(setting):
    def measured(backend, asked, runs, milliseconds):
        found = row(lambda b: setting(b, precision=asked), backend, [milliseconds])
        return {**found, "precision": runs}

    rows = [
        measured("ours", "float16", "float16", 1.0),
        measured("ours", "float32", "float32", 3.0),
        measured("torch-compile", "float16", "float16", 1.5),
        measured("torch", "float32", "float32", 6.0),
        # Both choose for themselves.
        measured("ours", "auto", "float16", 1.0),
        measured("torch", "auto", "float32", 6.0),
    ]
    add_ratios(rows)
    assert [found["ratio_to_ours"] for found in rows] == [1, 1, 1.5, 2, 1, 6]


def test_the_paper_stands_beside_what_was_measured_and_the_rest_is_not_measured(setting):
    measured = row(lambda b: setting(b, height=1024, width=2048), "ours", [125.0])
    result = {"device_type": "cpu", "rows": [measured]}
    lines = paper_table([result]).splitlines()
    assert "| 1024x2048 | sequential | 18.3 fps | not measured | 8.0 fps |" in lines
    assert "| 1024x2048 | pipelined | 41.9 fps | not measured | not measured |" in lines
    assert "| 256x512 | pipelined | 299.5 fps | not measured | not measured |" in lines
    on_gpu = paper_table([{"device_type": "cuda", "rows": [measured]}, result]).splitlines()
    assert "| 1024x2048 | sequential | 18.3 fps | 8.0 fps | 8.0 fps |" in on_gpu


def test_a_line_of_peers_holds_the_ratios_of_the_first_size_in_turn():
    def row(backend, size, ratio):
        return {
            "mode": "sequential", "height": size, "width": 2 * size, "backend": backend,
            "p50_ms": 20.0, "precision": "float32", "ratio_to_ours": ratio, "label_agreement": 0.5,
        }  # fmt: skip

    one = {"rows": [row("ours", 64, 1.0), row("torch", 64, 7.0), row("torch", 32, 9.0)]}
    other = {"rows": [{"mode": "kernel"}, row("ours", 64, 1.0), row("openvino", 64, 2.5)]}
    lines = peers_table({"a": one, "b": other}).splitlines()
    assert lines[0] == "| measured | size | ours | torch / ours | openvino / ours | labels |"
    assert lines[2:] == [
        "| `a` | 64x128 | 20.0 ms, float32 | 7.00 | - | 50.00 % |",
        "| `b` | 64x128 | 20.0 ms, float32 | - | 2.50 | 50.00 % |",
    ]


def test_the_longest_bar_of_the_plot_is_the_slowest_row(setting):
    rows = [row(setting, "ours", [10.0], network=[10.0]), row(setting, "torch", [40.0])]
    add_ratios(rows)
    picture = plot(rows)
    colour = tuple(picture[60, 440])
    assert colour != (255, 255, 255)
    lengths = [
        max((picture[y] == colour).all(axis=1).sum() for y in range(top, top + 20))
        for top in (52, 86)
    ]
    assert lengths[1] / lengths[0] == pytest.approx(4, rel=0.05)


@pytest.fixture
def run(weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quick = ["--frames", "2", "--rounds", "2", "--turn", "2", "--threads", "1", "--device", "cpu"]
    return lambda *arguments: bench.main(["--model", str(weights), *quick, *arguments])


def test_the_command_writes_header_rows_and_plot(run, capsys):
    arguments = ["--backends", "ours", "torch", "--sizes", "48x64", "--modes", *bench_worker.MODES]
    arguments += ["--precision", "float32", "--json", "bench.json", "--plot", "bench.png"]
    assert run(*arguments, "--paper") == 0
    result = json.loads(Path("bench.json").read_text())
    # Plain torch has no row of mode coarse.
    assert len(result["rows"]) == 9
    for found in result["rows"]:
        assert {
            "network", "backend", "mode", "precision", "height", "width", "fps", "p50_ms",
            "p99_ms", "stage_ms", "peak_device_bytes", "peak_host_bytes",
        } <= set(found)  # fmt: skip
        assert (found["network"], found["frames"]) == ("cn14", 4)
        assert found["mode"] == "coarse" or found["label_agreement"] > 0.999
    assert {"device", "versions", "commit", "date"} <= set(result["provenance"])
    assert cv2.imread("bench.png").ndim == 3
    output = capsys.readouterr().out
    assert "| torch |" in output
    assert "not measured" in output


def test_variants_without_weights_are_measured_with_random_ones(run):
    # --model stands first: both are measured.
    arguments = ["--variants", "cn18", "cn14-160", "--backends", "ours", "--modes", "kernel"]
    assert run(*arguments, "--sizes", "48x64", "--json", "bench.json") == 0
    rows = json.loads(Path("bench.json").read_text())["rows"]
    assert [(row["model"], row["network"]) for row in rows] == [
        ("random", "cn14"),
        ("random-cn18", "cn18"),
        ("random-cn14-160", "cn14-160"),
    ]
    work = [row["multiply_adds"] for row in rows]
    assert work[0] > work[1] > work[2] > 0


def test_a_peer_that_can_not_run_is_reported_and_ours_still_measured(run, capsys):
    arguments = ["--backends", "ours", "torch", "--sizes", "48x64", "--network-size", "scale 0.5"]
    assert run(*arguments, "--json", "bench.json") == 0
    result = json.loads(Path("bench.json").read_text())
    assert {found["backend"] for found in result["rows"]} == {"ours"}
    assert result["unavailable"][0]["backend"] == "torch"
    what = "torch of random at 48x64, precision auto"
    assert f"not measured: {what}: peers see frames as they are" in capsys.readouterr().out


def test_weights_of_one_name_are_told_apart_and_what_is_no_benchmark_is_refused(
    setting, tmp_path, capsys
):
    weights = setting("ours").weights
    (tmp_path / "other").mkdir()
    twin = shutil.copy(weights, tmp_path / "other")
    command = ["--model", str(weights), str(twin), "--sizes", "48x64", "--backends", "ours"]
    command += ["--device", "cpu", "--frames", "2", "--rounds", "1", "--turn", "1"]
    assert bench.main([*command, "--modes", "sequential", "--json", str(tmp_path / "b.json")]) == 0
    rows = json.loads((tmp_path / "b.json").read_text())["rows"]
    assert [(row["model"], row["ratio_to_ours"]) for row in rows] == [
        (str(weights), 1),
        (str(twin), 1),
    ]
    command = ["--paper", "--network-size", "scale 0.5", "--device", "cpu"]
    assert bench.main(command) == 1
    assert "--network-size is scale 0.5: leave one of them out" in capsys.readouterr().err
    command = ["--model", str(weights), "--precision", "float32", "float16", "--device", "cpu"]
    assert bench.main(command) == 1
    assert "'float16' is slow and inexact" in capsys.readouterr().err
    command = ["--model", str(weights), "--sizes", "48x64", "--device", "cpu", "--frames", "2"]
    assert bench.main([*command, "--backends", "torch", "--modes", "coarse"]) == 1
    assert "nothing was measured" in capsys.readouterr().err


def test_frames_of_a_folder_are_used_at_the_size_asked_for(tmp_path):
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((40, 60, 3), 50 * index, np.uint8))
    loaded = load_frames(tmp_path, 2, 20, 30)
    assert loaded.shape == (2, 20, 30, 3)
    assert [int(frame[0, 0, 0]) for frame in loaded] == [0, 50]


def test_generated_frames_are_all_different():
    loaded = load_frames(None, 3, 48, 64)
    assert len({frame.tobytes() for frame in loaded}) == 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--rounds", "0"), "--rounds 0.*1 or more"),
        (("--sizes", "8x64"), "of 8 x 64 .*at least 16 pixels a side"),
        (("--input", "nowhere"), "nowhere is no folder"),
        (("--input", "."), "has no images: give a folder with some"),
        (("--plot", "bench.pdf"), "bench.pdf does not end in .png"),
        (("--model", "nobody"), "'nobody' is unknown"),
        (("--precision", "int4", "--sizes", "48x64"), "precision 'int4'"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_1(run, capsys, arguments, says):
    assert run("--backends", "ours", "--sizes", "48x64", *arguments) == 1
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("contextnet-bench")]
    assert re.search(says, line)


def test_help_has_examples_and_names_every_backend(capsys):
    with pytest.raises(SystemExit) as stop:
        bench.main(["--help"])
    assert stop.value.code == 0
    output = capsys.readouterr().out
    assert "contextnet-bench --paper" in output
    assert all(backend in output for backend in PIPELINES)
