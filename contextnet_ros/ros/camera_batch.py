"""Several cameras' frames in one batch, or one after another: what a frame costs either way."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import numpy.typing as npt

from contextnet_ros.files import UserError
from contextnet_ros.inference import model_path
from contextnet_ros.inference.backend import choose_threads, onnx_remedy
from contextnet_ros.network import ContextNet, WeightHeader, load_weights
from contextnet_ros.network.contextnet import padded_size

Images = npt.NDArray[np.float32]
Run = Callable[[], object]


def frame_ms(cameras: int, height: int, width: int, rounds: int) -> dict[str, list[float]]:
    """Milliseconds a frame of the default network in ONNX Runtime: "batched", `cameras` frames at a
    time, and "interleaved", one at a time; the two in turn, `rounds` times each.

    Raises UserError where ONNX Runtime is missing.
    """
    network, header = load_weights(model_path("default"))
    side = padded_size(height, width, network.size_multiple)
    images = np.random.default_rng(0).standard_normal((cameras, 3, *side), np.float32)
    single = _runner(network, header, images[:1])
    ways: dict[str, Run] = {
        "batched": _runner(network, header, images),
        "interleaved": lambda: [single() for _ in range(cameras)],
    }
    for way in ways.values():
        way()
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            took[name].append((time.perf_counter() - start) * 1e3 / cameras)
    return took


def batched_ratio(took: dict[str, list[float]]) -> float:
    """Median time of a frame in a batch as a multiple of that of one alone."""
    return median(took["batched"]) / median(took["interleaved"])


def _runner(network: ContextNet, header: WeightHeader, images: Images) -> Run:
    try:
        from contextnet_ros.inference.onnx_backend import make_session
        from contextnet_ros.inference.onnx_graph import build_graph
    except ImportError as error:
        raise UserError(f"part batch needs ONNX Runtime: {onnx_remedy()}") from error
    sides = dict(zip(("N", "H", "W"), (len(images), *images.shape[2:]), strict=True))
    model = build_graph(network, header).SerializeToString()
    session = make_session(model, choose_threads(None), sides)
    return lambda: session.run(None, {"images": images})
