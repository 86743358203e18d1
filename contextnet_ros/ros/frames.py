"""Every frame's fate: the newest one waits, all are counted, under one lock.

received = superseded + bad + published + pending holds in every snapshot.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Frame = TypeVar("Frame")


NUMBERS = ("received", "superseded", "bad", "published", "pending", "not_taken")


@dataclass(frozen=True)
class FrameCounts:
    """How many frames met which fate since the start.

    `pending` are the frame in hand and the one that waits; `not_taken` were sent but never
    reached us, as far as sequence numbers show it (they are not part of `received`).
    `last_bad` describes the latest bad frame.
    """

    received: int = 0
    superseded: int = 0
    bad: int = 0
    published: int = 0
    pending: int = 0
    not_taken: int = 0
    bad_reasons: dict[str, int] = field(default_factory=dict)
    last_bad: str = ""

    def __str__(self) -> str:
        reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(self.bad_reasons.items()))
        return (
            f"received {self.received} = superseded {self.superseded} + bad {self.bad}"
            f"{f' ({reasons})' if reasons else ''} + published {self.published} "
            f"+ pending {self.pending}; not taken {self.not_taken}"
        )


def total(counts: Iterable[FrameCounts]) -> FrameCounts:
    """The sum over cameras; `last_bad` is the first that there is."""
    each = list(counts)
    reasons: dict[str, int] = {}
    for one in each:
        for reason, number in one.bad_reasons.items():
            reasons[reason] = reasons.get(reason, 0) + number
    return FrameCounts(
        **{name: sum(getattr(one, name) for one in each) for name in NUMBERS},
        bad_reasons=reasons,
        last_bad=next((one.last_bad for one in each if one.last_bad), ""),
    )


class NewestFrame(Generic[Frame]):
    """Hands the newest frame from the thread that receives to the one that works.

    `wake` is called, without the lock, when a frame comes to wait where none waited.
    """

    def __init__(self, wake: Callable[[], object]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._waiting: Frame | None = None
        self._in_hand = False
        self._at_work = False
        self._received = self._superseded = self._bad = self._published = self._not_taken = 0
        self._bad_reasons: dict[str, int] = {}
        self._last_bad = ""

    def receive(self, frame: Frame, not_taken: int = 0) -> None:
        """Let a good frame wait; the one that waited, if any, is superseded."""
        with self._lock:
            self._received += 1
            self._not_taken += not_taken
            nothing_waited = self._waiting is None
            if not nothing_waited:
                self._superseded += 1
            self._waiting = frame
        if nothing_waited:
            self._wake()

    def receive_bad(self, reason: str, detail: str, not_taken: int = 0) -> None:
        """Count a frame found bad on arrival, which so supersedes nothing."""
        with self._lock:
            self._received += 1
            self._not_taken += not_taken
            self._count_bad(reason, detail)

    def waits(self) -> bool:
        """Whether a frame waits to be taken."""
        with self._lock:
            return self._waiting is not None

    def wait_idle(self, timeout_s: float) -> bool:
        """Whether within this time no frame waits and none is worked on."""
        with self._idle:
            return self._idle.wait_for(
                lambda: self._waiting is None and not self._at_work, timeout_s
            )

    def take(self) -> Frame | None:
        """The waiting frame, now in hand until `finish_*` is called and worked on until `done` is;
        None if none waits.

        Raises RuntimeError while the last one is still in hand.
        """
        with self._lock:
            if self._in_hand:
                raise RuntimeError("the last frame taken has not met its fate yet")
            frame, self._waiting = self._waiting, None
            self._in_hand = self._at_work = frame is not None
            return frame

    def finish_published(self) -> None:
        """The frame in hand has been answered, by its label: other outputs may follow."""
        with self._lock:
            self._put_down()
            self._published += 1

    def done(self) -> None:
        """Nothing more comes of the frame that was taken last."""
        with self._lock:
            self._at_work = False
            self._idle.notify_all()

    def finish_bad(self, reason: str, detail: str) -> None:
        """The frame in hand could not be answered."""
        with self._lock:
            self._put_down()
            self._count_bad(reason, detail)

    def counts(self) -> FrameCounts:
        """All counts at one moment."""
        with self._lock:
            return FrameCounts(
                received=self._received,
                superseded=self._superseded,
                bad=self._bad,
                published=self._published,
                pending=int(self._in_hand) + int(self._waiting is not None),
                not_taken=self._not_taken,
                bad_reasons=dict(self._bad_reasons),
                last_bad=self._last_bad,
            )

    def _put_down(self) -> None:
        if not self._in_hand:
            raise RuntimeError("no frame is in hand")
        self._in_hand = False

    def _count_bad(self, reason: str, detail: str) -> None:
        self._bad += 1
        self._bad_reasons[reason] = self._bad_reasons.get(reason, 0) + 1
        self._last_bad = detail


class SequenceGaps:
    """Finds messages that a publisher sent and we never got, by its sequence numbers."""

    def __init__(self) -> None:
        self._last: dict[Hashable, int] = {}

    def missing_before(self, publisher: Hashable, number: int) -> int:
        """How many numbers of this publisher were skipped since its last message.

        A publisher's first message, and a number that goes back (a restart), skip nothing.
        """
        last = self._last.get(publisher)
        self._last[publisher] = number
        return 0 if last is None else max(0, number - last - 1)

    def forget(self) -> None:
        """A message came that can't be told to be of any publisher: what it skipped is unknown."""
        self._last.clear()


class Pace:
    """When the next frame may be taken so that a rate is held on average."""

    def __init__(self) -> None:
        self._next_s = 0.0

    def due_in_s(self, now_s: float, max_rate_hz: float) -> float:
        """Seconds until the next frame may be taken, 0 if now; a rate of 0 is no limit."""
        if max_rate_hz == 0:
            return 0.0
        # Where the limit was just raised, the wait is that of the new one.
        return min(max(0.0, self._next_s - now_s), 1 / max_rate_hz)

    def taken(self, now_s: float, max_rate_hz: float) -> None:
        """A frame was taken now. A late one gives its delay to the next, so that a camera's own
        period doesn't lower the rate."""
        if max_rate_hz > 0:
            self._next_s = max(self._next_s + 1 / max_rate_hz, now_s)


class Turns:
    """Whose frame is next: round robin, so that no camera starves however fast another is."""

    def __init__(self, cameras: int) -> None:
        self._cameras = cameras
        self._last = cameras - 1

    def next(self, ready: Sequence[bool]) -> int | None:
        """Number of the first camera after the one served last that is ready; None if none is."""
        for step in range(1, self._cameras + 1):
            camera = (self._last + step) % self._cameras
            if ready[camera]:
                self._last = camera
                return camera
        return None
