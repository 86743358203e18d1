"""What a bag benchmark tells: one JSON object of all that was measured, and a table of it."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from contextnet_ros.network import WeightHeader
from contextnet_ros.provenance import provenance
from contextnet_ros.ros.bag_benchmark_asserts import Assertion
from contextnet_ros.ros.bag_benchmark_input import BagInput
from contextnet_ros.ros.bag_benchmark_metrics import (
    DIFFERENCES,
    concluded,
    own_metrics,
    run_metrics,
    stage_summary,
    total_fates,
)
from contextnet_ros.ros.bag_benchmark_run import Measured, Measurement, Plan
from contextnet_ros.tools.bench_report import PAPER_FPS

NAME = "contextnet-bag-benchmark"

PAPER_CITYSCAPES = {
    "miou_percent": 65.9,
    "fps": PAPER_FPS[1024, 2048][0],
    "source": "ContextNet (cn14), Table 4: Cityscapes val, 1024 x 2048, Titan X (Maxwell)",
}
"""What the paper reports where truth and network have Cityscapes' classes."""

_MIB = 1 << 20


@dataclass(frozen=True)
class Subject:
    """What was benchmarked: the network, the bag, and the machine's name and use when idle."""

    model: str
    header: WeightHeader
    bag: BagInput
    host: str
    idle: dict[str, Any]


def build_report(
    subject: Subject,
    plan: Plan,
    options: dict[str, Any],
    measured: Measured,
    score: dict[str, Any] | None,
    assertions: Sequence[Assertion] = (),
) -> dict[str, Any]:
    """All that was measured, as JSON holds it; `options` are those of the command line."""
    measurements = [_measurement(m) for m in measured.measurements]
    status = measured.main.runs[-1].status
    made = provenance(status.get("device", "cpu"))
    if score is not None and score["classes"] == "cityscapes":
        score = {**score, "paper": PAPER_CITYSCAPES}
    report: dict[str, Any] = {
        "name": NAME,
        "metadata": _metadata(subject, plan, options, measured, made),
        "input": asdict(subject.bag),
        "model": {
            "name": subject.model,
            "variant": subject.header.variant,
            "classes": subject.header.table.name,
            "network_size": status.get("network_size", str(subject.header.network_size)),
            "data_licence": subject.header.data_licence,
        },
        "peak_hz": measured.peak_hz,
        "search": [asdict(probe) for probe in measured.probes],
        "round_trips_ms": measured.round_trips_ms,
        "measurements": measurements,
        "frames": total_fates(run.fates for m in measured.measurements for run in m.runs).to_dict(),
        "score": score,
        "differences_from_ros2_benchmark": list(DIFFERENCES),
        "faults": [
            *measured.search_faults,
            *(fault for m in measurements for fault in m["faults"]),
        ],
        "node_status": status,
        "provenance": made,
    }
    report["assertions"] = [
        {"text": a.text, "failed": a.check(_values(report, a.rate))} for a in assertions
    ]
    return report


def _metadata(
    subject: Subject,
    plan: Plan,
    options: dict[str, Any],
    measured: Measured,
    made: dict[str, Any],
) -> dict[str, Any]:
    bag = subject.bag
    return {
        "NAME": NAME,
        "TEST_DATETIME": made["date"],
        "DEVICE_ARCH": platform.machine(),
        "DEVICE_OS": platform.platform(),
        "DEVICE_HOSTNAME": subject.host,
        "BENCHMARK_MODE": "LOOPING" if measured.peak_hz is not None else "TIMELINE",
        "INPUT_DATA_PATH": bag.path,
        "INPUT_DATA_HASH": bag.sha256,
        "INPUT_DATA_SIZE": bag.bytes,
        "INPUT_DATA_START_TIME": bag.start_s,
        "INPUT_DATA_END_TIME": bag.end_s,
        "DATA_RESOLUTION": f"{bag.width}x{bag.height}",
        "IDLE_CPU_UTIL": subject.idle["MEAN_OVERALL_CPU_UTILIZATION"],
        "IDLE_GPU_UTIL": subject.idle["MEAN_DEVICE_UTILIZATION"],
        "PEAK_THROUGHPUT_PREDICTION": measured.peak_hz,
        "CONFIG": {**asdict(plan), **options},
    }


def _measurement(measurement: Measurement) -> dict[str, Any]:
    runs = measurement.runs
    reasons = Counter(reason for run in runs for reason in run.not_sent.values())
    return {
        "name": measurement.name,
        "kind": measurement.kind,
        "asked_hz": measurement.asked_hz,
        "runs": len(runs),
        "metrics": concluded([run_metrics(run.sent, run.labels) for run in runs]),
        **own_metrics(runs),
        "frames": total_fates(run.fates for run in runs).to_dict(),
        "not_sent_reasons": dict(reasons),
        "stages": stage_summary(runs),
        "use": measurement.use,
        "faults": [f"{measurement.name}: {fault}" for run in runs for fault in run.faults],
    }


