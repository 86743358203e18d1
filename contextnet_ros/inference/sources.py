"""Where the frames of a stream come from: each in order, or always the newest."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any, Protocol


class Source(Protocol):
    """Frames with their places in the stream."""

    def ready(self, wait: bool) -> bool:
        """Whether there is a frame to take, now or, with `wait`, before the end."""

    def take(self) -> tuple[int, Any]:
        """Return the frame and its place; raises what the frames' iterator raised."""

    def close(self) -> None:
        """Take no more frames from the iterator."""


class InOrder:
    """Every frame, taken from the iterator when there is room for it, by the caller's thread."""

    def __init__(self, frames: Iterable[Any]) -> None:
        self._frames: Iterator[Any] = iter(frames)
        self._index = -1
        self._taken: list[Any] = []
        self._error: BaseException | None = None
        self._ended = False

    def ready(self, wait: bool) -> bool:  # noqa: ARG002
        if not self._ended:
            try:
                self._taken.append(next(self._frames))
                self._index += 1
            except StopIteration:
                self._ended = True
            # Delivered after the results of the frames before it.
            except Exception as error:
                self._ended, self._error = True, error
        return bool(self._taken) or self._error is not None

    def take(self) -> tuple[int, Any]:
        if self._taken:
            return self._index, self._taken.pop()
        error, self._error = self._error, None
        assert error is not None
        raise error

    def close(self) -> None:
        self._ended = True


class Newest:
    """The newest frame that a thread of its own has got from the iterator; older ones are
    dropped."""

    def __init__(self, frames: Iterable[Any]) -> None:
        self._changed = threading.Condition()
        self._waiting: tuple[int, Any] | None = None
        self._error: BaseException | None = None
        self._ended = False
        # A daemon: the iterator may wait for ever for a frame that doesn't come.
        threading.Thread(target=self._read, args=(frames,), name="newest", daemon=True).start()

    def _read(self, frames: Iterable[Any]) -> None:
        error: BaseException | None = None
        try:
            for index, frame in enumerate(frames):
                with self._changed:
                    if self._ended:
                        return
                    self._waiting = index, frame
                    self._changed.notify()
        except Exception as raised:
            error = raised
        finally:
            with self._changed:
                self._ended, self._error = True, error
                self._changed.notify()

    def ready(self, wait: bool) -> bool:
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._waiting is not None or self._ended)
            return self._waiting is not None or self._error is not None

    def take(self) -> tuple[int, Any]:
        with self._changed:
            if self._waiting is not None:
                waiting, self._waiting = self._waiting, None
                return waiting
            error, self._error = self._error, None
            assert error is not None
            raise error

    def close(self) -> None:
        with self._changed:
            self._ended = True
