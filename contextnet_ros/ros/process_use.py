"""How much of processor, memory and GPU a measurement took: /proc on Linux, nvidia-smi for GPUs.

What the system doesn't tell is None, and is reported as not measured.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

_PERIOD_S = 0.2
_GPU_QUERY = (
    "nvidia-smi",
    "--query-gpu=utilization.gpu,memory.used,memory.total",
    "--format=csv,noheader,nounits",
)


def process_cpu_s(pid: int) -> float | None:
    """Processor seconds, user and system, that all threads of a process have taken."""
    try:
        # The name, in parentheses, may hold spaces.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return None


def process_memory_bytes(pid: int) -> int | None:
    """Resident memory of a process."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Sample:
    """The machine and one process at one moment; counters grow, None is not measured."""

    monotonic_s: float
    busy_s: float | None
    total_s: float | None
    memory_percent: float | None
    process_cpu_s: float | None
    process_bytes: int | None


def take_sample(pid: int | None) -> Sample:
    """Read all counters now."""
    busy, total = _machine_cpu_s()
    return Sample(
        time.monotonic(),
        busy,
        total,
        _memory_percent(),
        None if pid is None else process_cpu_s(pid),
        None if pid is None else process_memory_bytes(pid),
    )


def _machine_cpu_s() -> tuple[float, float] | tuple[None, None]:
    try:
        values = [int(v) for v in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    except (OSError, IndexError, ValueError):
        return None, None
    tick = os.sysconf("SC_CLK_TCK")
    idle = values[3] + values[4]
    return (sum(values) - idle) / tick, sum(values) / tick


def _memory_percent() -> float | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        return 100 * (1 - sizes["MemAvailable"] / sizes["MemTotal"])
    except (OSError, KeyError, IndexError, ValueError):
        return None


def gpu_sample() -> tuple[float, float, float] | None:
    """Utilization in percent, memory used and memory in MiB of the first GPU; None without one."""
    try:
        done = subprocess.run(_GPU_QUERY, capture_output=True, text=True, timeout=5, check=True)
        percent, used, total = map(float, done.stdout.splitlines()[0].split(","))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
    return percent, used, total


@dataclass(frozen=True)
class Before:
    """The machine before a measurement: its counters over a fifth of a second, and its GPU."""

    samples: tuple[Sample, ...] = ()
    gpu: tuple[float, float, float] | None = None


def _before() -> Before:
    first = take_sample(None)
    # Utilization is told by no single moment.
    time.sleep(_PERIOD_S)
    return Before((first, take_sample(None)), gpu_sample())


class UseMeter(threading.Thread):
    """Samples the machine and one process until it is stopped; a context manager.

    `before` is what it saw before it began.
    """

    def __init__(self, pid: int | None) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._ended = threading.Event()
        self.before = Before()
        self.samples: list[Sample] = []
        self.gpu: list[tuple[float, float, float]] = []

    def __enter__(self) -> UseMeter:
        self.before = _before()
        self.samples.append(take_sample(self._pid))
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()
        self.samples.append(take_sample(self._pid))

    def run(self) -> None:
        """Sample until stopped; a GPU that does not answer once is not asked again."""
        has_gpu = self.before.gpu is not None
        while not self._ended.wait(_PERIOD_S):
            self.samples.append(take_sample(self._pid))
            if has_gpu and len(self.samples) % 5 == 2:
                sample = gpu_sample()
                has_gpu = sample is not None
                self.gpu += [] if sample is None else [sample]


def summarize(
    samples: Sequence[Sample],
    gpu: Sequence[tuple[float, float, float]],
    before: Before | None = None,
) -> dict[str, Any]:
    """What ros2_benchmark calls utilization, and the node's own processor time and memory.

    `node_cpu_percent` is of one processor, so that 200 is two of them all the time.
    """
    before = before or Before()
    baseline = _percents(before.samples, [] if before.gpu is None else [before.gpu])
    own = [s.process_bytes for s in samples if s.process_bytes is not None]
    use: dict[str, Any] = {}
    for name, values in _percents(samples, gpu).items():
        use |= {
            f"BASELINE_{name}": next(iter(baseline[name]), None),
            f"MEAN_{name}": mean(values) if values else None,
            f"MAX_{name}": max(values, default=None),
        }
    return {
        **use,
        "node_cpu_percent": _own_cpu_percent(samples),
        "node_memory_mean_bytes": round(mean(own)) if own else None,
        "node_memory_max_bytes": max(own, default=None),
    }


def _percents(
    samples: Sequence[Sample], gpu: Sequence[tuple[float, float, float]]
) -> dict[str, list[float]]:
    """What was seen of each of ros2_benchmark's resources."""
    return {
        "OVERALL_CPU_UTILIZATION": [
            # Of sums this large a difference is rounded.
            min(100.0, 100 * (b.busy_s - a.busy_s) / (b.total_s - a.total_s))
            for a, b in pairwise(samples)
            if b.busy_s is not None and b.total_s is not None
            if a.busy_s is not None and a.total_s is not None and b.total_s > a.total_s
        ],
        "HOST_MEMORY_UTILIZATION": [
            s.memory_percent for s in samples if s.memory_percent is not None
        ],
        "DEVICE_UTILIZATION": [percent for percent, _, _ in gpu],
        "DEVICE_MEMORY_UTILIZATION": [100 * used / total for _, used, total in gpu if total > 0],
    }


def _own_cpu_percent(samples: Sequence[Sample]) -> float | None:
    told = [s for s in samples if s.process_cpu_s is not None]
    if len(told) < 2 or told[-1].monotonic_s <= told[0].monotonic_s:
        return None
    first, last = told[0], told[-1]
    assert first.process_cpu_s is not None
    assert last.process_cpu_s is not None
    return 100 * (last.process_cpu_s - first.process_cpu_s) / (last.monotonic_s - first.monotonic_s)
