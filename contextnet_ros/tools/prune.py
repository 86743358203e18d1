"""contextnet-prune: fewer feature maps, keeping the filters with the largest l1 sums."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from contextnet_ros import __version__
from contextnet_ros.files import UserError, check_writable, run_command, write_json
from contextnet_ros.inference import model_path
from contextnet_ros.network import count_parameters, load_weights, save_weights
from contextnet_ros.provenance import provenance
from contextnet_ros.training.pruning import prune
from contextnet_ros.training.recipe_values import as_setting

EXAMPLES = """examples:
  contextnet-prune --model runs/wide/best.safetensors --width 1.5 -o runs/wide/1.5.safetensors
      then train on: contextnet-train --set width=1.5 --set init=runs/wide/1.5.safetensors ...
      the paper goes from 2 to 1.5, 1.25 and 1, training on after each
"""


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="contextnet-prune",
        description="Prune a network to a smaller width. The result needs training on.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("--model", required=True, help="name in models/, or a weight file")
    result.add_argument(
        "--width", type=float, required=True, help="feature maps that stay, times the variant's"
    )
    result.add_argument("-o", "--output", type=Path, required=True, help="weight file to write")
    result.add_argument("--json", type=Path, help="write the counts of parameters to this file")
    return result


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(lambda: _prune(parser().parse_args(argv)), "contextnet-prune")


def _prune(options: argparse.Namespace) -> int:
    if options.output.suffix != ".safetensors":
        raise UserError(f"-o {options.output}: the name of a weight file ends with .safetensors")
    check_writable(options.output, options.json)
    network, header = load_weights(model_path(options.model))
    pruned = prune(network, options.width)
    # The scores are those of the network before: none has been measured of this one.
    header = replace(header, width=options.width, scores=[], package_version=__version__)
    save_weights(options.output, pruned, header)
    if options.json is not None:
        result = {
            "model": options.model,
            "output": str(options.output),
            "width": options.width,
            "parameters": count_parameters(pruned),
            "parameters_before": count_parameters(network),
            "provenance": provenance(),
        }
        write_json(options.json, result)
    ppm = " --set ppm=true" if header.ppm else ""
    print(
        f"{options.output}: {header.network}, {count_parameters(pruned):,} of "
        f"{count_parameters(network):,} parameters; train on with "
        f"--set variant={header.variant} --set width={options.width!r}{ppm} "
        f"--set {as_setting('init', str(options.output))}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
