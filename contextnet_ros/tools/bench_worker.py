"""One process for each pipeline of a benchmark, so that memory is its own and only one runs at a
time."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from contextnet_ros.files import UserError
from contextnet_ros.inference.pipeline import SLOTS
from contextnet_ros.tools.bench_coarse import COARSE, CoarseNetwork, measure_coarse, start_coarse
from contextnet_ros.tools.bench_gpu import ALONE, GpuPipeline, make_pipeline, measure_alone
from contextnet_ros.tools.bench_pipelines import Pipeline, Setting

MODES = ("sequential", "pipelined", "kernel", "stages", COARSE)
_WARM_UP_FRAMES = 3


class Unavailable(Exception):
    """A pipeline that can't run here; str() is one line of why."""


class Worker:
    """A pipeline in a process of its own; it runs only while `turn` waits for it."""

    def __init__(self, setting: Setting, frames: Path) -> None:
        """Start it, warm it up; raises Unavailable where it can't run.

        `frames`: an .npy file, uint8 (frames, H, W, 3).
        """
        self.setting = setting
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, setting, frames), daemon=True)
        self._process.start()
        theirs.close()
        self.info = self._answer()

    def turn(self, mode: str, count: int) -> dict[str, Any]:
        """Segment `count` frames; returns `frame_ms` and `stage_ms`, a list of each.

        Raises Unavailable, as `memory` does, where it can't go on.
        """
        return self._ask(mode, count)

    def memory(self) -> dict[str, Any]:
        """Return `peak_host_bytes` and `peak_device_bytes` (None without a GPU) so far."""
        return self._ask("memory", 0)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.send(None)
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._connection.close()

    def _ask(self, order: str, count: int) -> dict[str, Any]:
        # One that has ended reads nothing, and may still have said why.
        with contextlib.suppress(OSError):
            self._connection.send((order, count))
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            answer = {"error": f"its process ended with code {self._process.exitcode}"}
        if "error" in answer:
            self.close()
            raise Unavailable(answer["error"])
        return answer


def _serve(connection: Connection, setting: Setting, path: Path) -> None:
    try:
        # A process for each: OpenCV's threads are its own as well.
        cv2.setNumThreads(setting.num_threads)
        pipeline = make_pipeline(setting)
        frames = pipeline.prepare(np.load(path))
        for frame in frames[:_WARM_UP_FRAMES]:
            pipeline(frame)
        # Copies: ours would run out of the memory that it lends, and make more for every frame.
        labels = [pipeline(frame).copy() for frame in frames]
        if isinstance(pipeline, GpuPipeline):
            pipeline.warmed_up()
        info = {"runs": pipeline.runs, "precision": pipeline.precision, "labels": labels}
        connection.send(info)
        following = itertools.cycle(frames)
        # One model more, only where it is asked for.
        coarse: CoarseNetwork | None = None
        while (order := connection.recv()) is not None:
            mode, count = order
            if mode == "memory":
                device = pipeline.peak_device_bytes()
                peaks = {"peak_host_bytes": peak_host_bytes(), "peak_device_bytes": device}
                connection.send(peaks)
            elif mode == COARSE:
                coarse = coarse or start_coarse(setting, frames[:_WARM_UP_FRAMES])
                connection.send(measure_coarse(coarse, itertools.islice(following, count)))
            elif mode in ALONE and isinstance(pipeline, GpuPipeline):
                taken = list(itertools.islice(following, count))
                connection.send(measure_alone(pipeline, mode, taken))
            else:
                # Those ahead fill the pipeline, those behind keep it full.
                count += 2 * SLOTS if mode == "pipelined" else 0
                connection.send(measure(pipeline, mode, itertools.islice(following, count)))
    except (EOFError, KeyboardInterrupt):
        pass
    except UserError as error:
        connection.send({"error": str(error)})
    # Whatever a backend raises where it can't run is the row's reason.
    except Exception as error:
        if os.environ.get("CONTEXTNET_BENCH_TRACEBACK"):
            traceback.print_exc()
        first = next(iter(str(error).strip().splitlines()), "")
        connection.send({"error": f"{type(error).__name__}: {first}"})


def measure(pipeline: Pipeline, mode: str, frames: Any) -> dict[str, Any]:
    """Return the milliseconds of every frame, and of every stage where the mode has stages.

    sequential: a frame is handed over when the label of the one before is there. pipelined: the
    time between a label and the next, but for the frames that fill the pipeline, and the last ones,
    behind which nothing is handed over. kernel:
    the network's stage alone. stages: each stage. On a GPU the last two are measure_alone's.
    """
    frame_ms: list[float] = []
    stage_ms: dict[str, list[float]] = {}
    if mode == "pipelined":
        start = time.perf_counter()
        for _ in pipeline.stream(frames):
            now = time.perf_counter()
            frame_ms.append((now - start) * 1e3)
            start = now
        return {"frame_ms": frame_ms[SLOTS:-SLOTS], "stage_ms": stage_ms}
    for frame in frames:
        start = time.perf_counter()
        pipeline(frame)
        whole = (time.perf_counter() - start) * 1e3
        frame_ms.append(pipeline.stage_ms["network"] if mode == "kernel" else whole)
        if mode == "stages":
            for stage, milliseconds in pipeline.stage_ms.items():
                stage_ms.setdefault(stage, []).append(milliseconds)
    return {"frame_ms": frame_ms, "stage_ms": stage_ms}


def peak_host_bytes() -> int | None:
    """Return the largest resident size of this process so far, libraries included; None where the
    system doesn't say."""
    # Not getrusage: that starts with the size of the process that forked this one.
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return None
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
