"""Plots of benchmarks, docs/performance-NAME.png of docs/results/bench-NAME.json: `make docs`, or

python -m contextnet_ros.tools.bench_plot docs/results/bench-cpu.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from contextnet_ros.files import UserError, run_command
from contextnet_ros.tools.bench_report import plot
from contextnet_ros.tools.media import write_image


def picture_path(result: Path) -> Path:
    """Return where the plot of a committed result stands, one folder above it."""
    name = result.stem.removeprefix("bench-")
    return result.parent.parent / f"performance-{name}.png"


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="bench_plot", description=__doc__)
    parser.add_argument("results", nargs="+", type=Path, help="what contextnet-bench --json wrote")
    return run_command(lambda: _draw(parser.parse_args(argv).results), "bench_plot")


def _draw(results: Sequence[Path]) -> int:
    for path in results:
        if not path.is_file():
            raise UserError(
                f"result {path} does not exist: give what contextnet-bench --json wrote"
            )
        try:
            rows = json.loads(path.read_text())["rows"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is no result of contextnet-bench: {error!r}") from error
        if not rows:
            raise UserError(f"{path} has no rows: there is nothing to draw")
        write_image(picture_path(path), plot(rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
