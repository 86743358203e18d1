"""Threads that share out the rows of one frame's work, which NumPy and OpenCV do on one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class Team:
    """`num_threads` threads, which exist from the first work on until nobody holds the team."""

    def __init__(self, num_threads: int) -> None:
        self._number = num_threads
        # The caller takes a part itself.
        self._pool = ThreadPoolExecutor(num_threads - 1, "rows") if num_threads > 1 else None

    def share_out(self, rows: int, work: Callable[[slice], None]) -> None:
        """Call `work` with parts of `range(rows)`, all at once, and wait; raises what it raises."""
        if self._pool is None:
            work(slice(0, rows))
            return
        edges = [rows * part // self._number for part in range(self._number + 1)]
        first, *others = (slice(*edge) for edge in zip(edges, edges[1:], strict=False))
        futures = [self._pool.submit(work, part) for part in others if part.start < part.stop]
        work(first)
        for future in futures:
            future.result()


ALONE = Team(1)
