"""`--assert "p99_ms<50"`: what a measurement has to be, so that a benchmark can guard a CI."""

from __future__ import annotations

import argparse
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_FORM = re.compile(
    r"\s*(?P<name>[a-z]\w*)(@(?P<rate>\d+(\.\d+)?))?\s*(?P<sign><=|>=|<|>)\s*"
    r"(?P<limit>-?\d+(\.\d+)?)\s*(?P<unit>%|ms|hz|fps|mib)?\s*",
    re.IGNORECASE,
)

NAMES = {
    "p50_ms": "ms",
    "p90_ms": "ms",
    "p99_ms": "ms",
    "mean_ms": "ms",
    "max_ms": "ms",
    "fps": "fps",
    "min_fps": "fps",
    "peak_hz": "hz",
    "missed": "%",
    "miou": "%",
    "category_miou": "%",
    "cpu": "%",
    "memory": "mib",
}
"""What may be asserted, and its unit. `missed`: of the frames sent; `cpu`: of one processor, by the
node; `memory`: of the node, resident, at most."""


@dataclass(frozen=True)
class Assertion:
    """One condition; `rate` is the fixed rate it is about, None the main measurement."""

    text: str
    name: str
    rate: float | None
    sign: str
    limit: float

    def check(self, values: Mapping[str, float | None]) -> str | None:
        """None where it holds, else what was seen instead; what was not measured never holds."""
        seen = values.get(self.name)
        if seen is None:
            return f"{self.text}: {self.name} was not measured"
        if _OPERATORS[self.sign](seen, self.limit):
            return None
        return f"{self.text}: {self.name} is {seen:.4g} {NAMES[self.name]}"


def parse_assertion(text: str) -> Assertion:
    """The assertion of a text such as `p99_ms<50` or `missed@30<1%`; raises ArgumentTypeError."""
    match = _FORM.fullmatch(text)
    if match is None or match["name"] not in NAMES:
        raise argparse.ArgumentTypeError(
            f"{text!r}: give NAME<NUMBER or NAME@HZ<NUMBER, also with <=, > or >=, where NAME is "
            f"one of {', '.join(NAMES)}"
        )
    name, unit = match["name"], match["unit"]
    if unit is not None and unit.lower() != NAMES[name]:
        raise argparse.ArgumentTypeError(f"{text!r}: {name} is in {NAMES[name]}, not in {unit}")
    rate = match["rate"]
    return Assertion(
        text.strip(),
        name,
        None if rate is None else float(rate),
        match["sign"],
        float(match["limit"]),
    )
