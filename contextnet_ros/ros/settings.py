"""What may change while the node runs: read as one, judged as one."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from contextnet_ros.files import UserError
from contextnet_ros.labels import ClassTable

ALL_CLASSES = "all"
TRANSPORTS = ("raw", "compressed")

_CAMERA_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*")


@dataclass(frozen=True)
class Settings:
    """The parameters that may change while it runs; `segment.yaml` says what each means."""

    overlay_opacity: float
    overlay_classes: tuple[str, ...]
    jpeg_quality: int
    min_confidence: float
    max_rate_hz: float
    log_period_s: float

    @classmethod
    def of(cls, value: Callable[[str], Any]) -> Settings:
        """Those of the parameters whose value `value` gives by name."""
        chosen = {field.name: value(field.name) for field in fields(cls)}
        return cls(**{**chosen, "overlay_classes": tuple(chosen["overlay_classes"])})

    @property
    def shows_all_classes(self) -> bool:
        return self.overlay_classes == (ALL_CLASSES,)

    def fault(self, table: ClassTable | None) -> str:
        """Why these can't be, in one line, or nothing; a table that isn't loaded yet rules
        nothing out."""
        chosen = self.overlay_classes
        if not chosen:
            return f"overlay_classes is empty: name classes, or give [{ALL_CLASSES}]"
        if len(set(chosen)) < len(chosen):
            return f"overlay_classes {list(chosen)} names a class twice: name it once"
        if ALL_CLASSES in chosen and len(chosen) > 1:
            return f"overlay_classes {list(chosen)}: give [{ALL_CLASSES}] alone, or names alone"
        if table is not None and not self.shows_all_classes:
            unknown = [name for name in chosen if name not in table.names]
            if unknown:
                return (
                    f"overlay_classes: {', '.join(map(repr, unknown))} is not among the classes "
                    f"of {table.name}: {', '.join(table.names)}"
                )
        return ""


def camera_names(given: Sequence[str]) -> tuple[str, ...]:
    """The cameras, one without a name if none is named; raises UserError for what can't be part
    of a topic's name, and for a name given twice."""
    if list(given) in ([], [""]):
        return ("",)
    for name in given:
        if not _CAMERA_NAME.fullmatch(name):
            raise UserError(
                f"cameras: {name!r} can't be part of a topic's name: use letters, digits and _"
            )
    if len(set(given)) < len(given):
        raise UserError(f"cameras {list(given)} names one twice: give each its own name")
    return tuple(given)


def check_transport(name: str) -> str:
    """The name itself; raises UserError for an image_transport that isn't known here."""
    if name not in TRANSPORTS:
        raise UserError(f"image_transport {name!r} is unknown: choose {' or '.join(TRANSPORTS)}")
    return name
