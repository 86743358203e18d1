"""Curves of trainings, an SVG beside each log: `make docs`, or

python -m contextnet_ros.tools.curves docs/results/training-default.jsonl
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from contextnet_ros.files import UserError, atomic_write, run_command

_WIDTH, _HEIGHT = 720, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 52, 34, 34
_COLOURS = ("#1f6f8b", "#c8553d", "#5b8c3a", "#7d5ba6")
_LOSS_COLOUR = "#999999"

Points = Sequence[tuple[float, float]]


def curves(log: Sequence[dict[str, Any]], title: str) -> str:
    """SVG of a training's log: mIoU of every validated data set, in percent, and the loss.

    `log`: a dict for each validation, with `step`, `loss` and `scores`. Raises UserError for none.
    """
    if not log:
        raise UserError(f"{title} holds no lines: there is nothing to draw")
    last_step = log[-1]["step"]
    most = max(entry["loss"] for entry in log) or 1.0
    lines = {"loss": [(entry["step"], entry["loss"] / most * 100) for entry in log]}
    for entry in log:
        for score in entry["scores"]:
            points = lines.setdefault(score["data"], [])
            points.append((entry["step"], score["miou_percent"] or 0.0))
    parts = [_axes(title, last_step, most)]
    for place, (name, points) in enumerate(lines.items()):
        colour = _COLOURS[(place - 1) % len(_COLOURS)] if place else _LOSS_COLOUR
        value = log[-1]["loss"] if name == "loss" else points[-1][1]
        text = f"{name}: {value:.3g}" if name == "loss" else f"mIoU, {name}: {value:.1f} %"
        parts.append(_line(points, last_step, colour))
        y = _HEIGHT + 16 * (place + 1)
        parts.append(f'<rect x="{_LEFT}" y="{y - 9}" width="18" height="4" fill="{colour}"/>')
        parts.append(f'<text x="{_LEFT + 26}" y="{y - 3}">{escape(text)} at the end</text>')
    height = _HEIGHT + 16 * len(lines) + 8
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="12" fill="#222222">\n'
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>\n' + "\n".join(parts)
    ) + "\n</svg>\n"


def _place(step: float, percent: float, last_step: int) -> tuple[float, float]:
    x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * step / last_step
    y = _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * percent / 100
    return x, y


def _line(points: Points, last_step: int, colour: str) -> str:
    places = [_place(step, percent, last_step) for step, percent in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in places)
    line = f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
    return f'{line}<g fill="{colour}">{dots}</g>'


def _axes(title: str, last_step: int, most: float) -> str:
    parts = [f'<text x="{_LEFT}" y="18" font-size="14">{escape(title)}</text>']
    for percent in range(0, 101, 20):
        left, y = _place(0, percent, last_step)
        right = _WIDTH - _RIGHT
        parts.append(f'<path d="M{left:.1f},{y:.1f}H{right}" stroke="#dddddd"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{percent} %</text>')
        loss = f"{most * percent / 100:.2g}"
        parts.append(f'<text x="{right + 8}" y="{y + 4:.1f}" fill="{_LOSS_COLOUR}">{loss}</text>')
    for quarter in range(5):
        x, _ = _place(last_step * quarter / 4, 0, last_step)
        step = f"{round(last_step * quarter / 4):,}"
        y = _HEIGHT - _BOTTOM + 18
        parts.append(f'<text x="{x:.1f}" y="{y}" text-anchor="middle">{step}</text>')
    return "\n".join(parts)


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="curves", description=__doc__)
    parser.add_argument("logs", nargs="+", type=Path, help="log.jsonl of trainings")
    return run_command(lambda: _draw(parser.parse_args(argv).logs), "curves")


def _draw(logs: Sequence[Path]) -> int:
    for path in logs:
        if not path.is_file():
            raise UserError(f"log {path} does not exist: give the log.jsonl of a training")
        with atomic_write(path.with_suffix(".svg")) as temporary:
            temporary.write_text(curves(read_log(path), path.stem))
    return 0


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a training's log; raises UserError for one that is none."""
    try:
        return [json.loads(line) for line in path.read_text().splitlines()]
    except ValueError as error:
        raise UserError(f"{path} is no training's log: {error}") from error


if __name__ == "__main__":
    raise SystemExit(main())
