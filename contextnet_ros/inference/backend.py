"""What runs the network on the CPU: the bytes of a frame in, stride-8 logits out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from contextnet_ros.files import UserError
from contextnet_ros.inference.preprocess import Normalizer
from contextnet_ros.network import ContextNet, WeightHeader, fold_batch_norm
from contextnet_ros.provenance import usable_cpus

BACKENDS = ("auto", "torch", "onnxruntime")
PRECISIONS = {"float32": torch.float32, "float16": torch.float16}


class Backend(Protocol):
    """Runs one folded network on the CPU.

    `note`: what is missing for a faster one, empty where nothing is.
    """

    name: str
    device: torch.device
    precision: str
    num_threads: int
    note: str

    def prepare(self, frame: npt.NDArray[np.uint8]) -> Any:
        """BGR bytes (H, W, 3) of the network's size, contiguous -> what `coarse_logits` takes, in a
        buffer that the next frame is written to."""

    def coarse_logits(self, prepared: Any) -> torch.Tensor:
        """Return logits (C, h, w) on the device, of the frame padded to multiples of the
        variant's."""


class TorchBackend:
    """PyTorch's own operators: the network folded, channels last, in evaluation mode.

    Keeps the thread count of its CPU work, and leaves the process's as it was.
    """

    name = "torch"

    def __init__(
        self,
        network: ContextNet,
        header: WeightHeader,
        device: torch.device,
        precision: str,
        num_threads: int,
        note: str = "",
    ) -> None:
        self.note = note
        self._header = header
        self._normalize: tuple[tuple[int, ...], Normalizer] | None = None
        self.device = device
        self.precision = precision
        self.num_threads = num_threads
        folded = fold_batch_norm(network)
        # torch's type hints leave this form of `to` out.
        self._network: ContextNet = folded.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def prepare(self, frame: npt.NDArray[np.uint8]) -> torch.Tensor:
        if self._normalize is None or self._normalize[0] != frame.shape:
            height, width = frame.shape[:2]
            self._normalize = frame.shape, Normalizer(height, width, self._header)
        return self._normalize[1](frame)

    def coarse_logits(self, prepared: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode(), _threads(self.num_threads):
            logits: torch.Tensor = self._network.coarse_logits(prepared)[0]
            return logits


def make_backend(
    name: str,
    network: ContextNet,
    header: WeightHeader,
    device: torch.device,
    precision: str,
    num_threads: int,
) -> Backend:
    """Return the CPU's backend of a name in BACKENDS; "auto" is the fastest measured, or torch with
    a note of what is missing for that one.

    Raises UserError for an unknown name, and for a backend that can't be had here.
    """
    check_backend(name, device)
    note = ""
    if name != "torch":
        try:
            # Imported here: an optional dependency.
            from contextnet_ros.inference.onnx_backend import OnnxRuntimeBackend
        except ImportError as error:
            remedy = onnx_remedy()
            if name == "onnxruntime":
                raise UserError(
                    f"backend 'onnxruntime' can't be had ({error}): {remedy}, or choose torch"
                ) from error
            note = f"for several times the speed: {remedy} (now: {error})"
        else:
            if network.ppm:
                if name == "onnxruntime":
                    raise UserError(
                        "backend 'onnxruntime' has no pyramid pooling: choose torch or auto"
                    )
                note = "ONNX Runtime has no pyramid pooling here"
                return TorchBackend(network, header, device, precision, num_threads, note)
            return OnnxRuntimeBackend(network, header, num_threads)
    return TorchBackend(network, header, device, precision, num_threads, note)


def check_backend(name: str, device: torch.device) -> None:
    """Raise UserError unless `name` is one in BACKENDS, for that device."""
    if name not in BACKENDS:
        raise UserError(f"backend {name!r} is unknown: choose {', '.join(BACKENDS)}")
    if name == "onnxruntime" and device.type != "cpu":
        raise UserError(
            f"backend 'onnxruntime' is for the CPU, the device is {device}: choose device cpu, or "
            "backend auto or torch"
        )


def onnx_remedy() -> str:
    """Return the command that installs what ONNX Runtime needs here."""
    # Else pip would bring NumPy 2 to a ROS that was built against NumPy 1.
    keeping = "" if int(np.__version__.split(".")[0]) >= 2 else " 'numpy<2'"
    return f"pip install onnx onnxruntime{keeping}"


def choose_device(name: str) -> torch.device:
    """Return the device that "auto", "cpu", "cuda" or "cuda:N" names; raises UserError if it
    isn't there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device {name!r} is unknown: choose auto, cpu, cuda or cuda:N")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise UserError(
                f"device {name!r} can't be had, PyTorch {torch.__version__} finds no CUDA GPU: "
                "choose cpu or auto, or install a driver and a CUDA build of torch"
            )
        if (device.index or 0) >= count:
            raise UserError(
                f"device {name!r} is not among the {count} GPUs: choose cuda:0 to cuda:{count - 1}"
            )
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """Return the precision that "auto" or a name means on `device`; raises UserError if it has
    none."""
    if name == "auto":
        return "float16" if device.type == "cuda" else "float32"
    if name not in PRECISIONS:
        raise UserError(f"precision {name!r} is unknown: choose auto, {' or '.join(PRECISIONS)}")
    if name == "float16" and device.type == "cpu":
        raise UserError("precision 'float16' is slow and inexact on a CPU: choose auto or float32")
    return name


def choose_threads(number: int | None) -> int:
    """Return `number`, or for None the processors this process may use; raises UserError below
    one."""
    if number is None:
        return usable_cpus()
    if number < 1:
        raise UserError(f"num_threads {number} is out of range: choose 1 or more, or None for all")
    return number


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    if before == number:
        yield
        return
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
