"""A pipeline on the stand-in device whose program inverts, so that every label is known."""

from __future__ import annotations

import numpy as np
from stand_in_device import StandInDevice

from contextnet_ros.inference.pipeline import Pipeline


class Inverting:
    """A program whose label is 255 minus the frame's first channel, its overlay the frame."""

    def __init__(self, height, width, outputs):
        self.inputs = {"seen": (height, width, 3)}
        shapes = {"label": (height, width), "overlay": (height, width, 3)}
        self.outputs = {name: shapes[name] for name in outputs}

    def host_inputs(self, image):
        return {"seen": image}

    def settle(self, stream):
        """There is one way to invert."""

    def __call__(self, inputs, outputs):
        outputs["label"].copy_(255 - inputs["seen"][..., 0])
        if "overlay" in outputs:
            outputs["overlay"].copy_(inputs["seen"])


def delays(seed):
    random = np.random.default_rng(seed)
    return iter(lambda: random.choice([0, 0, 0.001, 0.004]), None)


def make_pipeline(device=None, **options):
    device = device or StandInDevice({"copy": delays(1), "run": delays(2)})
    return Pipeline(device, Inverting, **options), device


def frames(count, height=6, width=8):
    """Frames of one value each, a different one every time."""
    return [np.full((height, width, 3), 1 + i, np.uint8) for i in range(count)]


def expect(result, frame):
    np.testing.assert_array_equal(result.label, 255 - frame[..., 0])
