"""Fill the figures into the documents from committed results: `make docs`.

A document holds blocks between `<!-- KIND FILE ... -->` and `<!-- end -->`; what stands between
is replaced. Kinds: `scores` (IoU per class, a column for each result of contextnet-eval), `demo`
(what a demo.json says), `bench`, `paper` and `peers` (rows of contextnet-bench, all, beside the
paper's, or ours beside the peers'), `bag` (rows of contextnet-bag-benchmark), `checks` (what `make
bench-node` and `make soak` set out to reach), `header` (recipe and licence out of a weight file),
`study` (a table of contextnet-study beside the paper's) and `camvid` (test scores beside published
ones); the last two, `bench`, `paper`, `bag` and `checks` say "not measured" where a file is not
there yet.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from contextnet_ros.files import UserError, atomic_write, run_command
from contextnet_ros.labels import CAMVID
from contextnet_ros.network import ContextNet, NetworkSize, count_parameters, load_weights
from contextnet_ros.tools import bag_tables, bench_report
from contextnet_ros.tools.bench_ceilings import multiply_adds
from contextnet_ros.training.studies import STUDIES
from contextnet_ros.training.studies.study import NOT_MEASURED, markdown, published

_BLOCK = re.compile(r"(<!-- (?P<kind>\w+) (?P<files>[^>]+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def fill(text: str, root: Path) -> str:
    """The document with every block made anew; raises UserError for a block that can't be."""

    def block(match: re.Match[str]) -> str:
        kind = match["kind"]
        if kind not in _KINDS:
            raise UserError(f"block {kind!r} is unknown; known: {', '.join(sorted(_KINDS))}")
        paths = [root / name for name in match["files"].split()]
        for path in paths:
            if not path.is_file() and kind not in _MAY_MISS:
                raise UserError(f"block {kind!r} names {path}, which does not exist")
        return f"{match[1]}{_KINDS[kind](paths)}\n{match[4]}"

    return _BLOCK.sub(block, text)


def scores_table(paths: Sequence[Path]) -> str:
    """IoU in percent: a row for each class, a column for each result."""
    results = [json.loads(path.read_text()) for path in paths]
    lines = ["| " + " | ".join(["class", *(_heading(r) for r in results)]) + " |"]
    lines.append("|---" * (len(results) + 1) + "|")
    for name in results[0]["iou_percent"]:
        values = [_percent(result["iou_percent"].get(name)) for result in results]
        lines.append("| " + " | ".join([name, *values]) + " |")
    means = [f"**{_percent(result['miou_percent'])}**" for result in results]
    lines.append("| " + " | ".join(["**mIoU**", *means]) + " |")
    notes = [f"`{p.name}`: {measured(r)}" for p, r in zip(paths, results, strict=True)]
    return "\n".join(lines) + "\n\n" + "\\\n".join(notes)


def _heading(result: dict[str, Any]) -> str:
    trained = " (trained on)" if result.get("trained_on") else ""
    return f"{result['model']}: {result['data']}{trained}, seen at {result['network_size']}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} %"


def measured(result: dict[str, Any]) -> str:
    """Device, versions, commit and date of a result in one line."""
    origin = result["provenance"]
    versions = ", ".join(f"{k} {v}" for k, v in origin["versions"].items() if v is not None)
    return (
        f"{origin['device']}, {origin['cpus']} CPU{'s' * (origin['cpus'] > 1)}; {versions}; "
        f"commit {_short(origin['commit'])}; {origin['date'][:10]}"
    )


def _short(commit: str | None) -> str:
    if commit is None:
        return "none"
    name, dash, dirty = commit.partition("-")
    return name[:12] + dash + dirty


