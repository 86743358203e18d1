"""contextnet-bench: our speed and that of what a user would write instead, in turn in one run."""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from contextnet_ros.files import UserError, check_writable, run_command, write_json
from contextnet_ros.inference import OUTPUTS, model_path
from contextnet_ros.inference.backend import choose_device, choose_precision, choose_threads
from contextnet_ros.network import VARIANTS, NetworkSize, load_weights
from contextnet_ros.provenance import provenance
from contextnet_ros.tools.bench_ceilings import ceilings, moved_bytes, multiply_adds
from contextnet_ros.tools.bench_coarse import COARSE
from contextnet_ros.tools.bench_gpu import add_overlap, inputs
from contextnet_ros.tools.bench_inputs import load_frames, random_weights
from contextnet_ros.tools.bench_pipelines import PIPELINES, Setting
from contextnet_ros.tools.bench_report import (
    PAPER_FPS,
    Row,
    add_ratios,
    make_row,
    paper_table,
    plot,
    table,
)
from contextnet_ros.tools.bench_worker import MODES, Unavailable, Worker
from contextnet_ros.tools.evaluate import parse_size
from contextnet_ros.tools.media import write_image

PROG = "contextnet-bench"

EXAMPLES = """examples:
  contextnet-bench
      every backend that is installed, from frame to label at 1024x2048
  contextnet-bench --modes sequential pipelined kernel stages --sizes 512x1024 --backends ours torch
  contextnet-bench --input ~/frames --json bench.json --plot bench.png
  contextnet-bench --variants cn14 cn18 cn12 cn124 --backends ours --modes kernel
  contextnet-bench --paper
      the paper's Table 7 beside this machine

modes: sequential hands over a frame when the label of the one before is there; pipelined streams
them; kernel is the network alone, or on a GPU all between the copies; stages gives each stage, on a
GPU each alone; coarse, on a CPU only, is the folded network of every backend but torch, from its
image to logits of 1/8 of the size. Each backend runs in a process of its own, in turn, on
frames that change every time. On a GPU ours is measured with frames in pinned and in pageable
memory; with precision auto the peer torch runs in float32, torch-channels-last and torch-compile
(max-autotune) in float16. On a CPU ours and openvino then choose, the other peers have float32.
"""


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog=PROG,
        description="Measure frames per second, milliseconds and memory of ours and its peers.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = result.add_argument
    add("--model", nargs="+", help="names in models/, or weight files (default: default)")
    add("--variants", nargs="+", choices=VARIANTS, help="networks of random weights to measure")
    add("--backends", nargs="+", choices=PIPELINES, help="(default: all; with --paper ours)")
    add("--modes", nargs="+", choices=MODES, help="(default: sequential, stages)")
    add("--sizes", nargs="+", type=parse_size, help="HEIGHTxWIDTH of frames (default: 1024x2048)")
    add("--outputs", nargs="+", choices=OUTPUTS, default=["label"], help="of ours; peers: label")
    add("--precision", nargs="+", default=["auto"], help="auto, float32, float16, bfloat16")
    add("--network-size", default="frame", help="of ours; peers: frame (default: %(default)s)")
    add("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    add("--threads", type=int, help="of the CPU (default: all that this process may use)")
    add("--input", type=Path, help="folder of images (default: generated street scenes)")
    add("--frames", type=int, default=8, help="different frames to use (default: %(default)s)")
    add("--rounds", type=int, default=5, help="turns of each backend (default: %(default)s)")
    add("--turn", type=int, default=6, help="frames of one turn (default: %(default)s)")
    add("--paper", action="store_true", help="print Table 7's ContextNet rows beside ours")
    add("--json", type=Path, help="write header and rows to this file")
    add("--plot", type=Path, help="draw the rows into this .png")
    return result


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(lambda: _bench(parser().parse_args(argv)), PROG)


def _bench(options: argparse.Namespace) -> int:
    check_writable(options.json, options.plot)
    for name in ("frames", "rounds", "turn"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name} {getattr(options, name)} is out of range: choose 1 or more")
    if options.plot is not None and options.plot.suffix != ".png":
        raise UserError(f"plot {options.plot} does not end in .png: name it so")
    device = choose_device(options.device)
    threads = choose_threads(options.threads)
    for precision in options.precision:
        choose_precision(precision, device)
    sizes = options.sizes or (list(PAPER_FPS) if options.paper else list(PAPER_FPS)[:1])
    modes = options.modes or (["sequential", "pipelined"] if options.paper else list(MODES[::3]))
    if COARSE in modes and device.type != "cpu":
        raise UserError(
            f"mode {COARSE} is not available on {device}: choose others or --device cpu"
        )
    backends = options.backends or (["ours"] if options.paper else list(PIPELINES))
    rows: list[Row] = []
    unavailable: list[dict[str, Any]] = []
    models = options.model or ([] if options.variants else ["default"])
    if options.paper and options.network_size != "frame":
        raise UserError(
            f"--paper is of networks that see the whole frame, --network-size is "
            f"{options.network_size}: leave one of them out"
        )
    with tempfile.TemporaryDirectory(prefix="contextnet-bench-") as folder:
        weights = [model_path(name) for name in models]
        weights += random_weights(options.variants or (), Path(folder))
        stems = Counter(path.stem for path in weights)
        for height, width in sizes:
            frames = Path(folder) / f"{height}x{width}.npy"
            np.save(frames, load_frames(options.input, options.frames, height, width))
            for path, precision in itertools.product(weights, options.precision):
                settings = [
                    Setting(
                        backend=backend,
                        weights=path,
                        # As contextnet-train calls its best ones in each of its folders.
                        model=path.stem if stems[path.stem] == 1 else str(path),
                        network_size=options.network_size,
                        device=str(device),
                        precision=precision,
                        outputs=tuple(options.outputs) if backend == "ours" else ("label",),
                        height=height,
                        width=width,
                        num_threads=threads,
                        input=memory,
                    )
                    for backend in backends
                    for memory in inputs(backend, device.type, modes)
                ]
                rows += measure_in_turn(settings, modes, frames, options, unavailable)
    add_ratios(rows)
    add_overlap(rows)
    result = {
        "command": PROG,
        **header(options, str(device), threads),
        "ceilings": ceilings(
            device, threads, bfloat16=any(row["precision"] == "bfloat16" for row in rows)
        ),
        "rows": rows,
        "unavailable": unavailable,
    }
    print(
        f"{result['provenance']['device']}, threads: {threads}, network size {options.network_size}"
    )
    print(table(rows))
    for missing in unavailable:
        what = f"{missing['backend']} of {missing['model']} at {missing['size']}"
        print(f"not measured: {what}, precision {missing['precision']}: {missing['reason']}")
    if options.paper:
        print(f"\n{paper_table([result])}")
    write_json(options.json, result)
    if not rows:
        raise UserError("nothing was measured: choose other backends or modes")
    if options.plot is not None:
        write_image(options.plot, plot(rows))
    return 0


def measure_in_turn(
    settings: Sequence[Setting],
    modes: Sequence[str],
    frames: Path,
    options: argparse.Namespace,
    unavailable: list[dict[str, Any]],
) -> list[Row]:
    """Return a row for each mode of each setting; they take turns, one at a time.

    What can't run, or not to the end, is noted in `unavailable` and has no rows; raises UserError
    where that is ours.
    """
    rows = []
    with ExitStack() as stack:
        workers = []
        # Compiling alone may take a minute.
        for setting in tqdm(settings, desc="starting", delay=2, unit="backend"):
            try:
                worker = Worker(setting, frames)
            except Unavailable as error:
                _miss(setting, error, unavailable)
                continue
            stack.callback(worker.close)
            workers.append(worker)
        _compare_labels(workers)
        of_workers = [_modes(worker.setting, modes) for worker in workers]
        measured: dict[tuple[int, str], dict[str, Any]] = {
            (index, mode): {"frame_ms": [], "stage_ms": {}}
            for index, of_worker in enumerate(of_workers)
            for mode in of_worker
        }
        turns = [
            (mode, index)
            for _ in range(options.rounds)
            for mode in modes
            for index, of_worker in enumerate(of_workers)
            if mode in of_worker
        ]
        ended = set()
        for mode, index in tqdm(turns, desc="measuring", delay=2, unit="turn"):
            if index in ended:
                continue
            try:
                found = workers[index].turn(mode, options.turn)
            except Unavailable as error:
                _miss(workers[index].setting, error, unavailable)
                ended.add(index)
                continue
            measured[index, mode]["frame_ms"] += found["frame_ms"]
            for stage, times in found["stage_ms"].items():
                measured[index, mode]["stage_ms"].setdefault(stage, []).extend(times)
        for index, worker in enumerate(workers):
            if index in ended:
                continue
            setting = worker.setting
            try:
                memory = worker.memory()
            except Unavailable as error:
                _miss(setting, error, unavailable)
                continue
            network, header_of = load_weights(setting.weights)
            seen = NetworkSize.parse(setting.network_size).resolve(setting.height, setting.width)
            of_network = {
                "network": header_of.network,
                "multiply_adds": multiply_adds(network, *seen),
                "moved_bytes": moved_bytes(network, *seen),
            }
            for mode in of_workers[index]:
                row = {**measured[index, mode], **memory}
                rows.append(make_row(setting, of_network, mode, worker.info, row))
    return sorted(rows, key=lambda row: modes.index(row["mode"]))


def _miss(setting: Setting, error: Unavailable, unavailable: list[dict[str, Any]]) -> None:
    """Note why a peer has no rows; raises UserError where it is ours."""
    size = f"{setting.height}x{setting.width}"
    if setting.backend == "ours":
        raise UserError(f"ours at {size} can't be measured: {error}") from error
    reason = {"backend": setting.backend, "size": size, "reason": str(error)}
    asked = {"model": setting.model, "precision": setting.precision}
    unavailable.append({**reason, **asked})


def _modes(setting: Setting, modes: Sequence[str]) -> list[str]:
    device_type = choose_device(setting.device).type
    return inputs(setting.backend, device_type, modes)[setting.input]


def _compare_labels(workers: Sequence[Worker]) -> None:
    """Note in what they said of themselves the share of pixels, of all frames, that are labelled as
    plain PyTorch does."""
    labels = [np.stack(worker.info.pop("labels")) for worker in workers]
    backends = [worker.setting.backend for worker in workers]
    plain = labels[backends.index("torch")] if "torch" in backends else None
    for worker, label in zip(workers, labels, strict=True):
        worker.info["label_agreement"] = None if plain is None else float((label == plain).mean())


def header(options: argparse.Namespace, device: str, threads: int) -> dict[str, Any]:
    """Return what was measured on what, as JSON holds it."""
    origin = provenance(device)
    for package in ("onnxruntime", "openvino"):
        try:
            origin["versions"][package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            origin["versions"][package] = None
    return {
        "provenance": origin,
        "device_type": device.partition(":")[0],
        "driver": _driver() if device.startswith("cuda") else None,
        "threads": threads,
        "network_size": options.network_size,
        "frames": "generated" if options.input is None else "images",
        "different_frames": options.frames,
        "rounds": options.rounds,
        "turn": options.turn,
    }


def _driver() -> str | None:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.splitlines()[0].strip()


if __name__ == "__main__":
    sys.exit(main())
