"""The highest rate that is held, searched as NVIDIA's ros2_benchmark searches it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from contextnet_ros.ros.bag_benchmark_metrics import Metrics


@dataclass(frozen=True)
class SearchLimits:
    """What the search tries and what it lets pass; the defaults are ros2_benchmark's.

    A rate passes when labels come at no less than what was played minus the drop, and the share of
    frames missed is no larger. Halving ends at `width_hz`; then steps of `step_hz` go on up.
    """

    lower_hz: float = 10.0
    upper_hz: float = 100.0
    width_hz: float = 10.0
    halving_drop_hz: float = 10.0
    step_hz: float = 5.0
    step_drop_hz: float = 5.0
    missed_share: float = 0.05

    def for_round_trip(self, round_trip_ms: float) -> SearchLimits:
        """The limits for a machine whose single frames take this long there and back.

        Nobody holds twice the rate of single round trips for long. Where that is not far above the
        lower limit, all shrink alike, or the resolution would be coarser than the answer.
        """
        upper = min(self.upper_hz, 2e3 / round_trip_ms)
        if upper >= self.lower_hz + 2 * self.width_hz:
            return SearchLimits(**{**vars(self), "upper_hz": upper})
        share = upper / (self.lower_hz + 2 * self.width_hz)
        return SearchLimits(
            lower_hz=self.lower_hz * share,
            upper_hz=upper,
            width_hz=self.width_hz * share,
            halving_drop_hz=self.halving_drop_hz * share,
            step_hz=self.step_hz * share,
            step_drop_hz=self.step_drop_hz * share,
            missed_share=self.missed_share,
        )


@dataclass(frozen=True)
class Probe:
    """One rate that the search tried."""

    phase: str
    hz: float
    output_hz: float
    missed: int
    sent: int
    held: bool


def search_peak(
    measure: Callable[[float], Metrics], limits: SearchLimits
) -> tuple[float, list[Probe]]:
    """The highest rate in Hz that was held, and every rate tried on the way.

    `measure` plays at a rate and returns `run_metrics`. Where not even the lowest rate tried is
    held, the answer is the lower limit all the same, and no probe of it is `held`.
    """
    probes: list[Probe] = []

    def held(phase: str, hz: float, drop_hz: float) -> bool:
        metrics = measure(hz)
        sent = int(metrics["NUM_FRAMES_SENT"] or 0)
        missed = int(metrics["NUM_MISSED_FRAMES"] or 0)
        output_hz = metrics["MEAN_FRAME_RATE"] or 0.0
        played_hz = metrics["MEAN_PLAYBACK_FRAME_RATE"] or hz
        # A player that can't keep the rate says nothing about the node at that rate.
        keeps = sent > 0 and played_hz >= hz - drop_hz
        fine = output_hz >= played_hz - drop_hz and missed <= math.ceil(sent * limits.missed_share)
        probes.append(Probe(phase, hz, output_hz, missed, sent, keeps and fine))
        return probes[-1].held

    low, high = limits.lower_hz, limits.upper_hz
    if held("first", high, limits.halving_drop_hz):
        low = high
    while high - low > limits.width_hz:
        middle = (low + high) / 2
        if held("halving", middle, limits.halving_drop_hz):
            low = middle
        else:
            high = middle
    while low + limits.step_hz <= limits.upper_hz:
        if not held("step", low + limits.step_hz, limits.step_drop_hz):
            break
        low += limits.step_hz
    return low, probes
