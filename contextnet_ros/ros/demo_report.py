"""What the demo tells of its run: the JSON of all that was measured, and one table of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contextnet_ros.network import WeightHeader
from contextnet_ros.provenance import provenance
from contextnet_ros.ros.frame_fates import latency
from contextnet_ros.ros.replay import Replayed


@dataclass(frozen=True)
class Demo:
    """Files of one run, and what its weights say of themselves."""

    out: Path
    model: str
    header: WeightHeader

    @property
    def input_bag(self) -> Path:
        return self.out / "input_bag"

    @property
    def output_bag(self) -> Path:
        return self.out / "output_bag"

    @property
    def truth(self) -> Path:
        return self.out / "truth"

    @property
    def picture(self) -> Path:
        return self.out / "demo.png"

    @property
    def report(self) -> Path:
        return self.out / "demo.json"


@dataclass(frozen=True)
class Pace:
    """The rate asked for, and the round trips in ms of single frames that it was chosen by."""

    hz: float
    round_trips_ms: list[float]


def build_report(
    demo: Demo, made: dict[str, Any], pace: Pace, replayed: Replayed, score: dict[str, Any] | None
) -> dict[str, Any]:
    """All that was measured, as JSON holds it; `made` is what `make_bag` returned."""
    reasons = list(replayed.not_sent.values())
    return {
        "input": made,
        "model": {
            "name": demo.model,
            "variant": demo.header.variant,
            "classes": demo.header.table.name,
            "network_size": str(demo.header.network_size),
            "data_licence": demo.header.data_licence,
        },
        "frames": replayed.fates.to_dict(),
        "not_sent_reasons": {reason: reasons.count(reason) for reason in sorted(set(reasons))},
        "faults": replayed.faults,
        "asked_hz": pace.hz,
        "sent_hz": replayed.sent_hz,
        "probe_round_trips_ms": pace.round_trips_ms,
        "latency": latency(replayed.sent, replayed.labels),
        "score": score,
        "node_status": replayed.status,
        "provenance": provenance(replayed.status.get("device", "cpu")),
    }


def build_table(demo: Demo, report: dict[str, Any], replayed: Replayed) -> str:
    """The report as the text that a user reads."""
    made, delays, score = report["input"], report["latency"], report["score"]
    rows = [("input", f"{made['source']}, {', '.join(made['sizes'])}")]
    header = demo.header
    rows.append(("model", f"{demo.model} ({header.variant}), {header.table.name} classes"))
    rows.append(("", f"licence of its data: {header.data_licence}"))
    rows += [("frames" if i == 0 else "", s) for i, (s, _) in enumerate(replayed.fates.sums())]
    rows += [("", f"not sent: {n}, {why}") for why, n in report["not_sent_reasons"].items()]
    rows.append(("rate", f"{report['sent_hz']:.2f} Hz sent, {report['asked_hz']:.2f} Hz asked"))
    if delays:
        spread = f"p50 {delays['p50_ms']:.0f} ms, p99 {delays['p99_ms']:.0f} ms"
        rows.append(("latency", f"{spread}, from sending a frame to its label's arrival"))
    if score is None:
        rows.append(("mIoU", "no truth for this input"))
    else:
        of = f"over {score['frames']} published labels, in {_classes(score)}"
        rows.append(("mIoU", f"{_percent(score['miou_percent'])} % {of}"))
        classes = [f"{name:<12}{_percent(v):>5}" for name, v in score["iou_percent"].items()]
        rows += [("", "   ".join(classes[i : i + 4])) for i in range(0, len(classes), 4)]
    width = max(len(text) for _, text in rows)
    rule = "-" * (12 + width)
    return "\n".join([rule, *(f" {name:<9} {text}" for name, text in rows), rule])


def _classes(score: dict[str, Any]) -> str:
    return f"{len(score['iou_percent'])} {score['classes']} classes"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def one_line(demo: Demo, report: dict[str, Any]) -> str:
    """The figures that go under the picture."""
    delays, score = report["latency"], report["score"]
    size = report["input"]["sizes"][0].replace("x", " x ")
    # A single frame has no rate.
    rate_hz = report["sent_hz"] or report["asked_hz"]
    parts = [
        f"model {Path(demo.model).stem} ({demo.header.variant})",
        f"{size} at {rate_hz:.1f} Hz",
        f"latency p50 {delays['p50_ms']:.0f} ms, p99 {delays['p99_ms']:.0f} ms",
    ]
    if score is not None and score["miou_percent"] is not None:
        parts.append(f"mIoU {score['miou_percent']:.1f} % in {_classes(score)}")
    return "  |  ".join(parts)
