"""Charts of a bag benchmark as SVG texts: histogram, timeline, stacked bars, search.

Colours are classes of the page's style sheet, so that they follow its light and dark scheme.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

import numpy as np

WIDTH, HEIGHT = 920, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 18, 40

# Of the latencies, those beyond this multiple of p99 stand together at the right edge.
_BEYOND_P99 = 1.25


class Dot(NamedTuple):
    """One frame on the timeline: seconds since its run began, latency (None: no label), a text."""

    at_s: float
    latency_ms: float | None
    text: str


class Mark(NamedTuple):
    """A labelled line at a value of the horizontal axis."""

    value: float
    text: str


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round numbers from `low` to `high`, a step of 1, 2 or 5 times a power of ten apart."""
    if high <= low:
        return [low]
    raw = (high - low) / about
    power = 10 ** math.floor(math.log10(raw))
    step = next(f * power for f in (1, 2, 5, 10) if f * power >= raw)
    first = math.ceil(low / step)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


class _Plot:
    """A plane with axes: maps values to the picture and collects what is drawn."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], height: int = HEIGHT):
        self.x, self.y, self.height = x, y, height
        self.parts: list[str] = []

    def px(self, value: float) -> float:
        low, high = self.x
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (value - low) / max(high - low, 1e-12)

    def py(self, value: float) -> float:
        low, high = self.y
        share = (value - low) / max(high - low, 1e-12)
        return self.height - _BOTTOM - (self.height - _TOP - _BOTTOM) * share

    def axes(self, x_label: str, y_label: str) -> None:
        bottom = self.height - _BOTTOM
        for value in ticks(*self.y, about=4):
            y = self.py(value)
            self.line(_LEFT, y, WIDTH - _RIGHT, y, "grid")
            self.text(_LEFT - 8, y + 4, f"{value:g}", "tick end")
        for value in ticks(*self.x, about=8):
            self.text(self.px(value), bottom + 18, f"{value:g}", "tick middle")
        self.line(_LEFT, bottom, WIDTH - _RIGHT, bottom, "axis")
        self.text(WIDTH - _RIGHT, self.height - 4, x_label, "label end")
        self.text(4, 11, y_label, "label")

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        self.parts.append(
            f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
        )

    def text(self, x: float, y: float, text: str, kind: str) -> None:
        self.parts.append(f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>')

    def bar(self, x1: float, x2: float, value: float, title: str, kind: str = "bar") -> None:
        top = self.py(value)
        self.parts.append(
            f'<rect class="{kind}" x="{x1:.1f}" y="{top:.1f}" width="{max(x2 - x1, 0.5):.1f}" '
            f'height="{max(self.py(self.y[0]) - top, 0):.1f}"><title>{escape(title)}</title></rect>'
        )

    def dot(self, x: float, y: float, radius: float, title: str, kind: str) -> None:
        self.parts.append(
            f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}">'
            f"<title>{escape(title)}</title></circle>"
        )

    def marks(self, marks: Sequence[Mark]) -> None:
        """Labelled vertical lines; labels that would lie on each other go a row lower."""
        ends: list[float] = []
        for mark in sorted(marks):
            x = self.px(min(max(mark.value, self.x[0]), self.x[1]))
            wide = 8 + 6.6 * len(mark.text)
            # At the right edge the label stands on the line's other side.
            turned = x + wide > WIDTH
            begin, end = (x - wide, x) if turned else (x, x + wide)
            row = next((i for i, taken in enumerate(ends) if begin > taken), len(ends))
            ends[row : row + 1] = [end]
            self.line(x, _TOP - 6, x, self.height - _BOTTOM, "mark")
            kind = "marked end" if turned else "marked"
            self.text(x + (-4 if turned else 4), _TOP + 4 + 14 * row, mark.text, kind)

    def svg(self, title: str) -> str:
        body = "".join(self.parts)
        return (
            f'<svg viewBox="0 0 {WIDTH} {self.height}" role="img" aria-label="{escape(title)}">'
            f"{body}</svg>"
        )


def histogram(values_ms: Sequence[float], marks: Sequence[Mark], bins: int = 48) -> str:
    """Frames by latency, in ms; those far beyond p99 stand in one last bar."""
    high = min(max(values_ms), float(np.percentile(values_ms, 99)) * _BEYOND_P99)
    low = min(values_ms)
    low, high = (low, high) if high > low else (low - 0.5, low + 0.5)
    counts, edges = np.histogram(np.minimum(values_ms, high), bins=bins, range=(low, high))
    plot = _Plot((low, high), (0, float(counts.max()) * 1.12))
    plot.axes("latency, ms", "frames")
    beyond = sum(value > high for value in values_ms)
    for index, count in enumerate(counts):
        left, right = edges[index], edges[index + 1]
        title = f"{left:.1f} to {right:.1f} ms: {count} frames"
        if index == bins - 1 and beyond:
            title += f", {beyond} of them later, up to {max(values_ms):.1f} ms"
        if count:
            kind = "bar late" if index == bins - 1 and beyond else "bar"
            plot.bar(plot.px(left) + 0.5, plot.px(right) - 0.5, float(count), title, kind)
    plot.marks(marks)
    return plot.svg("Histogram of latency")


def timeline(runs: Sequence[Sequence[Dot]]) -> str:
    """Every frame's latency when it was sent, one run after another; ticks where no label came."""
    ends = [max((dot.at_s for dot in run), default=0.0) for run in runs]
    gap = 0.02 * sum(ends)
    total = sum(ends) + gap * (len(runs) - 1)
    answered = [dot.latency_ms for run in runs for dot in run if dot.latency_ms is not None]
    plot = _Plot((0, total or 1.0), (0, max(answered, default=1.0) * 1.08))
    plot.axes("seconds of playing", "latency, ms")
    start = 0.0
    bottom = plot.height - _BOTTOM
    for number, (run, end) in enumerate(zip(runs, ends, strict=True), 1):
        if len(runs) > 1:
            plot.text(plot.px(start) + 4, _TOP + 10, f"run {number}", "tick")
            if number > 1:
                x = plot.px(start - gap / 2)
                plot.line(x, _TOP - 10, x, bottom, "grid")
        for dot in run:
            x = plot.px(start + dot.at_s)
            if dot.latency_ms is None:
                plot.line(x, bottom, x, bottom - 14, "miss")
            else:
                plot.dot(x, plot.py(dot.latency_ms), 2.2, dot.text, "dot")
        start += end + gap
    return plot.svg("Latency of every frame over time")


