"""The search for the highest rate that a machine holds."""

from __future__ import annotations

import pytest
from bag_benchmark_runs import Machine

from contextnet_ros.ros.bag_benchmark_search import SearchLimits, search_peak


@pytest.mark.parametrize("peak_hz", [23.0, 51.0, 77.0, 300.0])
def test_the_search_ends_one_step_below_what_is_no_longer_held(peak_hz: float) -> None:
    machine = Machine(peak_hz)
    limits = SearchLimits()
    found, probes = search_peak(machine, limits)
    # 5 % may be missed, so that a little more than the peak is still held.
    highest = min(peak_hz / (1 - limits.missed_share), limits.upper_hz)
    assert highest - limits.step_hz <= found <= highest + 0.5
    assert [probe.hz for probe in probes] == machine.asked
    assert machine.asked[0] == limits.upper_hz
    assert len(machine.asked) < 12


def test_a_slow_machine_is_searched_below_ten_hertz_in_finer_steps() -> None:
    limits = SearchLimits().for_round_trip(400)
    assert limits.upper_hz == 5
    found, _ = search_peak(Machine(2.6), limits)
    assert 2.2 < found < 2.8
    fast = SearchLimits().for_round_trip(5)
    assert fast == SearchLimits()


def test_a_player_that_cannot_keep_the_rate_ends_the_search_there() -> None:
    def measure(hz: float) -> dict[str, float | None]:
        sent = min(hz, 40.0)
        return {
            "MEAN_PLAYBACK_FRAME_RATE": sent,
            "MEAN_FRAME_RATE": sent,
            "NUM_FRAMES_SENT": round(5 * sent),
            "NUM_MISSED_FRAMES": 0,
        }

    found, _ = search_peak(measure, SearchLimits())
    assert 35 <= found <= 50
