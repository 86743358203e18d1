"""A Segmenter's streams on the CPU: frames in order, sources left alone once they are closed."""

from __future__ import annotations

import itertools
import time

import numpy as np


def test_stream_gives_every_frame_in_order(segmenter, make_frame):
    frames = [make_frame(32 + 8 * i, 64, seed=i) for i in range(4)]
    results = list(segmenter.stream(iter(frames), outputs=("label",)))
    for frame, result in zip(frames, results, strict=True):
        np.testing.assert_array_equal(result.label, segmenter(frame).label)


def test_a_stream_closed_half_way_ends_and_takes_no_more_frames(segmenter, make_frame):
    taken = []
    endless = (taken.append(i) or make_frame(32, 32) for i in itertools.count())
    stream = segmenter.stream(endless)
    next(stream), next(stream)
    stream.close()
    taken_then = len(taken)
    assert taken_then < 10
    assert next(stream, None) is None
    assert len(taken) == taken_then
    assert segmenter(make_frame(32, 32)).label.shape == (32, 32)


def test_a_closed_stream_of_the_newest_frames_leaves_its_camera_alone(segmenter, make_frame):
    taken = []

    def camera():
        while len(taken) < 2000:
            taken.append(1)
            yield make_frame(32, 32)
            time.sleep(0.001)

    stream = segmenter.stream(camera(), newest_wins=True)
    next(stream)
    stream.close()
    # The one that was on its way.
    taken_then = len(taken) + 1
    time.sleep(0.1)
    assert len(taken) <= taken_then
