"""How the processes of a measurement talk: commands in on stdin, events out on stdout, one a line.

A helper process ends when its stdin is closed, so that it never outlives who started it.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading


class Commands:
    """Command lines from stdin, without blocking whoever publishes or records meanwhile."""

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._closed = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        # os.read rather than sys.stdin: a thread that holds the stream's lock when the interpreter
        # ends makes it abort.
        pending = b""
        while chunk := os.read(0, 4096):
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                self._lines.put(line.decode().strip())
        self._lines.put(None)

    def next(self, timeout_s: float = 0.0) -> list[str] | None:
        """Words of the next command, [] when none came in time, None when stdin is closed."""
        if self._closed:
            return None
        try:
            line = self._lines.get(block=timeout_s > 0, timeout=timeout_s)
        except queue.Empty:
            return []
        self._closed = line is None
        return None if line is None else line.split()


def emit(event: str, **fields: object) -> None:
    """Print one event as a JSON line."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()
