"""From stamps and times to ros2_benchmark's metrics, our own beside them, and stage times.

Names are those of NVIDIA's ros2_benchmark, so that results can be laid side by side; where a value
is defined otherwise here, `DIFFERENCES` says so, and every report carries it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from contextnet_ros.ros.bag_turns import rate_hz
from contextnet_ros.ros.frame_fates import FrameFates, latency
from contextnet_ros.ros.replay import Replayed
from contextnet_ros.ros.timings import MARKS

Metrics = dict[str, float | None]

DIFFERENCES = (
    "MEAN_FRAME_RATE and MEAN_PLAYBACK_FRAME_RATE are (n - 1) / (last - first); ros2_benchmark "
    "divides n by it, which adds a frame.",
    "Input and output are matched by header stamp, so that MEAN_LATENCY, MAX_LATENCY and "
    "MIN_LATENCY are always there; ros2_benchmark leaves them out unless told to match.",
    "Percentiles (p50_ms, p90_ms, p99_ms) and min_fps, 1 / the longest gap between two labels, are "
    "ours; they are taken over the frames of all runs together.",
    "Of several runs the named metrics are concluded as there, without the best and the worst run; "
    "but MEAN_JITTER is then the mean of the runs' means, where ros2_benchmark takes the largest.",
    "Frames travel between processes over DDS; ros2_benchmark composes player, node and monitor "
    "into one process.",
    "The frames of the bag are played one after another, again from the start at its end; "
    "ros2_benchmark as it is mostly used repeats one image.",
    "The search begins at twice the rate of single round trips where that is lower than the upper "
    "limit, and on a machine that holds less than 10 Hz it goes below 10 Hz, in finer steps.",
    "A fixed rate above the peak is played too, and its losses are shown; ros2_benchmark skips it.",
)

_LATENCIES = (
    "FIRST_SENT_RECEIVED_LATENCY",
    "LAST_SENT_RECEIVED_LATENCY",
    "FIRST_INPUT_LATENCY",
    "LAST_INPUT_LATENCY",
    "MAX_LATENCY",
    "MIN_LATENCY",
    "MEAN_LATENCY",
)
_JITTERS = ("MAX_JITTER", "MIN_JITTER", "MEAN_JITTER", "STD_DEV_JITTER")

# In the order of a frame's way; the Segmenter's stages stand under the names it has for them.
STAGES = (
    "transport_in",
    "waiting",
    "decode",
    "copy_in",
    "network",
    "copy_out",
    "other",
    "message_fill",
    "transport_out",
)
"""Stages of a frame, in its order: they add up to its latency. On a CPU copy_in is the resize to
the network's input, and copy_out the way from logits to a label of the frame's size."""

_STAGE_OF = {"preprocess": "copy_in", "postprocess": "copy_out"}


def run_metrics(sent: Mapping[int, int], labels: Mapping[int, int]) -> Metrics:
    """ros2_benchmark's metrics of one run, in Hz and ms; None where there were too few frames.

    `sent` and `labels` map header stamps to when a frame went out and its label came (ns).
    """
    starts, ends = sorted(sent.values()), sorted(labels.values())
    metrics: Metrics = dict.fromkeys((*_LATENCIES, *_JITTERS))
    metrics |= {
        "RECEIVED_DURATION": (ends[-1] - ends[0]) / 1e6 if ends else None,
        "MEAN_PLAYBACK_FRAME_RATE": rate_hz(starts) or None,
        "MEAN_FRAME_RATE": rate_hz(ends) or None,
        "NUM_MISSED_FRAMES": len(sent) - len(labels),
        "NUM_FRAMES_SENT": len(sent),
    }
    if starts and ends:
        metrics["FIRST_SENT_RECEIVED_LATENCY"] = (ends[0] - starts[0]) / 1e6
        metrics["LAST_SENT_RECEIVED_LATENCY"] = (ends[-1] - starts[-1]) / 1e6
    times_ms = latencies_ms(sent, labels)
    if times_ms:
        metrics["FIRST_INPUT_LATENCY"], metrics["LAST_INPUT_LATENCY"] = times_ms[0], times_ms[-1]
        metrics["MAX_LATENCY"], metrics["MIN_LATENCY"] = max(times_ms), min(times_ms)
        metrics["MEAN_LATENCY"] = float(np.mean(times_ms))
    if len(ends) > 2:
        jitters = np.abs(np.diff(np.diff(np.asarray(ends) / 1e6)))
        values = jitters.max(), jitters.min(), jitters.mean(), jitters.std()
        metrics |= dict(zip(_JITTERS, map(float, values), strict=True))
    return metrics


def latencies_ms(sent: Mapping[int, int], labels: Mapping[int, int]) -> list[float]:
    """Milliseconds from sending to the label's arrival of each answered frame, as they were sent.

    Frames whose sending nobody saw have none.
    """
    return [
        (labels[stamp] - time_ns) / 1e6
        for stamp, time_ns in sorted(sent.items(), key=lambda item: item[1])
        if stamp in labels
    ]


def concluded(runs: Sequence[Metrics]) -> Metrics:
    """The metrics of several runs as one, without each metric's best and worst of three or more."""
    result: Metrics = {}
    for name in runs[0]:
        values = sorted(value for run in runs if (value := run[name]) is not None)
        if len(values) < len(runs):
            result[name] = None
            continue
        kept = values[1:-1] if len(values) > 2 else values
        if name.startswith("MAX"):
            result[name] = max(kept)
        elif name.startswith("MIN"):
            result[name] = min(kept)
        else:
            result[name] = float(np.mean(kept))
    return result


