"""contextnet-export: a weight file as ONNX, checked before it is kept."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from contextnet_ros.files import UserError, atomic_write, check_writable, run_command, write_json
from contextnet_ros.inference import model_path
from contextnet_ros.inference.backend import onnx_remedy
from contextnet_ros.inference.preprocess import Normalizer
from contextnet_ros.network import ContextNet, load_weights
from contextnet_ros.network.contextnet import padded_size
from contextnet_ros.provenance import provenance
from contextnet_ros.tools.evaluate import parse_size
from contextnet_ros.training.datasets import FIRST_UNSEEN_SEED
from contextnet_ros.training.scenes import MIN_SIDE, render_frame

PROG = "contextnet-export"

EXAMPLES = """examples:
  contextnet-export default -o default.onnx
      normalized images of any size that divides by the network's size multiple in (32; of cn18 64,
      of cn12 16), logits of 1/8 of it out
  contextnet-export default -o default.onnx --size 1024x2048 --fused-ends both
      camera bytes (BGR) in, label map out
  contextnet-export runs/mine/best.safetensors -o mine.onnx --fused-ends front --json check.json
docs/export.md tells how to use the file, and how to build a TensorRT engine from it.
"""

FUSED_ENDS = {
    "none": ("images", "logits"),
    "front": ("frame", "logits"),
    "back": ("images", "label"),
    "both": ("frame", "label"),
}
"""What --fused-ends means: the graph's input and output."""

TOLERANCE = 1e-4
"""Largest difference of logits from PyTorch's, as a share of the largest logit."""

# Sizes that stand for any: one that divides by every network's multiple, and one to be padded.
_CHECKED_SIZES = ((192, 320), (150, 205))


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog=PROG,
        description="Write a weight file as ONNX. The file is kept only if ONNX Runtime gives what "
        "PyTorch gives.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("model", help="name in models/, or a weight file")
    result.add_argument("-o", "--output", type=Path, required=True, help="the .onnx file")
    result.add_argument(
        "--size",
        type=parse_size,
        help="HEIGHTxWIDTH of what the network sees (default: any)",
    )
    result.add_argument(
        "--fused-ends",
        choices=FUSED_ENDS,
        default="none",
        help="front: takes camera bytes instead of normalized images; back: gives the label map "
        "instead of logits (default: %(default)s)",
    )
    result.add_argument("--json", type=Path, help="write the file's metadata and the check to this")
    return result


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(lambda: _export(parser().parse_args(argv)), PROG)


def _export(options: argparse.Namespace) -> int:
    try:
        import onnxruntime

        from contextnet_ros.inference.onnx_backend import make_session
        from contextnet_ros.inference.onnx_graph import build_graph, read_metadata
    except ImportError as error:
        raise UserError(f"onnx or onnxruntime can't be had ({error}): {onnx_remedy()}") from error
    if options.output.suffix != ".onnx":
        raise UserError(f"output {options.output} does not end in .onnx: name it so")
    check_writable(options.json)
    source, target = FUSED_ENDS[options.fused_ends]
    path = model_path(options.model)
    network, header = load_weights(path)
    size = _size(options.size, source, network.size_multiple)
    model = build_graph(network, header, size, source, target)
    with atomic_write(options.output) as temporary:
        temporary.write_bytes(model.SerializeToString())
        session = make_session(str(temporary), num_threads=torch.get_num_threads())
        checks = []
        for height, width in [size] if size else _CHECKED_SIZES:
            drawn = render_frame(FIRST_UNSEEN_SEED, 0, max(height, MIN_SIDE), max(width, MIN_SIDE))
            frame = np.ascontiguousarray(drawn.image_bgr[:height, :width])
            images = Normalizer(height, width, header)(frame)
            value = frame if source == "frame" else images.contiguous().numpy()
            (result,) = session.run(None, {source: value})
            checks.append(compare(result, target, network, images, (height, width)))
        for check in checks:
            if not check["passed"]:
                raise UserError(
                    f"ONNX Runtime {onnxruntime.__version__} differs from PyTorch on a frame of "
                    f"{_text(check['size'])} ({check['measure']} "
                    f"{check['difference']:.2g}), {options.output} was not written: report this"
                )
    worst = max(check["difference"] for check in checks)
    print(
        f"{options.output}: {path.stem}, {source} -> {target}, size "
        f"{_text(size) if size else 'any'}, "
        f"{options.output.stat().st_size / 1e6:.1f} MB; {checks[0]['measure']}: {worst:.2g}"
    )
    if header.network_size.kind != "frame":
        print(
            f"these weights want frames resized to network size {header.network_size} "
            f"({header.network_size.interpolation} interpolation) before the graph"
        )
    if options.json is not None:
        report = {
            "command": PROG,
            "model": path.stem,
            "file": options.output.name,
            "metadata": read_metadata(model),
            "checks": checks,
            "provenance": provenance(),
            "onnxruntime": onnxruntime.__version__,
        }
        write_json(options.json, report)
    return 0


def _size(size: tuple[int, int] | None, source: str, multiple: int) -> tuple[int, int] | None:
    if size is not None and source != "frame" and size != padded_size(*size, multiple):
        raise UserError(
            f"size {_text(size)} does not divide by {multiple}: choose "
            f"{_text(padded_size(*size, multiple))}, or --fused-ends front or both, which pad"
        )
    return size


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def compare(
    result: npt.NDArray[Any],
    target: str,
    network: ContextNet,
    images: torch.Tensor,
    size: tuple[int, int],
) -> dict[str, Any]:
    """Compare what a graph gave with PyTorch's float32 on the same images, as JSON holds it.

    `difference` is the largest one of the logits, as a share of the largest logit, or the share of
    the pixels with another label whose two largest logits PyTorch tells apart.
    """
    with torch.inference_mode():
        if target == "logits":
            expected = network.coarse_logits(images).numpy()
            difference = float(np.abs(result - expected).max() / np.abs(expected).max())
            measure, passed = "largest difference of logits", difference <= TOLERANCE
        else:
            height, width = result.shape[-2:]
            top = network(images)[0, :, :height, :width].topk(2, dim=0)
            gap = (top.values[0] - top.values[1]).numpy()
            clear = gap > TOLERANCE * float(top.values.abs().max())
            wrong = (result.reshape(height, width) != top.indices[0].numpy()) & clear
            difference = float(wrong.mean())
            measure, passed = "pixels with another label", not wrong.any()
    return {"size": list(size), "measure": measure, "difference": difference, "passed": passed}


if __name__ == "__main__":
    sys.exit(main())