def demo_table(paths: Sequence[Path]) -> str:
    """Rate, latency, every frame's fate and mIoU of demonstration runs, a row each."""
    lines = [
        "| input | frames answered | played at | latency p50 | latency p99 | mIoU |",
        "|---|---|---|---|---|---|",
    ]
    notes = []
    for path in paths:
        report = json.loads(path.read_text())
        frames, delay, score = report["frames"], report["latency"], report["score"]
        miou = "no truth" if score is None else _percent(score["miou_percent"])
        lines.append(
            f"| {report['input']['source']}, {', '.join(report['input']['sizes'])} "
            f"| {frames['monitored']} of {frames['in_bag']} | {report['sent_hz']:.1f} Hz "
            f"| {delay['p50_ms']:.0f} ms | {delay['p99_ms']:.0f} ms | {miou} |"
        )
        notes.append(f"`{path.name}`: {measured(report)}")
    return "\n".join(lines) + "\n\n" + "\\\n".join(notes)


def bench_table(paths: Sequence[Path]) -> str:
    """Every row of benchmarks, and what could not be measured."""
    parts = []
    for path in paths:
        if not path.is_file():
            parts.append(f"`{path.name}`: {NOT_MEASURED}")
            continue
        result = json.loads(path.read_text())
        parts.append(bench_report.table(result["rows"]))
        lines = [
            f"{missing['backend']} at {missing['size']} was not measured: {missing['reason']}"
            for missing in result["unavailable"]
        ]
        parts.append("\\\n".join([*lines, bench_note(path, result)]))
        parts.append(bench_report.roofline(result))
    return "\n\n".join(part for part in parts if part)


def bench_note(path: Path, result: dict[str, Any]) -> str:
    """What a benchmark was measured on and how, in one line."""
    return (
        f"`{path.name}`: {result['different_frames']} {result['frames']} frames, "
        f"{result['rounds']} turns of {result['turn']} frames, threads: {result['threads']}, "
        f"network size {result['network_size']}; {measured(result)}"
    )


def paper_rows(paths: Sequence[Path]) -> str:
    """Table 7's ContextNet rows beside those of benchmarks."""
    results = {path: json.loads(path.read_text()) for path in paths if path.is_file()}
    notes = [
        bench_note(path, results[path]) if path in results else f"`{path.name}`: {NOT_MEASURED}"
        for path in paths
    ]
    return "\n\n".join([bench_report.paper_table(list(results.values())), "\\\n".join(notes)])


def peers_rows(paths: Sequence[Path]) -> str:
    """Ours beside the peers, a line for each benchmark."""
    results = {path.name: json.loads(path.read_text()) for path in paths}
    return bench_report.peers_table(results)


def bag_table(paths: Sequence[Path]) -> str:
    """What bag benchmarks measured, each with the bag it was."""
    parts = []
    for path in paths:
        if not path.is_file():
            parts.append(f"`{path.name}`: {NOT_MEASURED}")
            continue
        report = json.loads(path.read_text())
        bag, model = report["input"], report["model"]
        about = f"{bag['frames']} frames of {bag['height']}x{bag['width']} ({bag['encoding']})"
        size = f"network size {model['network_size']}"
        parts.append(bag_tables.bag_rows(report))
        parts.append(f"`{path.name}`: {about}, model {model['name']}, {size}; {measured(report)}")
    return "\n\n".join(parts)


def checks_table(paths: Sequence[Path]) -> str:
    """What benchmarks set out to reach and what they measured."""
    results = {path: json.loads(path.read_text()) for path in paths if path.is_file()}
    notes = [
        f"`{path.name}`: {measured(results[path]) if path in results else NOT_MEASURED}"
        for path in paths
    ]
    table = [bag_tables.check_rows(list(results.values()))] if results else []
    return "\n\n".join([*table, "\\\n".join(notes)])


def header_block(paths: Sequence[Path]) -> str:
    """Size, licence and recipe that a weight file carries."""
    (path,) = paths
    network, header = load_weights(path)
    recipe = yaml.safe_dump(header.recipe, sort_keys=False, default_flow_style=None).rstrip()
    return "\n".join(
        [
            f"- network: {header.variant}, {count_parameters(network):,} parameters, "
            f"{header.table.num_classes} classes ({', '.join(header.table.names)})",
            f"- network size: {header.network_size} ({_seen(header.network_size, network)}), "
            f"{header.network_size.interpolation} interpolation",
            f"- data: {header.data_licence}",
            f"- package version: {header.package_version}",
            "",
            "```yaml",
            recipe,
            "```",
        ]
    )


