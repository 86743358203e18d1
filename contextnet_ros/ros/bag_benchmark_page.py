"""A bag benchmark as one HTML page, which needs no network: tiles, charts, tables, the JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import Any

from contextnet_ros.ros.bag_benchmark_charts import (
    Dot,
    Mark,
    histogram,
    search_chart,
    stacked,
    timeline,
)
from contextnet_ros.ros.bag_benchmark_metrics import latencies_ms
from contextnet_ros.ros.bag_benchmark_report import frame_sums
from contextnet_ros.ros.bag_benchmark_run import Measured
from contextnet_ros.ros.bag_benchmark_style import STYLE
from contextnet_ros.ros.replay import Replayed

_BUDGETS_HZ = (10, 15, 30, 60)
_FATES = ("monitored", "lost_out", "pending", "bad", "superseded", "not_taken", "not_sent")
_FATE_TEXTS = {
    "monitored": "label received",
    "lost_out": "label published, lost on its way",
    "pending": "still in the node",
    "bad": "bad: could not be segmented",
    "superseded": "superseded by a newer frame",
    "not_taken": "sent, never reached the node",
    "not_sent": "not sent: its turn was over",
}


def build_page(report: dict[str, Any], measured: Measured) -> str:
    """The page as text."""
    main = report["measurements"][0]
    sections = [
        _header(report),
        _tiles(report, main),
        _section("Rates", _rates_table(report["measurements"]), _RATES_NOTE),
    ]
    runs = measured.main.runs
    times_ms = [ms for run in runs for ms in latencies_ms(run.sent, run.labels)]
    if times_ms:
        marks = [
            Mark(main["latency"][f"{p}_ms"], f"{p} {main['latency'][f'{p}_ms']:.1f} ms")
            for p in ("p50", "p90", "p99")
        ]
        about = f"{len(times_ms)} frames of “{main['name']}”, from sending to the label's arrival."
        sections.append(_section("Latency", histogram(times_ms, marks), about))
    sections.append(_section("Timeline", timeline([_dots(run) for run in runs]), _TIMELINE_NOTE))
    sections.append(_budget(main))
    sections.append(_frames(main))
    if report["search"]:
        chart = search_chart(report["search"], report["peak_hz"])
        sections.append(_section("Search for the peak", chart, _SEARCH_NOTE))
    if report["score"] is not None:
        sections.append(_score(report["score"]))
    sections.append(_footer(report))
    title = escape(f"Bag benchmark: {report['model']['name']} on {report['input']['path']}")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head>\n<body><main>\n"
        + "\n".join(sections)
        + "\n</main></body></html>\n"
    )


_RATES_NOTE = (
    "Rates are (n - 1) / duration; min is 1 / the longest gap between two labels. Missed: sent, "
    "and no label came back. CPU is of one processor, by the node alone."
)
_TIMELINE_NOTE = "A dot is a frame with a label; a red tick is a frame that none came back for."
_SEARCH_NOTE = (
    "Each rate that was tried. On the diagonal every frame is answered; filled dots were held: "
    "labels come within 10 Hz of what is played (5 Hz in the last steps; less on a slow machine), "
    "and at most 5 % are missed."
)


def _section(title: str, body: str, note: str = "") -> str:
    told = f"<p class=note>{escape(note)}</p>" if note else ""
    return f"<section><h2>{escape(title)}</h2>{told}{body}</section>"


def _header(report: dict[str, Any]) -> str:
    bag, model, made = report["input"], report["model"], report["provenance"]
    size = f"{bag['height']} x {bag['width']}"
    broken = "".join(f"<p class=fault>{escape(fault)}</p>" for fault in report["faults"])
    return (
        "<header><h1>Bag benchmark</h1>"
        f"<p><b>{escape(model['name'])}</b> ({escape(model['variant'])}, "
        f"{escape(model['classes'])} classes, network size {escape(str(model['network_size']))}) "
        f"on <b>{escape(bag['path'])}</b>: {bag['frames']} frames of {size} on "
        f"<code>{escape(bag['topic'])}</code> ({escape(bag['encoding'])})</p>"
        f"<p class=note>{escape(made['device'])}, {made['cpus']} CPUs · "
        f"{escape(made['date'][:10])} · over DDS between processes</p>{broken}</header>"
    )


def _tiles(report: dict[str, Any], main: dict[str, Any]) -> str:
    delay = main["latency"]
    tiles = []
    if report["peak_hz"] is not None:
        tiles.append(("peak rate held", f"{report['peak_hz']:.1f}", "Hz"))
    tiles += [
        ("labels", _text(main["fps"], 1), "per second"),
        ("latency p50", _text(delay.get("p50_ms"), 1), "ms"),
        ("latency p99", _text(delay.get("p99_ms"), 1), "ms"),
        ("missed", _text(main["missed_percent"], 2), "% of the frames sent"),
    ]
    score = report["score"]
    if score is not None:
        tiles.append(("mIoU", _text(score["miou_percent"], 1), f"% in {score['classes']} classes"))
    for a in report["assertions"]:
        seen = (a["failed"] or "").removeprefix(f"{a['text']}: ")
        tiles.append((a["text"], "fails" if a["failed"] else "holds", seen or "asserted"))
    return (
        "<div class=tiles>"
        + "".join(
            f"<div class='tile {'bad' if value == 'fails' else ''}'><span>{escape(name)}</span>"
            f"<strong>{escape(value)}</strong><small>{escape(unit)}</small></div>"
            for name, value, unit in tiles
        )
        + "</div>"
    )


def _text(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _rates_table(measurements: Sequence[dict[str, Any]]) -> str:
    names = ("", "sent/s", "labels/s", "min", "p50", "p90", "p99", "missed", "CPU", "memory", "GPU")
    rows = []
    for m in measurements:
        delay, use = m["latency"], m["use"]
        memory, gpu = use["node_memory_max_bytes"], use["MEAN_DEVICE_UTILIZATION"]
        cells = [
            _text(m["metrics"]["MEAN_PLAYBACK_FRAME_RATE"], 2),
            _text(m["fps"], 2),
            _text(m["min_fps"], 2),
            *(f"{_text(delay.get(f'{p}_ms'), 1)} ms" for p in ("p50", "p90", "p99")),
            f"{_text(m['missed_percent'], 2)} %",
            f"{_text(use['node_cpu_percent'], 0)} %",
            "-" if memory is None else f"{memory / (1 << 20):.0f} MiB",
            "not measured" if gpu is None else f"{gpu:.0f} %",
        ]
        rows.append((m["name"], cells))
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join(
        f"<tr><th>{escape(name)}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        for name, cells in rows
    )
    return f"<table class=rates><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _dots(run: Replayed) -> list[Dot]:
    if not run.sent:
        return []
    start = min(run.sent.values())
    dots = []
    for stamp, sent_ns in sorted(run.sent.items(), key=lambda item: item[1]):
        label_ns = run.labels.get(stamp)
        delay_ms = None if label_ns is None else (label_ns - sent_ns) / 1e6
        told = "no label" if delay_ms is None else f"{delay_ms:.1f} ms"
        at_s = (sent_ns - start) / 1e9
        dots.append(Dot(at_s, delay_ms, f"stamp {stamp}, sent at {at_s:.2f} s: {told}"))
    return dots


def _budget(main: dict[str, Any]) -> str:
    if not main["stages"]:
        return _section("Frame budget", "<p>Not measured: the node told of no frame's times.</p>")
    means = {name: stage["mean_ms"] for name, stage in main["stages"].items()}
    total = sum(means.values())
    marks = [Mark(1e3 / hz, f"{hz} Hz") for hz in _BUDGETS_HZ if total / 20 < 1e3 / hz < 3 * total]
    rows = "".join(
        f"<tr><th><i class='key p{index % 9}'></i>{escape(name.replace('_', ' '))}</th>"
        f"<td>{stage['mean_ms']:.2f} ms</td><td>{stage['p50_ms']:.2f} ms</td>"
        f"<td>{stage['p99_ms']:.2f} ms</td><td>{100 * stage['mean_ms'] / total:.1f} %</td></tr>"
        for index, (name, stage) in enumerate(main["stages"].items())
    )
    table = (
        "<table><thead><tr><th>stage</th><th>mean</th><th>p50</th><th>p99</th><th>share</th></tr>"
        f"</thead><tbody>{rows}</tbody></table>"
    )
    note = (
        f"Mean of each stage of “{main['name']}”; they add up to the mean latency of the frames "
        "with a label. The lines are what a frame may take at a rate, one frame after another."
    )
    return _section("Frame budget", stacked(means, marks, "ms", "ms of a frame") + table, note)


def _frames(main: dict[str, Any]) -> str:
    counts = {name: float(main["frames"][name]) for name in _FATES}
    legend = "".join(
        f"<li><i class='key p{index % 9}'></i>{escape(_FATE_TEXTS[name])}: {value:.0f}</li>"
        for index, (name, value) in enumerate(counts.items())
    )
    sums = "<br>".join(escape(text) for text in frame_sums(main["frames"]))
    named = {_FATE_TEXTS[name]: value for name, value in counts.items()}
    body = stacked(named, [], "frames", "frames") + f"<ul class=legend>{legend}</ul>"
    note = f"Of “{main['name']}”. Player, node and monitor each counted their own part."
    return _section("Where every frame went", f"{body}<p><code>{sums}</code></p>", note)


def _score(score: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{'-' if value is None else f'{value:.1f} %'}</td>"
        f"<td class=wide><div class=iou style='width:{value or 0:.1f}%'></div></td></tr>"
        for name, value in score["iou_percent"].items()
    )
    told = f"mIoU {_text(score['miou_percent'], 1)} %"
    if "category_miou_percent" in score:
        told += f", category mIoU {_text(score['category_miou_percent'], 1)} %"
    note = (
        f"{told}, over {score['frames']} labels as the node published them, of "
        f"{score['frames_with_truth']} frames with truth; IoU of each class."
    )
    if "paper" in score:
        paper = score["paper"]
        note += f" The paper: {paper['miou_percent']} % at {paper['fps']} fps ({paper['source']})."
    return _section("Quality", f"<table>{rows}</table>", note)


def _footer(report: dict[str, Any]) -> str:
    differences = "".join(
        f"<li>{escape(text)}</li>" for text in report["differences_from_ros2_benchmark"]
    )
    metrics = "".join(
        f"<tr><th>{escape(name)}</th><td>{'-' if value is None else f'{value:.3f}'}</td></tr>"
        for name, value in report["measurements"][0]["metrics"].items()
    )
    versions = ", ".join(f"{k} {v}" for k, v in report["provenance"]["versions"].items() if v)
    return (
        "<section><h2>Definitions</h2><details><summary>ros2_benchmark's metrics of "
        f"“{escape(report['measurements'][0]['name'])}” (Hz and ms)</summary>"
        f"<table>{metrics}</table></details>"
        "<details><summary>Where this differs from NVIDIA's ros2_benchmark</summary>"
        f"<ul>{differences}</ul></details>"
        "<details><summary>All that was measured, as JSON</summary>"
        f"<pre>{escape(json.dumps(report, indent=1))}</pre></details>"
        f"<p class=note>{escape(versions)}; commit {escape(str(report['provenance']['commit']))}; "
        f"bag SHA-256 {escape(report['input']['sha256'])}</p></section>"
    )
