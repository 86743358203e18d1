"""What a measurement takes of the machine, how memory grows, and the aims it is held to."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from contextnet_ros.ros import process_use
from contextnet_ros.ros.checks import Check, write_checks
from contextnet_ros.ros.soak import device_growth_percent, growth_percent, memory_checks


def test_a_process_that_computes_is_seen_to_take_its_processor() -> None:
    with process_use.UseMeter(os.getpid()) as meter:
        start = time.process_time()
        while time.process_time() - start < 0.3:
            pass
    use = process_use.summarize(meter.samples, [(50.0, 1000.0, 4000.0)])
    took = meter.samples[-1].process_cpu_s - meter.samples[0].process_cpu_s
    assert took >= 0.28
    assert use["node_cpu_percent"] > 0
    assert use["node_memory_max_bytes"] > 1 << 20
    assert use["MEAN_DEVICE_MEMORY_UTILIZATION"] == 25
    assert use["MAX_DEVICE_UTILIZATION"] == 50


def test_the_baseline_is_the_machines_use_before_the_run() -> None:
    def seen(busy_s: float, memory_percent: float) -> process_use.Sample:
        # One processor for a second a sample.
        seen.total_s += 1
        return process_use.Sample(seen.total_s, busy_s, seen.total_s, memory_percent, None, None)

    seen.total_s = 0.0
    before = process_use.Before((seen(0.0, 30.0), seen(0.1, 90.0)), (5.0, 200.0, 1000.0))
    run = [seen(0.1, 40.0), seen(0.8, 60.0), seen(1.3, 50.0)]
    use = process_use.summarize(run, [(50.0, 400.0, 1000.0), (70.0, 600.0, 1000.0)], before)
    # The names of ros2_benchmark's ResourceMetrics.
    for name, values in {
        "OVERALL_CPU_UTILIZATION": (10, 60, 70),
        "HOST_MEMORY_UTILIZATION": (30, 50, 60),
        "DEVICE_UTILIZATION": (5, 60, 70),
        "DEVICE_MEMORY_UTILIZATION": (20, 50, 60),
    }.items():
        told = [use[f"{kind}_{name}"] for kind in ("BASELINE", "MEAN", "MAX")]
        assert told == pytest.approx(values)


def test_processor_time_of_the_node_is_of_one_processor() -> None:
    def seen(monotonic_s: float, cpu_s: float | None) -> process_use.Sample:
        return process_use.Sample(monotonic_s, None, None, None, cpu_s, None)

    samples = [seen(9.0, None), seen(10.0, 3.0), seen(11.0, 3.2), seen(12.0, 4.0)]
    assert process_use.summarize(samples, [])["node_cpu_percent"] == pytest.approx(50)


def test_a_meter_looks_at_the_machine_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_use, "gpu_sample", lambda: (1.0, 2.0, 3.0))
    with process_use.UseMeter(None) as meter:
        pass
    assert meter.before.samples[-1].monotonic_s <= meter.samples[0].monotonic_s
    use = process_use.summarize(meter.samples, meter.gpu, meter.before)
    assert 0 <= use["BASELINE_OVERALL_CPU_UTILIZATION"] <= 100
    assert 0 < use["BASELINE_HOST_MEMORY_UTILIZATION"] < 100
    assert use["BASELINE_DEVICE_UTILIZATION"] == 1


def test_what_the_system_does_not_tell_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_use, "_GPU_QUERY", ("no-such-command",))
    assert process_use.gpu_sample() is None
    assert process_use.process_cpu_s(2**30) is None
    assert set(process_use.summarize([], []).values()) == {None}


def samples(bytes_at, seconds: int, every_s: float = 1.0) -> list[process_use.Sample]:
    times = np.arange(0, seconds + every_s / 2, every_s)
    return [process_use.Sample(1000 + t, None, None, None, None, round(bytes_at(t))) for t in times]


def test_growth_of_memory_is_seen_from_the_reference_on_and_not_before() -> None:
    # All buffers are made in the first minute; then a leak of 1 % of it in an hour.
    leak = samples(lambda t: 1e9 * min(1, t / 60) + 1e7 * t / 3600, 3600)
    assert growth_percent(leak, 300) == pytest.approx(1e7 * 3300 / 3600 / 1e9 * 100, rel=0.02)
    steady = samples(lambda t: 1e9 if t > 60 else 3e8, 3600)
    assert growth_percent(steady, 300) == 0
    assert growth_percent([], 300) is None
    assert device_growth_percent([(0, 100 + i, 1000) for i in range(61)], 1 / 12) == pytest.approx(
        100 * (160 / 105 - 1)
    )
    assert device_growth_percent([], 1 / 12) is None


def test_memory_that_shrinks_misses_the_aim_as_memory_that_grows_does() -> None:
    checks = memory_checks({"resident": -3.0, "device": 3.0, "other": -1.0, "no": None}, "so far")
    assert [check.reached for check in checks] == [False, False, True, None]
    assert str(checks[0]).startswith("change of resident memory at the end so far: 3 %")


def test_checks_are_told_and_written_whatever_they_found(tmp_path: Path, capsys) -> None:
    checks = [
        Check("cost", 1.2, "<=", 1.5, "x"),
        Check("held", 99.0, ">=", 99.5, "%"),
        Check("GPU", None, "<=", 2, "%"),
    ]
    write_checks(tmp_path / "c.json", checks, {"rest": 1})
    written = json.loads((tmp_path / "c.json").read_text())
    assert [check["reached"] for check in written["checks"]] == [True, False, None]
    assert written["rest"] == 1
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "cost: 1.2 x (aim <= 1.5 x: reached)"
    assert told[1].endswith("missed)")
    assert "not measured" in told[2]