def stacked(parts: Mapping[str, float], marks: Sequence[Mark], unit: str, label: str) -> str:
    """One bar of parts side by side, and marks along the same axis; a legend is the caller's."""
    total = sum(max(value, 0.0) for value in parts.values())
    high = max([total, *(mark.value for mark in marks)], default=1.0) * 1.06 or 1.0
    plot = _Plot((0, high), (0, 1), height=132)
    for value in ticks(0, high, about=8):
        plot.text(plot.px(value), plot.height - _BOTTOM + 18, f"{value:g}", "tick middle")
    at = 0.0
    for index, (name, value) in enumerate(parts.items()):
        if value <= 0:
            continue
        title = f"<title>{escape(f'{name}: {value:.4g} {unit}')}</title>"
        left, right = plot.px(at), plot.px(at + value)
        plot.parts.append(
            f'<rect class="part p{index % 9}" x="{left:.1f}" y="44" '
            f'width="{max(right - left, 0.5):.1f}" height="44">{title}</rect>'
        )
        if right - left > 8 * len(name):
            plot.text((left + right) / 2, 70, name.replace("_", " "), "inside middle")
        at += value
    plot.line(_LEFT, plot.height - _BOTTOM, WIDTH - _RIGHT, plot.height - _BOTTOM, "axis")
    plot.marks(marks)
    plot.text(WIDTH - _RIGHT, plot.height - 4, label, "label end")
    return plot.svg(label)


def search_chart(probes: Sequence[Mapping[str, float | bool | str]], peak_hz: float) -> str:
    """Labels per second over the rate played, of each rate tried; filled where it was held."""
    high = max(float(probe["hz"]) for probe in probes) * 1.08
    plot = _Plot((0, high), (0, high), height=300)
    plot.axes("frames played per second", "labels per second")
    plot.line(plot.px(0), plot.py(0), plot.px(high), plot.py(high), "ideal")
    for probe in probes:
        hz, output_hz = float(probe["hz"]), float(probe["output_hz"])
        title = (
            f"{probe['phase']}: {hz:.4g} Hz played, {output_hz:.4g} labels/s, {probe['missed']} of "
            f"{probe['sent']} missed: {'held' if probe['held'] else 'not held'}"
        )
        kind = "held" if probe["held"] else "failed"
        plot.dot(plot.px(hz), plot.py(min(output_hz, high)), 5, title, kind)
    plot.marks([Mark(peak_hz, f"peak {peak_hz:.4g} Hz")])
    return plot.svg("Rates tried in the search")
