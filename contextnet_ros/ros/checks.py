"""What a benchmark set out to reach, and whether it did; shown and written, never asserted."""

from __future__ import annotations

import operator
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from contextnet_ros.files import write_json

_SIGNS = {"<=": operator.le, ">=": operator.ge}


@dataclass(frozen=True)
class Check:
    """One aim: `measured` (None: not measured) has to be `sign` `aim`, in `unit`."""

    what: str
    measured: float | None
    sign: str
    aim: float
    unit: str

    @property
    def reached(self) -> bool | None:
        """Whether it was; None where nothing was measured."""
        return None if self.measured is None else bool(_SIGNS[self.sign](self.measured, self.aim))

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        aim = f"aim {self.sign} {self.aim:g}{unit}"
        if self.measured is None:
            return f"{self.what}: not measured ({aim})"
        verdict = "reached" if self.reached else "missed"
        return f"{self.what}: {self.measured:.4g}{unit} ({aim}: {verdict})"

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {**asdict(self), "reached": self.reached}


def write_checks(path: Path | None, checks: Sequence[Check], rest: dict[str, Any]) -> None:
    """Print the checks, and write them with the rest of the result where there is a path."""
    for check in checks:
        print(check)
    if path is not None:
        result = {"checks": [check.to_dict() for check in checks], **rest}
        write_json(path, result)


def tell(text: str) -> None:
    """One line of progress."""
    print(text, file=sys.stderr, flush=True)
