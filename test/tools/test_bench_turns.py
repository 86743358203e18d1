"""Turns of contextnet-bench in which a process ends."""

from __future__ import annotations

import json

import numpy as np
import pytest

from contextnet_ros.tools import bench, bench_worker
from contextnet_ros.tools.bench_pipelines import Setting

SIZE = (48, 64)


class Mortal:
    """Takes 2 ms for a frame; the backend `dies` ends in its second turn, or when asked for its
    memory."""

    dies = "torch"
    when = "turn"

    def __init__(self, setting, frames):  # noqa: ARG002
        self.setting = setting
        self.info = {"runs": "x", "precision": "float32", "labels": [np.zeros(SIZE, np.uint8)]}
        self.turns = 0

    def _live(self, when):
        if (self.setting.backend, when) == (self.dies, self.when):
            raise bench_worker.Unavailable("its process ended with code -9")

    def turn(self, mode, count):  # noqa: ARG002
        self.turns += 1
        if self.turns == 2:
            self._live("turn")
        return {"frame_ms": [2.0] * count, "stage_ms": {}}

    def memory(self):
        self._live("memory")
        return {"peak_host_bytes": 10**8, "peak_device_bytes": None}

    def close(self):
        pass


@pytest.fixture
def run(weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "ceilings", lambda *_, **__: None)

    def start(dies, when):
        worker = type("Worker", (Mortal,), {"dies": dies, "when": when})
        monkeypatch.setattr(bench, "Worker", worker)
        arguments = ["--model", str(weights), "--device", "cpu", "--frames", "1", "--rounds", "3"]
        arguments += ["--backends", "ours", "torch", "torch-channels-last", "--sizes", "48x64"]
        return bench.main([*arguments, "--modes", "sequential", "--json", "bench.json"])

    return start


@pytest.mark.parametrize("when", ["turn", "memory"])
def test_a_peer_that_ends_later_is_noted_and_the_others_go_on(run, tmp_path, capsys, when):
    assert run("torch", when) == 0
    result = json.loads((tmp_path / "bench.json").read_text())
    assert [row["backend"] for row in result["rows"]] == ["ours", "torch-channels-last"]
    assert all(row["frames"] == 18 for row in result["rows"])
    (missing,) = result["unavailable"]
    assert missing == {
        "backend": "torch",
        "size": "48x64",
        "reason": "its process ended with code -9",
        "model": "random",
        "precision": "auto",
    }
    what = "torch of random at 48x64, precision auto"
    assert f"not measured: {what}: its process ended" in capsys.readouterr().out


@pytest.mark.parametrize("when", ["turn", "memory"])
def test_ours_ending_is_an_error_of_one_line(run, tmp_path, capsys, when):
    assert run("ours", when) == 1
    assert not (tmp_path / "bench.json").exists()
    (line,) = [x for x in capsys.readouterr().err.splitlines() if "contextnet-bench" in x]
    assert "ours at 48x64 can't be measured: its process ended with code -9" in line


def test_a_process_that_was_killed_between_its_turns_is_unavailable(weights, tmp_path):
    np.save(tmp_path / "frames.npy", np.zeros((1, *SIZE, 3), np.uint8))
    torch_setting = Setting(
        "torch", weights, "frame", "cpu", "auto", ("label",), *SIZE, num_threads=1
    )
    worker = bench_worker.Worker(torch_setting, tmp_path / "frames.npy")
    worker._process.kill()
    worker._process.join()
    with pytest.raises(bench_worker.Unavailable, match="ended with code -9"):
        worker.turn("sequential", 1)
    worker.close()
