"""What became of every frame, by sums that hold or are an error, and how long its label took.

in_bag    = sent + not_sent
sent      = received + not_taken   (overwritten in the queue or lost on the way)
received  = superseded + bad + published + pending
published = monitored + lost_out
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

NODE_COUNTS = ("received", "superseded", "bad", "published", "pending")


@dataclass(frozen=True)
class FrameFates:
    """Frames by fate; the player, the node and the monitor each counted their own part."""

    in_bag: int
    sent: int
    not_sent: int
    received: int
    superseded: int
    bad: int
    published: int
    pending: int
    monitored: int

    @property
    def not_taken(self) -> int:
        return self.sent - self.received

    @property
    def lost_out(self) -> int:
        return self.published - self.monitored

    def sums(self) -> list[tuple[str, bool]]:
        """Each sum of the accounting as text with its numbers, and whether it holds."""
        f = self
        return [
            (
                f"in_bag {f.in_bag} = sent {f.sent} + not_sent {f.not_sent}",
                f.in_bag == f.sent + f.not_sent,
            ),
            (
                f"sent {f.sent} = received {f.received} + not_taken {f.not_taken}",
                f.not_taken >= 0,
            ),
            (
                f"received {f.received} = superseded {f.superseded} + bad {f.bad} "
                f"+ published {f.published} + pending {f.pending}",
                f.received == f.superseded + f.bad + f.published + f.pending,
            ),
            (
                f"published {f.published} = monitored {f.monitored} + lost_out {f.lost_out}",
                f.lost_out >= 0,
            ),
        ]

    def broken(self) -> list[str]:
        """The sums that don't hold, and any count below zero."""
        wrong = [text for text, holds in self.sums() if not holds]
        return wrong + [f"{name} {n} is below 0" for name, n in asdict(self).items() if n < 0]

    def to_dict(self) -> dict[str, int]:
        """Every count by name."""
        return {**asdict(self), "not_taken": self.not_taken, "lost_out": self.lost_out}


def node_counts(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, int]:
    """The node's counts between two of its diagnostic statuses; `pending` is that of the last.

    Raises ValueError when a status lacks one.
    """
    missing = [name for name in NODE_COUNTS if name not in before or name not in after]
    if missing:
        raise ValueError(f"the node's diagnostics have no {', '.join(missing)}")
    counts = {name: int(after[name]) - int(before[name]) for name in NODE_COUNTS}
    counts["pending"] = int(after["pending"])
    return counts


def monitor_faults(sent: Sequence[int], arrived: Sequence[int]) -> list[str]:
    """What is wrong with the header stamps (ns) of the outputs, given those of the frames sent."""
    faults = []
    if len(set(arrived)) != len(arrived):
        faults.append(f"{len(arrived) - len(set(arrived))} outputs bear a stamp seen before")
    strangers = set(arrived) - set(sent)
    if strangers:
        faults.append(f"{len(strangers)} outputs bear a stamp that no frame sent had")
    return faults


def latency(sent: Mapping[int, int], arrived: Mapping[int, int]) -> dict[str, float]:
    """Latency in ms, sending to arrival, over stamps in both; maps stamp to monotonic ns.

    Percentiles interpolate linearly; empty when nothing arrived.
    """
    times_ms = [(arrived[stamp] - sent[stamp]) / 1e6 for stamp in arrived if stamp in sent]
    if not times_ms:
        return {}
    p50, p90, p99 = np.percentile(times_ms, (50, 90, 99))
    return {
        "frames": len(times_ms),
        "mean_ms": float(np.mean(times_ms)),
        "p50_ms": float(p50),
        "p90_ms": float(p90),
        "p99_ms": float(p99),
        "max_ms": max(times_ms),
    }
