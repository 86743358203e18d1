"""A pipeline fed by live sources, of which the newest frame wins."""

from __future__ import annotations

import itertools
import threading
import time

import pytest
from inverting_pipeline import expect, frames, make_pipeline
from stand_in_device import StandInDevice

from contextnet_ros.inference.sources import Newest


def test_the_newest_frame_wins_and_the_last_one_is_never_lost():
    pipeline, _ = make_pipeline(StandInDevice({"run": itertools.repeat(0.02)}))
    given = frames(60)

    def live():
        for frame in given:
            yield frame
            time.sleep(0.002)

    results = list(pipeline.stream(Newest(live()), ("label",)))
    indices = [result.index for result in results]
    assert indices == sorted(set(indices))
    assert indices[-1] == 59
    assert len(indices) < 60
    for result in results:
        expect(result, given[result.index])


def test_a_waiting_live_source_does_not_hold_back_results():
    pipeline, _ = make_pipeline(StandInDevice())
    go_on = threading.Event()

    def live():
        yield frames(1)[0]
        go_on.wait(20)

    stream = pipeline.stream(Newest(live()), ("label",))
    expect(next(stream), frames(1)[0])
    go_on.set()
    assert list(stream) == []


def test_an_error_of_a_live_source_comes_after_its_last_frame():
    def live():
        yield frames(1)[0]
        raise OSError("unplugged")

    pipeline, _ = make_pipeline()
    stream = pipeline.stream(Newest(live()), ("label",))
    assert next(stream).index == 0
    with pytest.raises(OSError, match="unplugged"):
        next(stream)


def test_a_closed_live_source_reads_one_frame_more_at_most():
    taken, more = [], threading.Semaphore(3)

    def live():
        while more.acquire(timeout=20):
            taken.append(1)
            yield frames(1)[0]

    source = Newest(live())
    assert source.ready(wait=True)
    while len(taken) < 3:
        time.sleep(0.001)
    source.close()
    more.release(5)
    time.sleep(0.05)
    assert len(taken) <= 4


def test_a_closed_stream_closes_its_live_source():
    pipeline, _ = make_pipeline(StandInDevice())
    taken = []

    def live():
        while len(taken) < 2000:
            taken.append(1)
            yield frames(1)[0]
            time.sleep(0.001)

    stream = pipeline.stream(Newest(live()), ("label",))
    next(stream)
    stream.close()
    # The one that was on its way.
    taken_then = len(taken) + 1
    time.sleep(0.1)
    assert len(taken) <= taken_then
