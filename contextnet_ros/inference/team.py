"""Threads that share out the rows of one frame's work, which NumPy and OpenCV do on one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise

# Of short work, how many a thread has at least: a fraction of a millisecond.
_PIXELS = 2**19


class Team:
    """`num_threads` threads, which exist from the first work on until nobody holds the team."""

    def __init__(self, num_threads: int) -> None:
        self._number = num_threads
        # The caller takes a part itself.
        self._others = ThreadPoolExecutor(max(1, num_threads - 1), "rows")

    def share_out(
        self, rows: int, work: Callable[[slice], None], pixels: int | None = None
    ) -> None:
        """Call `work` with parts of `range(rows)`, none empty, all at once, and wait; raises what
        it raises.

        `pixels`: in all rows, where the work on one is so short that few of them don't repay what
        it takes to wake a thread.
        """
        most = self._number if pixels is None else pixels // _PIXELS
        number = max(1, min(self._number, rows, most))
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
