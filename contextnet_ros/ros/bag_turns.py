"""When the frames of a bag go out: turns at a rate or as recorded, kept or counted as not sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, pairwise
from typing import Any, NamedTuple

from contextnet_ros.ros.bag_messages import header_stamp_ns, with_stamp


class Turn(NamedTuple):
    """One frame's turn: from `due_s` to `over_s` after the start, under the stamp it shall bear."""

    due_s: float
    over_s: float
    stamp_ns: int
    message: bytes


@dataclass
class Played:
    """What became of frames whose turn came: stamps, when they were sent, and which were not.

    `sent` holds [header stamp in ns, monotonic clock in ns before publishing]; `not_sent` holds
    [header stamp in ns, reason].
    """

    in_bag: int = 0
    sent: list[tuple[int, int]] = field(default_factory=list)
    not_sent: list[tuple[int, str]] = field(default_factory=list)

    @property
    def sent_hz(self) -> float:
        """Rate of what was sent, (n - 1) / duration; 0 for fewer than two frames."""
        return rate_hz([time_ns for _, time_ns in self.sent])

    def to_dict(self) -> dict[str, Any]:
        """The fields and the rate, as JSON holds them."""
        return {**asdict(self), "sent_hz": self.sent_hz}


def rate_hz(times_ns: Sequence[int]) -> float:
    """(n - 1) / duration of ascending times; 0 for fewer than two."""
    if len(times_ns) < 2 or times_ns[-1] <= times_ns[0]:
        return 0.0
    return (len(times_ns) - 1) * 1e9 / (times_ns[-1] - times_ns[0])


def even_turns(
    messages: Sequence[bytes], stamps: Sequence[int], hz: float, count: int | None = None
) -> Iterator[Turn]:
    """`count` frames at `hz`, those of the bag once unless given.

    After the bag's end it begins again; its stamps (ns) go on as if it had been recorded so.
    """
    span = max(stamps) - min(stamps)
    again_ns = span + max(1, span // max(1, len(stamps) - 1))
    for index in range(len(messages) if count is None else count):
        lap, at = divmod(index, len(messages))
        yield Turn(index / hz, (index + 1) / hz, stamps[at] + lap * again_ns, messages[at])


def recorded_turns(
    messages: Sequence[bytes], stamps: Sequence[int], times_ns: Sequence[int], rate: float
) -> Iterator[Turn]:
    """The frames of the bag once, as far apart as they were recorded, `rate` times as fast."""
    due_s = [(time_ns - times_ns[0]) / 1e9 / rate for time_ns in times_ns]
    mean_s = due_s[-1] / max(1, len(due_s) - 1)
    for (due, over), stamp, message in zip(
        pairwise(chain(due_s, [due_s[-1] + mean_s])), stamps, messages, strict=True
    ):
        # Frames recorded in one burst still get a moment each.
        yield Turn(due, max(over, due + mean_s / 2), stamp, message)


def play(
    turns: Iterable[Turn],
    publish: Callable[[bytes], None],
    *,
    limit_s: float = float("inf"),
    stopped: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Played:
    """Publish CDR messages in their turns; those that miss it, or the limit, are not sent."""
    played = Played()
    start = clock()
    for turn in turns:
        played.in_bag += 1
        if turn.due_s > limit_s:
            played.not_sent.append((turn.stamp_ns, "time limit"))
            continue
        if stopped():
            played.not_sent.append((turn.stamp_ns, "stopped"))
            continue
        if clock() - start > turn.over_s:
            played.not_sent.append((turn.stamp_ns, "late"))
            continue
        message = stamped(turn)
        sleep(max(0.0, start + turn.due_s - clock()))
        played.sent.append((turn.stamp_ns, round(clock() * 1e9)))
        publish(message)
    return played


def stamped(turn: Turn) -> bytes:
    """The turn's message under the turn's stamp."""
    if header_stamp_ns(turn.message) == turn.stamp_ns:
        return turn.message
    return with_stamp(turn.message, turn.stamp_ns)