def _values(report: dict[str, Any], rate: float | None) -> dict[str, float | None]:
    """What assertions are about, in their units; of one fixed rate where `rate` is given."""
    found = report["measurements"][:1]
    if rate is not None:
        found = [m for m in report["measurements"] if m["asked_hz"] == rate]
    score = report["score"] or {}
    values = {
        "peak_hz": report["peak_hz"],
        "miou": score.get("miou_percent"),
        "category_miou": score.get("category_miou_percent"),
    }
    for m in found:
        memory = m["use"]["node_memory_max_bytes"]
        values |= {
            **{name: m["latency"].get(name) for name in ("p50_ms", "p90_ms", "p99_ms")},
            **{name: m["latency"].get(name) for name in ("mean_ms", "max_ms")},
            "fps": m["fps"],
            "min_fps": m["min_fps"],
            "missed": m["missed_percent"],
            "cpu": m["use"]["node_cpu_percent"],
            "memory": None if memory is None else memory / _MIB,
        }
    return values


def build_table(report: dict[str, Any]) -> str:
    """The report as the text that a user reads."""
    bag, model = report["input"], report["model"]
    lines = [
        f"bag     {bag['path']}: {bag['frames']} frames of {bag['height']} x {bag['width']} on "
        f"{bag['topic']} ({bag['encoding']}, {bag['storage']})",
        f"model   {model['name']} ({model['variant']}, {model['classes']} classes), network size "
        f"{model['network_size']}",
        f"on      {report['provenance']['device']}, {report['provenance']['cpus']} CPUs",
        "",
        f"{'':<20}{'sent/s':>8}{'labels/s':>10}{'min':>7}{'p50 ms':>9}{'p90 ms':>9}{'p99 ms':>9}"
        f"{'missed':>9}{'CPU':>8}{'MiB':>7}",
    ]
    lines += [_row(m) for m in report["measurements"]]
    lines += ["", *_stage_lines(report["measurements"][0])]
    lines += [f"frames  {text}" for text in frame_sums(report["frames"])]
    lines += [f"        not sent: {n}, {why}" for why, n in _reasons(report).items()]
    lines += _score_lines(report["score"])
    for assertion in report["assertions"]:
        failed = assertion["failed"]
        lines.append(
            f"assert  {failed} (fails)" if failed else f"assert  {assertion['text']}: holds"
        )
    return "\n".join(lines)


def _row(m: dict[str, Any]) -> str:
    delay, use = m["latency"], m["use"]
    memory = use["node_memory_max_bytes"]
    return (
        f"{m['name']:<20}{_number(m['metrics']['MEAN_PLAYBACK_FRAME_RATE'], 8, 2)}"
        f"{_number(m['fps'], 10, 2)}{_number(m['min_fps'], 7, 2)}"
        f"{_number(delay.get('p50_ms'), 9, 1)}{_number(delay.get('p90_ms'), 9, 1)}"
        f"{_number(delay.get('p99_ms'), 9, 1)}{_number(m['missed_percent'], 7, 2)} %"
        f"{_number(use['node_cpu_percent'], 6, 0)} %"
        f"{_number(None if memory is None else memory / _MIB, 7, 0)}"
    )


def _number(value: float | None, width: int, digits: int) -> str:
    return f"{'-' if value is None else format(value, f'.{digits}f'):>{width}}"


def _stage_lines(m: dict[str, Any]) -> list[str]:
    if not m["stages"]:
        return ["stages  not measured: the node told of no frame's times"]
    stages = [f"{name} {value['mean_ms']:.1f}" for name, value in m["stages"].items()]
    return [f"stages  of {m['name']}, mean ms: {', '.join(stages)}"]


def frame_sums(frames: dict[str, int]) -> list[str]:
    """The sums of the accounting with their numbers, a line each."""
    f = frames
    return [
        f"in_bag {f['in_bag']} = sent {f['sent']} + not_sent {f['not_sent']}",
        f"sent {f['sent']} = received {f['received']} + not_taken {f['not_taken']}",
        f"received {f['received']} = superseded {f['superseded']} + bad {f['bad']} + published "
        f"{f['published']} + pending {f['pending']}",
        f"published {f['published']} = monitored {f['monitored']} + lost_out {f['lost_out']}",
    ]


def _reasons(report: dict[str, Any]) -> Counter[str]:
    total: Counter[str] = Counter()
    for m in report["measurements"]:
        total.update(m["not_sent_reasons"])
    return total


def _score_lines(score: dict[str, Any] | None) -> list[str]:
    if score is None:
        return []
    miou, category = score["miou_percent"], score.get("category_miou_percent")
    # A play of fewer than two labels has no rate.
    fps = score["fps"]
    rate = "labels/s not measured" if fps is None else f"at {fps:.1f} labels/s"
    lines = [
        f"score   mIoU {'-' if miou is None else f'{miou:.1f} %'} in {len(score['iou_percent'])} "
        f"{score['classes']} classes, over {score['frames']} published labels of "
        f"{score['frames_with_truth']} frames with truth, {rate}"
    ]
    if category is not None:
        lines.append(f"        category mIoU {category:.1f} %")
    if "paper" in score:
        paper = score["paper"]
        figures = f"{paper['miou_percent']} % at {paper['fps']} fps"
        lines.append(f"        the paper: {figures} ({paper['source']})")
    return lines
