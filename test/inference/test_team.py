from __future__ import annotations

import threading

import pytest

from contextnet_ros.inference.team import Team


@pytest.mark.parametrize("rows", [0, 1, 2, 7, 1024])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_row_is_worked_on_once(rows, threads):
    seen, lock = [], threading.Lock()

    def work(part):
        with lock:
            seen.extend(range(rows)[part])

    Team(threads).share_out(rows, work)
    assert sorted(seen) == list(range(rows))


def test_the_parts_run_at_the_same_time():
    together = threading.Barrier(3, timeout=30)
    Team(3).share_out(3, lambda _: together.wait())


@pytest.mark.parametrize(("pixels", "parts"), [(2**17, 1), (2**19, 1), (2**20, 2), (2**22, 3)])
def test_short_work_on_few_pixels_wakes_no_thread(pixels, parts):
    seen = []
    Team(3).share_out(512, seen.append, pixels=pixels)
    assert len(seen) == parts


def test_what_a_part_raises_is_raised():
    def work(part):
        if part.stop == 8:
            raise ValueError("row 7")

    with pytest.raises(ValueError, match="row 7"):
        Team(2).share_out(8, work)
