"""The Triton kernels through Triton's compiler, for GPUs that are not here.

Its interpreter, which the other tests of them use where there is no GPU, accepts what its compiler
refuses.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is not installed")


def test_kernels_compile_for_gpus_of_several_generations(tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    script = Path(__file__).with_name("compile_kernels.py")

    def run(capability):
        return subprocess.run(
            [sys.executable, str(script), capability],
            env={**environment, "TRITON_CACHE_DIR": str(tmp_path / capability)},
            capture_output=True,
            text=True,
            timeout=300,
        )

    with ThreadPoolExecutor() as threads:
        # Turing, Jetson Orin, Hopper.
        processes = list(threads.map(run, ("75", "87", "90")))
    compiled = set()
    for process in processes:
        assert process.returncode == 0, process.stderr
        # Nothing of Triton's for the users of a node to read.
        assert process.stderr == ""
        compiled.update(process.stdout.splitlines())
    assert {"_prepare uint8 float32 float16", "_finish float16 uint8 uint8"} <= compiled
    assert {"_prepare uint8 float32 float32", "_finish float32 uint8 uint8"} <= compiled
    assert {f"_{layer} float16 float16 float32" for layer in ("pointwise", "stem")} <= compiled
    assert "_separable float16 float16 float32" in compiled
