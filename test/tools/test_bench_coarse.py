"""Mode coarse of contextnet-bench."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from bench_setup import frames, import_runtime

from contextnet_ros.network import load_weights
from contextnet_ros.network.contextnet import pad_to_multiple
from contextnet_ros.tools import bench, bench_coarse, bench_worker
from contextnet_ros.tools.bench_coarse import NETWORKS, measure_coarse
from contextnet_ros.tools.bench_gpu import inputs
from contextnet_ros.tools.bench_pipelines import PIPELINES


# torch-compile is left out here: it needs a C++ compiler and minutes.
@pytest.mark.parametrize("backend", sorted(set(NETWORKS) - {"torch-compile"}))
def test_every_backend_gives_the_networks_coarse_logits(setting, weights, backend):
    import_runtime(backend)
    (frame,) = frames(1)
    network, header = load_weights(weights)
    scaled = (frame[..., ::-1] / 255.0 - np.array(header.mean)) / np.array(header.std)
    images = torch.from_numpy(scaled.astype(np.float32)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        expected = network.coarse_logits(pad_to_multiple(images, network.size_multiple))[0]
    coarse = NETWORKS[backend](setting(backend, precision="float32"))
    found = torch.as_tensor(coarse.run(coarse.preprocess(frame))).reshape(expected.shape)
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


def test_what_torch_compile_is_given_is_folded_and_stops_at_coarse_logits(setting, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function: function)
    coarse = NETWORKS["torch-compile"](setting("torch-compile"))
    modules = list(coarse._network.__self__.modules())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in modules)
    assert coarse.run(coarse.preprocess(frames(1)[0])).shape == (1, 11, 12, 16)


def test_all_backends_but_plain_torch_have_the_mode():
    assert set(NETWORKS) == set(PIPELINES) - {"torch"}
    assert inputs("torch", "cpu", ["kernel", "coarse"]) == {None: ["kernel"]}
    assert inputs("torch", "cpu", ["coarse"]) == {}
    assert inputs("ours", "cpu", ["coarse"]) == {None: ["coarse"]}


class Sluggish:
    """Takes 300 s of its own clock for the image and 7 ms for the network."""

    def __init__(self):
        self.seen = []
        self.now = 0.0

    def preprocess(self, image):
        self.now += 300
        return image

    def run(self, images):
        self.now += 0.007
        self.seen.append(images)


def test_the_float_image_is_no_part_of_the_time(monkeypatch):
    network = Sluggish()
    monkeypatch.setattr(bench_coarse, "time", SimpleNamespace(perf_counter=lambda: network.now))
    measured = measure_coarse(network, iter(["a", "b"]))
    assert network.seen == ["a", "b"]
    assert measured == {"frame_ms": pytest.approx([7.0, 7.0]), "stage_ms": {}}


class Connection:
    """Gives a worker its orders and keeps what it answers."""

    def __init__(self, orders):
        self._orders = iter([*orders, None])
        self.answers = []

    def recv(self):
        return next(self._orders)

    def send(self, answer):
        self.answers.append(answer)


@pytest.mark.parametrize("modes", [["kernel"], ["kernel", "coarse", "coarse"]])
def test_a_worker_holds_the_second_network_only_when_it_is_asked_for(
    setting, tmp_path, monkeypatch, modes
):
    made = []
    monkeypatch.setitem(NETWORKS, "torch-channels-last", lambda s: made.append(s) or Sluggish())
    np.save(tmp_path / "frames.npy", frames(1))
    connection = Connection([(mode, 1) for mode in modes])
    bench_worker._serve(connection, setting("torch-channels-last"), tmp_path / "frames.npy")
    assert len(made) == ("coarse" in modes)
    assert [len(answer["frame_ms"]) for answer in connection.answers[1:]] == [1] * len(modes)


def test_the_command_gives_rows_as_the_others_without_a_label(weights, tmp_path):
    path = tmp_path / "bench.json"
    arguments = ["--frames", "2", "--rounds", "2", "--turn", "2", "--threads", "1"]
    arguments += ["--model", str(weights), "--sizes", "48x64", "--modes", "kernel", "coarse"]
    arguments += ["--backends", "ours", "torch", "torch-channels-last", "--device", "cpu"]
    assert bench.main([*arguments, "--json", str(path)]) == 0
    rows = json.loads(Path(path).read_text())["rows"]
    assert [(row["backend"], row["mode"]) for row in rows] == [
        ("ours", "kernel"),
        ("torch", "kernel"),
        ("torch-channels-last", "kernel"),
        ("ours", "coarse"),
        ("torch-channels-last", "coarse"),
    ]
    assert len({tuple(row) for row in rows}) == 1
    for row in rows[3:]:
        assert row["frames"] == 4
        assert row["label_agreement"] is None
        assert row["ratio_to_ours"] == pytest.approx(row["p50_ms"] / rows[3]["p50_ms"])
