"""What a measurement ran on: device, versions, commit and date, for the JSON of its results."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from contextnet_ros import __version__

_PACKAGES = ("torch", "numpy", "rclpy")
# Of the container, as `docker run --cpus=2` sets it: microseconds of each period of so many.
_CPU_SHARE = Path("/sys/fs/cgroup/cpu.max")
# Arm's cpuinfo names no model; the second one is the board's, as NVIDIA Jetson AGX Orin.
_PROCESSOR_NAMES = (
    (Path("/proc/cpuinfo"), r"(?m)^model name\s*:(.+)"),
    (Path("/proc/device-tree/model"), r"([^\0]+)"),
)


def provenance(device: object = "cpu") -> dict[str, Any]:
    """Return device, cpus, system, versions, commit and date (UTC) as JSON holds them.

    `device`: a torch.device or its name. A version is None where the package isn't installed; the
    commit is None outside a checkout, and ends in "-dirty" where files differ from it.
    """
    return {
        "device": device_name(device),
        "cpus": usable_cpus(),
        "system": platform.platform(),
        "versions": {
            "contextnet_ros": __version__,
            "python": platform.python_version(),
            **{name: _version(name) for name in _PACKAGES},
            "opencv": _opencv_version(),
        },
        "commit": _commit(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def device_name(device: object = "cpu") -> str:
    """Return the model name of a GPU ("cuda", "cuda:1") or of the processor ("cpu")."""
    name = str(device)
    if name.startswith("cuda"):
        # Imported here, since reports on machines and bags need no torch.
        import torch

        return torch.cuda.get_device_name(name)
    for path, pattern in _PROCESSOR_NAMES:
        try:
            found = re.search(pattern, path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            continue
        if found is not None:
            return found.group(1).strip()
    return platform.processor() or platform.machine()


def resident_bytes() -> int:
    """Return the memory of this process that is in RAM; 0 where the system doesn't tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def available_bytes() -> int:
    """Return the memory that a process can still take; 0 where the system doesn't tell."""
    try:
        found = re.search(r"MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text())
    except OSError:
        return 0
    return 0 if found is None else int(found.group(1)) << 10


def usable_cpus() -> int:
    """Return how many processors this process may use, a container's share included."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = _CPU_SHARE.read_text(encoding="utf-8").split()
        return max(1, min(count, int(quota) // int(period)))
    # No such file, or "max": as many as there are.
    except (OSError, ValueError):
        return count


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _opencv_version() -> str | None:
    # Asked of the module: which distribution it came in (four on PyPI, one from apt) varies.
    try:
        import cv2
    except ImportError:
        return None
    return str(cv2.__version__)


def _commit() -> str | None:
    here = Path(__file__).resolve()

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here.parent), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout.strip()

    try:
        # An installed copy may lie in the checkout of another project, whose commit says nothing.
        git("ls-files", "--error-unmatch", here.name)
        return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return None
