"""Rows out of times; tables, the paper's figures beside ours and a plot out of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from contextnet_ros.tools.bench_coarse import COARSE
from contextnet_ros.tools.bench_pipelines import Setting

Row = dict[str, Any]

PAPER_FPS = {(1024, 2048): (18.3, 41.9), (512, 1024): (65.5, 136.2), (256, 512): (139.2, 299.5)}
"""Table 7, ContextNet: frames per second on a Titan X (Maxwell) with transfers in sequence, and
with kernels alone, which is what parallel transfers reach."""

# BGR, one for each stage in the order they run.
STAGE_COLOURS = (
    (196, 160, 90), (90, 140, 60), (70, 110, 220), (160, 90, 160), (60, 180, 200), (120, 120, 120),
)  # fmt: skip


def make_row(
    setting: Setting,
    of_network: dict[str, Any],
    mode: str,
    info: dict[str, Any],
    measured: dict[str, Any],
) -> Row:
    """Return the row of what a pipeline took in one mode.

    `of_network`: `network`, `multiply_adds` and `moved_bytes`. `measured`: `frame_ms`, `stage_ms`,
    and the peaks of memory.
    """
    times = np.asarray(measured["frame_ms"])
    return {
        **of_network,
        "model": setting.model,
        "backend": setting.backend,
        "runs": info["runs"],
        "mode": mode,
        "precision": info["precision"],
        "asked_precision": setting.precision,
        "outputs": list(setting.outputs),
        "height": setting.height,
        "width": setting.width,
        "frames": len(times),
        "fps": 1e3 / float(times.mean()),
        "p50_ms": float(np.median(times)),
        "p99_ms": float(np.percentile(times, 99)),
        "stage_ms": {k: float(np.median(v)) for k, v in measured["stage_ms"].items()} or None,
        "peak_device_bytes": measured["peak_device_bytes"],
        "peak_host_bytes": measured["peak_host_bytes"],
        # Coarse logits give no label.
        "label_agreement": None if mode == COARSE else info["label_agreement"],
        **({} if setting.input is None else {"input": setting.input}),
    }


def add_ratios(rows: Sequence[Row]) -> None:
    """Note in every row how many times our time its median is, in the same mode on the same
    frames, asked for the same precision, in pageable memory as the peers' where ours was measured
    so; None where ours was not measured."""
    ours: dict[tuple[Any, ...], float] = {}
    for row in rows:
        if row["backend"] == "ours" and (row.get("input") != "pinned" or _group(row) not in ours):
            ours[_group(row)] = row["p50_ms"]
    for row in rows:
        base = ours.get(_group(row))
        row["ratio_to_ours"] = None if base is None else row["p50_ms"] / base


def _group(row: Row) -> tuple[Any, ...]:
    # What was asked for: with "auto" a backend chooses, and is compared for what it chose.
    return row["model"], row["mode"], row["asked_precision"], row["height"], row["width"]


def table(rows: Sequence[Row]) -> str:
    """Return the rows in Markdown, which a person reads as well."""
    on_gpu = any("input" in row for row in rows)
    lines = [
        "| network | size | mode | backend | runs | precision | fps | p50 ms | p99 ms | x ours "
        "| stages, ms | host MB | device MB | labels |" + (" overlap |" if on_gpu else ""),
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|" + ("---|" if on_gpu else ""),
    ]
    # Two weight files of one network are told apart by their names.
    models = {(row["network"], row["model"]) for row in rows}
    name = "network" if len({network for network, _ in models}) == len(models) else "model"
    for row in rows:
        ratio, agreement = row["ratio_to_ours"], row["label_agreement"]
        stages = row["stage_ms"] or {}
        notes = [] if row["outputs"] == ["label"] else list(row["outputs"])
        digits = _digits(row)
        if "input" in row:
            notes.insert(0, f"{row['input']} frames")
        cells = [
            row[name],
            f"{row['height']}x{row['width']}",
            row["mode"],
            row["backend"] + (f" ({', '.join(notes)})" if notes else ""),
            row["runs"],
            row["precision"],
            f"{row['fps']:.2f}",
            f"{row['p50_ms']:.{digits}f}",
            f"{row['p99_ms']:.{digits}f}",
            "-" if ratio is None else f"{ratio:.2f}",
            ", ".join(f"{name} {value:.{digits}f}" for name, value in stages.items()) or "-",
            _megabytes(row["peak_host_bytes"]),
            _megabytes(row["peak_device_bytes"]),
            "-" if agreement is None else f"{100 * agreement:.3f} %",
        ]
        if on_gpu:
            overlap = row.get("overlap")
            cells.append("-" if overlap is None else f"{overlap:.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _digits(row: Row) -> int:
    # A GPU's stages take parts of a millisecond.
    return 3 if "input" in row else 1


def _megabytes(number: int | None) -> str:
    return "-" if number is None else f"{number / 1e6:.0f}"


def paper_table(results: Sequence[dict[str, Any]]) -> str:
    """Return Table 7's ContextNet rows beside cn14's of results, in Markdown; of several for one
    cell the first."""
    lines = [
        "| size | mode | paper, Titan X (Maxwell) | here, GPU | here, CPU |",
        "|---|---|---|---|---|",
    ]
    for (height, width), figures in PAPER_FPS.items():
        for mode, paper in zip(("sequential", "pipelined"), figures, strict=True):
            wanted = ("ours", "cn14", mode, height, width, ["label"])
            here = {"cuda": "not measured", "cpu": "not measured"}
            for result in reversed(results):
                for row in reversed(result["rows"]):
                    keys = ("backend", "network", "mode", "height", "width", "outputs")
                    if tuple(row[key] for key in keys) == wanted:
                        here[result["device_type"]] = f"{row['fps']:.1f} fps"
            cells = f"{height}x{width}", mode, f"{paper} fps", here["cuda"], here["cpu"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def peers_table(results: Mapping[str, dict[str, Any]]) -> str:
    """Return, for each named result, what a frame takes ours in mode sequential and how many times
    that the peers, in Markdown; of rows in several sizes the first."""
    found: dict[str, dict[str, Row]] = {}
    for name, result in results.items():
        rows = [row for row in result["rows"] if row["mode"] == "sequential"]
        size = (rows[0]["height"], rows[0]["width"])
        found[name] = {row["backend"]: row for row in rows if (row["height"], row["width"]) == size}
    peers = [p for p in dict.fromkeys(p for rows in found.values() for p in rows) if p != "ours"]
    heads = ["measured", "size", "ours", *(f"{peer} / ours" for peer in peers), "labels"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, of in found.items():
        ours = of["ours"]
        cells = [
            f"`{name}`",
            f"{ours['height']}x{ours['width']}",
            f"{ours['p50_ms']:.{_digits(ours)}f} ms, {ours['precision']}",
            *(f"{of[peer]['ratio_to_ours']:.2f}" if peer in of else "-" for peer in peers),
            f"{100 * ours['label_agreement']:.2f} %",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def roofline(result: dict[str, Any]) -> str:
    """Return in Markdown how the network's time, by the rows of mode stages, stands to what the
    machine can do at most; an empty text where there is no such row, or no ceiling."""
    most = result["ceilings"]
    if most is None:
        return ""
    # On a GPU peers have no stage of the network alone, and the ceilings are of half precision.
    precision = "float16" if result["device_type"] == "cuda" else "float32"
    products = {precision: most["multiply_adds_per_s"]}
    if "bfloat16_multiply_adds_per_s" in most:
        products["bfloat16"] = most["bfloat16_multiply_adds_per_s"]
    staged = [row for row in result["rows"] if row["mode"] == "stages"]
    rows = [row for row in staged if "network" in row["stage_ms"] and row["precision"] in products]
    if not rows:
        return ""
    of_products = (
        f"{rate / 1e9:.0f} GMAC/s (a {name} matrix product)" for name, rate in products.items()
    )
    lines = [
        f"Measured ceilings: {', '.join(of_products)}, "
        f"{most['copied_bytes_per_s'] / 1e9:.1f} GB/s read and written (a copy).",
        "",
        "| backend | size | precision | network, ms | at the ceilings, ms | limit | share "
        "| pre- and postprocessing, of the network |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        digits = _digits(row)
        took = row["stage_ms"]["network"]
        least = {"multiply-adds": 1e3 * row["multiply_adds"] / products[row["precision"]]}
        amounts = {"multiply-adds": f"{row['multiply_adds'] / 1e9:.2f} GMAC"}
        # Records of before don't have them.
        if "moved_bytes" in row:
            moved = row["moved_bytes"] / (1 if row["precision"] == "float32" else 2)
            least["bytes"] = 1e3 * moved / most["copied_bytes_per_s"]
            amounts["bytes"] = f"{moved / 1e9:.2f} GB"
        limit = max(least, key=least.__getitem__)
        stages = row["stage_ms"]
        around = stages.get("kernels", sum(stages.values())) - took
        both = (f"{name} {ms:.{digits}f} ({amounts[name]})" for name, ms in least.items())
        lines.append(
            f"| {row['backend']} | {row['height']}x{row['width']} | {row['precision']} "
            f"| {took:.{digits}f} "
            f"| {', '.join(both)} | {limit} | {100 * least[limit] / took:.0f} % "
            f"| {100 * around / took:.1f} % |"
        )
    return "\n".join(lines)


def plot(rows: Sequence[Row]) -> npt.NDArray[np.uint8]:
    """Return a picture, BGR, with a bar of milliseconds for each row, its stages apart where they
    were measured."""
    bar, left, length, right = 26, 430, 560, 220
    longest = max(row["p50_ms"] for row in rows)
    height, width = 50 + (bar + 8) * len(rows) + 34, left + length + right
    picture = np.full((height, width, 3), 255, np.uint8)
    _write(picture, "milliseconds a frame, median (less is better)", (14, 28))
    names = list(dict.fromkeys(name for row in rows for name in _bars(row)))
    for index, row in enumerate(rows):
        top = 50 + index * (bar + 8)
        title = f"{row['backend']} {row['height']}x{row['width']} {row['mode']}"
        if row["backend"] == "ours" and "input" in row:
            title += f", {row['input']}"
        _write(picture, title, (14, top + bar - 8))
        stages = _bars(row) or {"network": row["p50_ms"]}
        end = 0.0
        for name, value in stages.items():
            start, end = end, end + value
            colour = STAGE_COLOURS[names.index(name) if name in names else 1]
            corners = [(left + round(length * at / longest)) for at in (start, end)]
            cv2.rectangle(picture, (corners[0], top), (corners[1], top + bar), colour, cv2.FILLED)
        ratio = row["ratio_to_ours"]
        note = f"{row['p50_ms']:.{_digits(row)}f}"
        note += "" if ratio is None else f"  ({ratio:.2f} x ours)"
        _write(picture, note, (left + round(length * row["p50_ms"] / longest) + 8, top + bar - 8))
    for index, name in enumerate(names):
        x = 14 + 190 * index
        cv2.rectangle(
            picture, (x, height - 26), (x + 18, height - 10), STAGE_COLOURS[index], cv2.FILLED
        )
        _write(picture, name, (x + 26, height - 12))
    return picture


def _bars(row: Row) -> dict[str, float]:
    """Return the stages that follow each other, without the sum of some of them."""
    stages = row["stage_ms"] or {}
    return {k: v for k, v in stages.items() if k != "kernels" or "network" not in stages}


def _write(picture: npt.NDArray[np.uint8], text: str, at: tuple[int, int]) -> None:
    cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (30, 30, 30), 1, cv2.LINE_AA)
