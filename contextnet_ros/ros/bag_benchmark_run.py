"""What is played in a bag benchmark: the search for the peak, runs at it, fixed rates, one rate."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from contextnet_ros.ros.bag_benchmark_metrics import Metrics, run_metrics
from contextnet_ros.ros.bag_benchmark_search import Probe, SearchLimits, search_peak
from contextnet_ros.ros.process_use import UseMeter, summarize
from contextnet_ros.ros.replay import HELD_SHARE, Replayed, Session

_IDLE_S = 1.0


@dataclass(frozen=True)
class Plan:
    """What to measure. With `hz` or `rate` the bag is played once at it and nothing else is done.

    Else the peak is searched by runs of `search_s`, then `runs` runs of `run_s` are made at it and
    one at each of the `fixed` rates. `score` has one play of the whole bag recorded.
    """

    hz: float | None = None
    rate: float | None = None
    fixed: tuple[float, ...] = (10.0, 30.0, 60.0)
    run_s: float = 5.0
    runs: int = 5
    search_s: float = 5.0
    limits: SearchLimits = field(default_factory=SearchLimits)
    score: bool = False


@dataclass(frozen=True)
class Measurement:
    """Runs at one rate. `kind`: peak, fixed, given (--hz), multiplied (--rate) or quality."""

    kind: str
    asked_hz: float
    runs: list[Replayed]
    use: dict[str, Any]

    @property
    def name(self) -> str:
        """What a reader calls it."""
        return f"{self.kind} {self.asked_hz:.4g} Hz"


@dataclass(frozen=True)
class Measured:
    """All measurements in their order, and what the search tried before; `main` is the first.

    `search_faults`: sums that did not hold in the search's plays.
    """

    measurements: list[Measurement]
    probes: list[Probe]
    round_trips_ms: list[float]
    peak_hz: float | None
    search_faults: list[str] = field(default_factory=list)

    @property
    def main(self) -> Measurement:
        """The measurement that is quoted: at the peak, or at the rate that was given."""
        return self.measurements[0]


def idle_use() -> dict[str, Any]:
    """The machine's use for a second in which nothing is measured."""
    with UseMeter(None) as meter:
        time.sleep(_IDLE_S)
    return summarize(meter.samples, meter.gpu, meter.before)


def measure(session: Session, plan: Plan, on_stage: Callable[[str], None]) -> Measured:
    """Play what the plan asks for, and measure."""
    return _Benchmark(session, plan, on_stage).run()


class _Benchmark:
    def __init__(self, session: Session, plan: Plan, on_stage: Callable[[str], None]) -> None:
        self.session = session
        self.plan = plan
        self.on_stage = on_stage
        self.search_faults: list[str] = []

    def run(self) -> Measured:
        plan = self.plan
        if plan.hz is not None or plan.rate is not None:
            return Measured([self._once(plan.hz, plan.rate)], [], [], None)
        self.on_stage("timing single frames")
        trips_ms = self.session.probe()
        limits = plan.limits.for_round_trip(median(trips_ms))
        peak_hz, probes = search_peak(self._try, limits)
        measurements = [self._runs("peak", peak_hz, plan.runs)]
        measurements += [self._runs("fixed", hz, 1) for hz in plan.fixed]
        if plan.score:
            measurements.append(self._quality(HELD_SHARE * peak_hz))
        return Measured(measurements, probes, trips_ms, peak_hz, self.search_faults)

    def _once(self, hz: float | None, rate: float | None) -> Measurement:
        kind, asked_hz = "given", hz
        if asked_hz is None:
            assert rate is not None
            kind, asked_hz = "multiplied", rate * self.session.ready["bag_hz"]
        frames = self.session.in_bag
        self.on_stage(f"playing {frames} frames at {asked_hz:.4g} Hz")
        with UseMeter(self.session.node.process.pid) as meter:
            if rate is not None:
                run = self.session.replay(rate, record=self.plan.score)
            else:
                run = self.session.play(asked_hz, record=self.plan.score)
        use = summarize(meter.samples, meter.gpu, meter.before)
        return Measurement(kind, asked_hz, [run], use)

    def _quality(self, hz: float) -> Measurement:
        self.on_stage(f"playing the bag once at {hz:.4g} Hz for its score")
        with UseMeter(self.session.node.process.pid) as meter:
            run = self.session.play(hz, record=True)
        use = summarize(meter.samples, meter.gpu, meter.before)
        return Measurement("quality", hz, [run], use)

    def _runs(self, kind: str, hz: float, runs: int) -> Measurement:
        done = []
        samples, gpu, before = [], [], None
        for number in range(1, runs + 1):
            of = f" ({number} of {runs})" if runs > 1 else ""
            self.on_stage(f"{kind} {hz:.4g} Hz{of}, {self.plan.run_s:g} s")
            with UseMeter(self.session.node.process.pid) as meter:
                done.append(self.session.play(hz, frames=_count(hz, self.plan.run_s)))
            # Later runs begin in what is left of those before them.
            before = before or meter.before
            samples += meter.samples
            gpu += meter.gpu
        return Measurement(kind, hz, done, summarize(samples, gpu, before))

    def _try(self, hz: float) -> Metrics:
        self.on_stage(f"searching the peak: {hz:.4g} Hz")
        run = self.session.play(hz, frames=_count(hz, self.plan.search_s))
        self.search_faults += [f"search {hz:.4g} Hz: {fault}" for fault in run.faults]
        return run_metrics(run.sent, run.labels)


def _count(hz: float, seconds: float) -> int:
    # Fewer than three frames have no rate and no jitter.
    return max(3, round(hz * seconds))