def _seen(size: NetworkSize, network: ContextNet) -> str:
    shapes = [(360, 480), (1080, 1920), (1024, 2048)]
    return ", ".join(
        f"{h} x {w} is seen as {' x '.join(map(str, size.resolve(h, w)))} for "
        f"{_gmac(network, size, h, w)}"
        for h, w in shapes
    )


def _gmac(network: ContextNet, size: NetworkSize, height: int, width: int) -> str:
    return f"{multiply_adds(network, *size.resolve(height, width)) / 1e9:.2g} GMAC"


def study_table(paths: Sequence[Path]) -> str:
    """A study's table beside the published one; `NAME.json` or `NAME-anything.json` is of study
    NAME, and "not measured" as long as there is no such file."""
    (path,) = paths
    name = path.stem.partition("-")[0]
    if name not in STUDIES:
        raise UserError(f"block 'study' names {path}, which is of none of {', '.join(STUDIES)}")
    result = json.loads(path.read_text()) if path.is_file() else None
    note = f"`{path.name}`: {measured(result) if result else NOT_MEASURED}"
    return f"{STUDIES[name].table(result)}\n\n{note}"


def camvid_table(paths: Sequence[Path]) -> str:
    """mIoU on CamVid's test split: ours, of `NETWORK-camvid-test.json` where there is one, and the
    published ones."""
    rows, notes = [], []
    for path in paths:
        name, size, miou = path.stem.removesuffix("-camvid-test"), "-", NOT_MEASURED
        network = ContextNet(CAMVID.num_classes, name).eval()
        count = f"{count_parameters(network):,}"
        if path.is_file():
            result = json.loads(path.read_text())
            cost = _gmac(network, NetworkSize.parse(result["network_size"]), 360, 480)
            size, miou = f"{result['network_size']}, {cost}", _percent(result["miou_percent"])
            notes.append(f"`{path.name}`: {measured(result)}")
        rows.append([f"**{name}**", count, size, miou, "here"])
    for name, row in sorted(published()["camvid_test"].items(), key=lambda item: item[1]["miou"]):
        rows.append(
            [name, f"{row['parameters']} M", "480 x 360", f"{row['miou']} %", row["source"]]
        )
    heads = ["network", "parameters", "network size", "mIoU, CamVid test", "source"]
    return "\n\n".join([markdown(heads, rows), *(["\\\n".join(notes)] if notes else [])])


_MAY_MISS = ("study", "camvid", "bench", "paper", "bag", "checks")
_KINDS: dict[str, Callable[[Sequence[Path]], str]] = {
    "scores": scores_table,
    "demo": demo_table,
    "bench": bench_table,
    "paper": paper_rows,
    "peers": peers_rows,
    "bag": bag_table,
    "checks": checks_table,
    "header": header_block,
    "study": study_table,
    "camvid": camvid_table,
}


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="document", description=__doc__)
    parser.add_argument("documents", nargs="+", type=Path)
    parser.add_argument("--root", type=Path, default=Path(), help="folder the blocks' files are in")
    parser.add_argument("--check", action="store_true", help="change nothing, fail if one is stale")
    return run_command(lambda: _document(parser.parse_args(argv)), "document")


def _document(options: argparse.Namespace) -> int:
    stale = []
    for path in options.documents:
        text = path.read_text()
        filled = fill(text, options.root)
        if filled != text:
            stale.append(str(path))
            if not options.check:
                with atomic_write(path) as temporary:
                    temporary.write_text(filled)
    if options.check and stale:
        raise UserError(f"stale: {', '.join(stale)}; run `make docs`")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
