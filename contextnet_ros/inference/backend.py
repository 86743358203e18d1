"""What runs the network on the CPU: the bytes of a frame in, stride-8 logits out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from contextnet_ros.files import UserError
from contextnet_ros.inference.preprocess import Normalizer
from contextnet_ros.inference.recent import Recent
from contextnet_ros.network import ContextNet, WeightHeader, fold_batch_norm
from contextnet_ros.provenance import usable_cpus

# Behind "auto" in the order in which they are taken.
BACKENDS = ("auto", "openvino", "onnxruntime", "torch")
PRECISIONS = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
# There without any library of CUDA's; the last two are a Jetson's.
_DRIVER_FILES = ("/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/nvgpu")


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
        self._normalizers: Recent[tuple[int, ...], Normalizer] = Recent()
        self.device = device
        self.precision = precision
        self.num_threads = num_threads
        folded = fold_batch_norm(network)
        # torch's type hints leave this form of `to` out.
        self._network: ContextNet = folded.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def prepare(self, frame: npt.NDArray[np.uint8]) -> torch.Tensor:
        height, width = frame.shape[:2]
        normalize = self._normalizers.get(
            (height, width), lambda: Normalizer(height, width, self._header)
        )
        return normalize(frame)

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
    """Return the CPU's backend of a name in BACKENDS; "auto" is the fastest measured of those that
    are installed, with a note of what is missing for a faster one.

    `precision`: as `choose_precision` returns it; "auto" is bfloat16 where the processor computes
    in it and OpenVINO is there, float32 elsewhere. Raises UserError for an unknown name, and for a
    backend or a precision that can't be had here.
    """
    check_backend(name, device)
    asked, what, others = name, f"backend {name!r}", "choose backend auto or torch"
    if precision == "bfloat16":
        what, others = "precision 'bfloat16'", "choose precision auto or float32"
        if name not in ("auto", "openvino"):
            raise UserError(f"{what} is not for backend {name!r}: {others}")
        asked = "openvino"
    notes: list[str] = []
    for candidate in BACKENDS[1:] if asked == "auto" else [asked]:
        try:
            if candidate == "openvino":
                return _openvino(network, header, precision, num_threads, asked != "auto")
            if candidate == "onnxruntime":
                return _onnxruntime(network, header, num_threads, "; ".join(notes))
        except _LackingError as error:
            if asked != "auto":
                raise UserError(
                    f"{what} can't be had ({error.cause}): {error.remedy}, or {others}"
                ) from error
            if error.gain:
                notes.append(f"{error.gain}: {error.remedy} (now: {error.cause})")
    return TorchBackend(network, header, device, "float32", num_threads, "; ".join(notes))


class _LackingError(Exception):
    """A backend is not there: why, the remedy, and what that would gain, empty where nothing."""

    def __init__(self, cause: object = None, remedy: str = "", gain: str = "") -> None:
        super().__init__(cause)
        self.cause, self.remedy, self.gain = cause, remedy, gain


def _openvino(
    network: ContextNet, header: WeightHeader, precision: str, num_threads: int, asked: bool
) -> Backend:
    # Elsewhere it is not looked for: it would gain nothing.
    if not asked and (precision == "float32" or not _processor_has_bfloat16()):
        raise _LackingError
    try:
        # Imported here: an optional dependency, as the next one.
        from contextnet_ros.inference.openvino_backend import (
            OpenVinoBackend,
            computes_in_bfloat16,
        )

        if asked or computes_in_bfloat16():
            return OpenVinoBackend(network, header, precision, num_threads)
    # What an old release lacks, and what a broken one says.
    except (ImportError, AttributeError, RuntimeError) as error:
        newer = [] if isinstance(error, ImportError) else ["-U"]
        remedy = pip_install(*newer, "onnx", "openvino")
        raise _LackingError(error, remedy, "for this processor's bfloat16") from error
    raise _LackingError


def _onnxruntime(network: ContextNet, header: WeightHeader, num_threads: int, note: str) -> Backend:
    try:
        from contextnet_ros.inference.onnx_backend import OnnxRuntimeBackend
    except ImportError as error:
        raise _LackingError(error, onnx_remedy(), "for several times the speed") from error
    return OnnxRuntimeBackend(network, header, num_threads, note)


def _processor_has_bfloat16() -> bool:
    try:
        return "avx512_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False


def check_backend(name: str, device: torch.device) -> None:
    """Raise UserError unless `name` is one in BACKENDS, for that device."""
    if name not in BACKENDS:
        raise UserError(f"backend {name!r} is unknown: choose {', '.join(BACKENDS)}")
    if name not in ("auto", "torch") and device.type != "cpu":
        raise UserError(
            f"backend {name!r} is for the CPU, the device is {device}: choose device cpu, or "
            "backend auto or torch"
        )


def onnx_remedy() -> str:
    """Return the command that installs what ONNX Runtime needs here."""
    return pip_install("onnx", "onnxruntime")


def pip_install(*packages: str) -> str:
    """Return the command that installs packages here."""
    # Else pip would bring NumPy 2 to a ROS that was built against NumPy 1.
    keeping = "" if int(np.__version__.split(".")[0]) >= 2 else " 'numpy<2'"
    return f"pip install {' '.join(packages)}{keeping}"


def choose_device(name: str) -> torch.device:
    """Return the device that "auto", "cpu", "cuda" or "cuda:N" names; raises UserError if it
    isn't there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda") or name.startswith("cpu:"):
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


def unused_gpu(name: str) -> str:
    """Return why the device named `name` is no GPU although one is here, and the remedy; empty
    where it is one, where none is here, and where the processor is what was asked for."""
    here = any(Path(path).exists() for path in _DRIVER_FILES)
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if name != "auto" or not here or hidden or torch.cuda.is_available():
        return ""
    cuda = torch.version.cuda
    return (
        f"an NVIDIA GPU is here, but PyTorch {torch.__version__} "
        + ("has no CUDA" if cuda is None else f"can't use it with CUDA {cuda} and this driver")
        + ": install the build of torch for the driver's CUDA, or choose device cpu"
    )


def choose_precision(name: str, device: torch.device) -> str:
    """Return the precision that "auto" or a name means on `device`; on a CPU "auto" is left to the
    backend. Raises UserError for one that the device has not."""
    if name == "auto":
        return "float16" if device.type == "cuda" else name
    if name not in PRECISIONS:
        raise UserError(f"precision {name!r} is unknown: choose auto, {', '.join(PRECISIONS)}")
    if name == "float16" and device.type == "cpu":
        raise UserError(
            "precision 'float16' is slow and inexact on a CPU: choose auto, float32 or bfloat16"
        )
    if name == "bfloat16" and device.type == "cuda":
        raise UserError("precision 'bfloat16' is for a CPU: choose auto, float16 or float32")
    return name


def choose_threads(number: int | None) -> int:
    """Return `number`, or for None the processors this process may use; raises UserError for what
    is no whole number from one on."""
    if number is None:
        return usable_cpus()
    if not isinstance(number, int) or number < 1:
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
