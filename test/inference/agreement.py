"""How far results of two ways through a network may lie apart."""

from __future__ import annotations

import numpy as np


def assert_equal(ours, theirs, share=0.999):
    """Equal but for a share of pixels where two classes are within a rounding step."""
    assert (ours.label == theirs.label).mean() >= share
    if theirs.overlay is not None:
        same = ours.label == theirs.label
        np.testing.assert_array_equal(ours.overlay[same], theirs.overlay[same])
    if theirs.confidence is not None:
        assert np.abs(ours.confidence.astype(int) - theirs.confidence).max() <= 1
