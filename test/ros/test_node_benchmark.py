"""bench-node and soak for a few seconds: what they write, and none of how fast it was."""

from __future__ import annotations

import json
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: the benchmarks need ROS 2")

from contextnet_ros.ros import node_benchmark, process_use, soak
from contextnet_ros.ros.bag_make import BagFormat, make_bag
from contextnet_ros.ros.frame_fates import FrameFates
from contextnet_ros.ros.replay import Replayed, Session

pytestmark = pytest.mark.ros


def sums_hold(f: dict[str, int]) -> bool:
    return (
        f["in_bag"] == f["sent"] + f["not_sent"]
        and f["sent"] == f["received"] + f["not_taken"]
        and f["received"] == f["superseded"] + f["bad"] + f["published"] + f["pending"]
        and f["published"] == f["monitored"] + f["lost_out"]
    )


def test_the_relay_and_the_node_are_measured_in_one_run(tmp_path: Path, capsys) -> None:
    arguments = ["--only", "overhead", "--size", "96x160", "--seconds", "0.6", "--rounds", "1"]
    assert node_benchmark.main([*arguments, "--json", str(tmp_path / "b.json")]) == 0
    result = json.loads((tmp_path / "b.json").read_text())
    for name in ("relay", "node"):
        (cost,) = result["overhead"][name]
        assert sums_hold(cost["frames"])
        assert cost["faults"] == []
        assert cost["latency"]["frames"] == cost["frames"]["monitored"] > 0
    assert [check["aim"] for check in result["checks"]] == [1.5, 1.3]
    assert "bare rclpy relay" in capsys.readouterr().out


def test_three_cameras_are_played_in_turn_and_all_their_frames_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if it computed all the time: the run takes most of a second.
    monkeypatch.setattr(process_use, "process_cpu_s", lambda _: time.monotonic())
    make_bag(node_benchmark.noise_source(96, 160), tmp_path / "bag", BagFormat(), progress=False)
    rig = node_benchmark.Rig(tmp_path, tmp_path / "bag", (96, 160), 1.0, 1, 1.0)
    names = ("front", "left", "right")
    cost = node_benchmark.play_once(rig, node_benchmark.STAND_IN, 10.0, 0.9, cameras=names)
    assert cost.run.fates.in_bag == 9
    assert cost.run.faults == []
    assert sums_hold(cost.run.fates.to_dict())
    assert cost.cpu_ms_per_frame > 600 / cost.run.fates.received
    # Whichever were lost on the way, more than one camera's frames were answered.
    stamps = sorted(cost.run.sent)
    assert len({stamps.index(stamp) % 3 for stamp in cost.run.labels}) > 1


def cost(cpu_ms: float, p50_ms: float) -> node_benchmark.Cost:
    fates = FrameFates(*[0] * len(fields(FrameFates)))
    run = Replayed(fates, 10.0, {}, {}, set(), {}, {}, {})
    return node_benchmark.Cost(run, cpu_ms, p50_ms)


def test_three_cameras_are_held_against_one_in_cpu_time_and_in_latency(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = {1: cost(2.0, 10.0), 3: cost(2.1, 12.0)}
    monkeypatch.setattr(node_benchmark, "play_once", lambda *_, cameras, **__: costs[len(cameras)])
    rig = node_benchmark.Rig(tmp_path, tmp_path, (96, 160), 1.0, 2, 1.0)
    checks, _ = node_benchmark.cameras(rig)
    assert [check.measured for check in checks] == pytest.approx([1.05, 1.2])
    assert [check.reached for check in checks] == [True, False]


def test_sums_that_do_not_hold_are_an_error_after_the_result_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    play = Session.play

    def broken(session, hz, **options):
        return replace(play(session, hz, **options), faults=["sent 1 = received 0"])

    monkeypatch.setattr(Session, "play", broken)
    arguments = ["--only", "held", "--size", "96x160", "--long-s", "0.5"]
    assert node_benchmark.main([*arguments, "--json", str(tmp_path / "b.json")]) == 1
    assert "do not hold: stand_in_node at 30 Hz: sent 1 = received 0" in capsys.readouterr().err
    assert json.loads((tmp_path / "b.json").read_text())["held"]["faults"]


def test_a_batch_of_cameras_is_measured_beside_one_frame_at_a_time(tmp_path: Path) -> None:
    arguments = ["--only", "batch", "--size", "96x160", "--rounds", "1"]
    assert node_benchmark.main([*arguments, "--json", str(tmp_path / "b.json")]) == 0
    result = json.loads((tmp_path / "b.json").read_text())
    took = result["batch"]["frame_ms"]
    assert len(took["batched"]) == len(took["interleaved"]) > 1
    assert min(took["batched"] + took["interleaved"]) > 0
    (check,) = result["checks"]
    assert check["measured"] == np.median(took["batched"]) / np.median(took["interleaved"])


def test_a_soak_tells_of_memory_from_its_start_to_its_end(tmp_path: Path, weights: Path) -> None:
    arguments = ["--size", "96x160", "--minutes", "0.03", "--hz", "5", "--model", str(weights)]
    assert soak.main([*arguments, "--device", "cpu", "--json", str(tmp_path / "s.json")]) == 0
    result = json.loads((tmp_path / "s.json").read_text())
    assert sums_hold(result["frames"])
    assert result["frames"]["in_bag"] == 9
    resident, device = result["checks"]
    assert resident["measured"] is not None
    assert resident["measured"] == abs(result["growth_percent"]["resident"])
    assert device["measured"] is None or device["measured"] >= 0
    assert result["resident_bytes_per_minute"][0] > 1 << 20
