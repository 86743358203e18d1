"""The commands that setup.py installs: each loads its module where a missing package is told."""

from __future__ import annotations

import importlib
from functools import partial

from contextnet_ros.files import run_command


def _start(module: str, prog: str) -> int:
    def run() -> int:
        code: int = importlib.import_module(f"contextnet_ros.{module}").main()
        return code

    return run_command(run, prog)


segment_node = partial(_start, "ros.segment_node", "segment_node")
bag_benchmark = partial(_start, "ros.bag_benchmark", "contextnet-bag-benchmark")
bag_make = partial(_start, "ros.bag_make", "contextnet-bag-make")
bench = partial(_start, "tools.bench", "contextnet-bench")
evaluate = partial(_start, "tools.evaluate", "contextnet-eval")
export = partial(_start, "tools.export", "contextnet-export")
prune = partial(_start, "tools.prune", "contextnet-prune")
segment = partial(_start, "tools.segment", "contextnet-segment")
study = partial(_start, "tools.study", "contextnet-study")
train = partial(_start, "tools.train", "contextnet-train")
