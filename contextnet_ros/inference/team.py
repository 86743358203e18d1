"""Threads that share out the rows of one frame's work, which NumPy and OpenCV do on one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise


class Team:
    """`num_threads` threads, which exist from the first work on until nobody holds the team."""

    def __init__(self, num_threads: int) -> None:
        self._number = num_threads
        # The caller takes a part itself.
        self._others = ThreadPoolExecutor(max(1, num_threads - 1), "rows")

    def share_out(self, rows: int, work: Callable[[slice], None]) -> None:
        """Call `work` with parts of `range(rows)`, none empty, all at once, and wait; raises what
        it raises."""
        number = max(1, min(self._number, rows))
        edges = [rows * part // number for part in range(number + 1)]
        *others, own = (slice(*edge) for edge in pairwise(edges))
        futures = [self._others.submit(work, part) for part in others]
        try:
            if rows:
                work(own)
        finally:
            # Nobody writes into the caller's arrays once it goes on.
            wait(futures)
        for future in futures:
            future.result()


ALONE = Team(1)
