"""Running means of what a training logs."""

from __future__ import annotations

from collections.abc import Mapping


class Means:
    """Running means by name."""

    def __init__(self, totals: Mapping[str, float] | None = None, count: int = 0) -> None:
        self.totals = dict(totals or {})
        self.count = count

    def add(self, **values: float) -> None:
        self.count += 1
        for name, value in values.items():
            self.totals[name] = self.totals.get(name, 0.0) + value

    def __contains__(self, name: str) -> bool:
        return name in self.totals

    def __getitem__(self, name: str) -> float:
        return self.totals.get(name, float("nan")) / max(self.count, 1)
