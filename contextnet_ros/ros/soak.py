"""Run the node for an hour at the highest rate that it holds, and watch its memory: `make soak`.

    python -m contextnet_ros.ros.soak --json docs/results/soak.json
    python -m contextnet_ros.ros.soak --minutes 6 --hz 10
    python -m contextnet_ros.ros.soak --bag drive_bag

Memory at the end is held against that of minute 5 (of a twelfth of a shorter run), when all buffers
have been made; it may be neither much more nor much less. Without --bag, generated streets are
played over and over.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from contextnet_ros.files import UserError, check_writable, run_command
from contextnet_ros.provenance import provenance
from contextnet_ros.ros.bag_benchmark_input import BagInput, read_input
from contextnet_ros.ros.bag_benchmark_metrics import own_metrics, run_metrics
from contextnet_ros.ros.bag_benchmark_search import SearchLimits, search_peak
from contextnet_ros.ros.bag_make import BagFormat, make_bag, positive
from contextnet_ros.ros.checks import Check, tell, write_checks
from contextnet_ros.ros.frame_sources import generated_source
from contextnet_ros.ros.process_use import Sample, UseMeter, summarize
from contextnet_ros.ros.processes import ending_signals_as_interrupt
from contextnet_ros.ros.replay import Session, Setup, open_session
from contextnet_ros.tools.evaluate import parse_size

_REFERENCE_MINUTE = 5.0
_LIMIT_PERCENT = 2.0
_SEARCH_S = 5.0
_STREETS = 8

# Memory at a moment is the mean of what was seen for so long around it.
_WINDOW_S = 10.0


def growth_percent(samples: Sequence[Sample], reference_s: float) -> float | None:
    """Resident memory at the end, in percent above that `reference_s` after the start.

    Each is a mean over a few seconds, or a tenth of the reference where that is shorter; None where
    memory was not measured.
    """
    told = [(s.monotonic_s, s.process_bytes) for s in samples if s.process_bytes is not None]
    if not told:
        return None
    window_s = min(_WINDOW_S, reference_s / 10)

    def around(time_s: float) -> float:
        near = [size for at_s, size in told if abs(at_s - time_s) <= window_s]
        return mean(near or [min(told, key=lambda each: abs(each[0] - time_s))[1]])

    start_s, end_s = told[0][0], told[-1][0]
    return 100 * (around(end_s - window_s) / around(start_s + reference_s) - 1)


def device_growth_percent(
    gpu: Sequence[tuple[float, float, float]], reference_share: float
) -> float | None:
    """The same of the GPU's memory in use; None where there is no GPU."""
    if len(gpu) < 2:
        return None
    before = gpu[round(reference_share * (len(gpu) - 1))][1]
    return None if before == 0 else 100 * (gpu[-1][1] / before - 1)


def memory_checks(growth: Mapping[str, float | None], since: str) -> list[Check]:
    """Whether each memory's growth in percent stayed within the limit, either way."""
    return [
        Check(
            f"change of {name} memory at the end {since}",
            None if percent is None else abs(percent),
            "<=",
            _LIMIT_PERCENT,
            "%",
        )
        for name, percent in growth.items()
    ]


def _rate(session: Session, hz: float | None) -> float:
    if hz is not None:
        return hz
    tell("searching the highest rate that is held")
    limits = SearchLimits().for_round_trip(median(session.probe()))

    def try_rate(rate_hz: float) -> dict[str, float | None]:
        run = session.play(rate_hz, frames=max(3, round(rate_hz * _SEARCH_S)))
        return run_metrics(run.sent, run.labels)

    return search_peak(try_rate, limits)[0]


def _setup(options: argparse.Namespace, bag: Path, about: BagInput, work: Path) -> Setup:
    parameters: dict[str, object] = {
        "model": options.model,
        "device": options.device,
        "warm_up_height": about.height,
        "warm_up_width": about.width,
    }
    return Setup(bag=bag, logs=work / "logs", image_topic=about.topic, parameters=parameters)


def _run(options: argparse.Namespace) -> int:
    check_writable(options.json)
    seconds = 60 * options.minutes
    reference_s = min(60 * _REFERENCE_MINUTE, seconds / 12)
    with tempfile.TemporaryDirectory(prefix="contextnet-soak-") as folder:
        work = Path(folder)
        bag = options.bag
        if bag is None:
            bag = work / "streets"
            height, width = options.size
            tell(f"making {_STREETS} generated frames")
            source = generated_source(frames=_STREETS, height=height, width=width, seed=900_000)
            make_bag(source, bag, BagFormat(), progress=False)
        about, _ = read_input(bag, None, None)
        with open_session(_setup(options, bag, about, work), tell) as session:
            hz = _rate(session, options.hz)
            tell(f"playing at {hz:.3g} Hz for {options.minutes:g} minutes")
            with UseMeter(session.node.process.pid) as meter:
                run = session.play(hz, frames=max(3, round(hz * seconds)))
    per_minute = [
        s.process_bytes
        for index, s in enumerate(meter.samples)
        if index == 0
        or int(s.monotonic_s - meter.samples[0].monotonic_s) // 60
        > int(meter.samples[index - 1].monotonic_s - meter.samples[0].monotonic_s) // 60
    ]
    since = f"against minute {reference_s / 60:.3g} of {options.minutes:g}"
    growth = {
        "resident": growth_percent(meter.samples, reference_s),
        "device": device_growth_percent(meter.gpu, reference_s / seconds),
    }
    rest: dict[str, Any] = {
        "model": options.model,
        "minutes": options.minutes,
        "hz": hz,
        "size": f"{about.height}x{about.width}",
        **own_metrics([run]),
        "frames": run.fates.to_dict(),
        "faults": run.faults,
        "growth_percent": growth,
        "resident_bytes_per_minute": per_minute,
        "use": summarize(meter.samples, meter.gpu, meter.before),
        "provenance": provenance(run.status.get("device", "cpu")),
    }
    write_checks(options.json, memory_checks(growth, since), rest)
    if run.faults:
        raise UserError(f"the frames' sums do not hold: {'; '.join(run.faults)}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the soak; returns its exit code, which says of the measured only that sums hold."""
    parser = argparse.ArgumentParser(
        prog="soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--bag", type=Path, help="rosbag2 folder with one camera topic, of raw images")
    add("--size", type=parse_size, default=(1024, 2048), help="of generated frames (1024x2048)")
    add("--minutes", type=positive, default=60.0, help="(%(default)g)")
    add("--hz", type=positive, help="instead of the highest rate that is held")
    add("--model", default="default", help="a model's name or a weight file (%(default)s)")
    add("--device", default="auto", help="auto, cpu or cuda (%(default)s)")
    add("--json", metavar="FILE", type=Path, help="write what was measured")
    options = parser.parse_args(argv)

    def run() -> int:
        with ending_signals_as_interrupt():
            return _run(options)

    return run_command(run, "soak")


if __name__ == "__main__":
    sys.exit(main())