def own_metrics(runs: Sequence[Replayed]) -> dict[str, Any]:
    """Latency percentiles, mean and minimum fps and the share of frames missed, of all runs."""
    shift = itertools.count()
    sent: dict[int, int] = {}
    labels: dict[int, int] = {}
    for run in runs:
        # Runs play the same stamps; the pair (run, stamp) is what tells frames apart.
        base = next(shift) << 80
        sent |= {base + stamp: time_ns for stamp, time_ns in run.sent.items()}
        labels |= {base + stamp: time_ns for stamp, time_ns in run.labels.items()}
    rates = [rate_hz(sorted(run.labels.values())) for run in runs]
    gaps = [max(gaps_ns) for run in runs if (gaps_ns := _gaps_ns(run.labels))]
    frames = total_fates(run.fates for run in runs)
    return {
        "latency": latency(sent, labels),
        "fps": float(np.mean(rates)) if all(rates) else None,
        "min_fps": 1e9 / max(gaps) if gaps else None,
        "missed_percent": missed_percent(frames),
    }


def _gaps_ns(labels: Mapping[int, int]) -> list[int]:
    return np.diff(sorted(labels.values())).tolist()  # type: ignore[no-any-return]


def missed_percent(fates: FrameFates) -> float | None:
    """Frames sent that no label came back for, in percent of those sent; None if none was sent."""
    return 100 * (fates.sent - fates.monitored) / fates.sent if fates.sent else None


def total_fates(each: Iterable[FrameFates]) -> FrameFates:
    """The fates of all frames of several runs."""
    rows = [list(vars(fates).values()) for fates in each]
    return FrameFates(*(sum(column) for column in zip(*rows, strict=True)))


def stage_times_ms(run: Replayed) -> list[dict[str, float]]:
    """Milliseconds of each stage of each frame that was timed all the way, as they were sent.

    The stages of a frame add up to its latency.
    """
    rows = []
    timed = run.sent.keys() & run.labels.keys() & run.timings.keys()
    for stamp in sorted(timed, key=lambda stamp: run.sent[stamp]):
        told = run.timings[stamp]
        sent, arrived, taken, decoded, segmented, filled, came = (
            run.sent[stamp],
            *(told["marks_ns"][mark] for mark in MARKS),
            run.labels[stamp],
        )
        inside = {_STAGE_OF.get(name, name): ms for name, ms in told["stages_ms"].items()}
        row = {
            "transport_in": (arrived - sent) / 1e6,
            "waiting": (taken - arrived) / 1e6,
            "decode": (decoded - taken) / 1e6,
            **inside,
            "other": (segmented - decoded) / 1e6 - sum(inside.values()),
            "message_fill": (filled - segmented) / 1e6,
            "transport_out": (came - filled) / 1e6,
        }
        rows.append(row)
    return rows


def stage_summary(runs: Sequence[Replayed]) -> dict[str, dict[str, float]]:
    """Mean, p50 and p99 in ms of each stage over the timed frames of all runs; {} without any."""
    rows = [row for run in runs for row in stage_times_ms(run)]
    names = list(dict.fromkeys(name for row in rows for name in row))
    names.sort(key=lambda name: STAGES.index(name) if name in STAGES else STAGES.index("other"))
    result = {}
    for name in names:
        values = [row.get(name, 0.0) for row in rows]
        p50, p99 = np.percentile(values, (50, 99))
        result[name] = {
            "mean_ms": float(np.mean(values)),
            "p50_ms": float(p50),
            "p99_ms": float(p99),
        }
    return result
