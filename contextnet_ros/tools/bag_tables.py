"""Tables for documents out of results of contextnet-bag-benchmark, `make bench-node` and `make
soak`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def bag_rows(report: dict[str, Any]) -> str:
    """A row for each rate that a bag benchmark measured, and its score below."""
    lines = [
        "| rate | labels/s | lowest | p50 | p90 | p99 | missed | CPU |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for m in report["measurements"]:
        delay = m["latency"]
        times = [_figure(delay.get(f"{p}_ms"), "ms") for p in ("p50", "p90", "p99")]
        cells = [
            m["name"],
            _figure(m["fps"]),
            _figure(m["min_fps"]),
            *times,
            _figure(m["missed_percent"], "%"),
            _figure(m["use"]["node_cpu_percent"], "%", 0),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    score = report["score"]
    if score is not None:
        told = [f"mIoU {_figure(score['miou_percent'], '%')} in {score['classes']} classes"]
        if "category_miou_percent" in score:
            told.append(f"category mIoU {_figure(score['category_miou_percent'], '%')}")
        frames = f"{score['frames']} of {score['frames_with_truth']} frames"
        lines += ["", f"{', '.join(told)}, over the published labels of {frames}."]
    return "\n".join(lines)


def check_rows(results: Sequence[dict[str, Any]]) -> str:
    """A row for each thing that benchmarks set out to reach."""
    lines = ["| | measured | aim | |", "|---|---|---|---|"]
    for check in (check for result in results for check in result["checks"]):
        unit, reached = check["unit"], check["reached"]
        verdict = "" if reached is None else "reached" if reached else "missed"
        aim = f"{check['sign'].replace('<=', 'at most').replace('>=', 'at least')} {check['aim']:g}"
        seen = _figure(check["measured"], unit, 2)
        lines.append(f"| {check['what']} | {seen} | {f'{aim} {unit}'.strip()} | {verdict} |")
    return "\n".join(lines)


def _figure(value: float | None, unit: str = "", digits: int = 1) -> str:
    return "not measured" if value is None else f"{value:.{digits}f} {unit}".rstrip()
