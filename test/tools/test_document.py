"""Figures in documents come out of the results, and only out of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from contextnet_ros.files import UserError, resource_dir
from contextnet_ros.tools import document

ROOT = resource_dir("models").parent
RESULT = {
    "model": "m",
    "data": "d",
    "network_size": "frame",
    "iou_percent": {"road": 91.25, "pole": None},
    "miou_percent": 91.25,
    "provenance": {
        "device": "a processor",
        "cpus": 2,
        "versions": {"torch": "9.9", "rclpy": None},
        "commit": "0123456789abcdef",
        "date": "2030-01-02T03:04:05+00:00",
    },
}


def test_a_block_is_filled_from_its_file_and_the_rest_is_left(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps(RESULT))
    text = "before\n<!-- scores r.json -->\nold\n<!-- end -->\nafter\n"
    filled = document.fill(text, tmp_path)
    assert filled.startswith("before\n<!-- scores r.json -->\n")
    assert filled.endswith("\n<!-- end -->\nafter\n")
    assert "old" not in filled
    assert "| road | 91.2 % |" in filled
    assert "| pole | - |" in filled
    assert "a processor, 2 CPUs; torch 9.9; commit 0123456789ab; 2030-01-02" in filled
    assert document.fill(filled, tmp_path) == filled


def test_a_dirty_tree_shows_in_the_document(tmp_path: Path) -> None:
    origin = {**RESULT["provenance"], "commit": "0123456789abcdef-dirty"}
    (tmp_path / "r.json").write_text(json.dumps({**RESULT, "provenance": origin}))
    filled = document.fill("<!-- scores r.json -->\n<!-- end -->\n", tmp_path)
    assert "commit 0123456789ab-dirty" in filled


def test_benchmarks_give_every_row_and_what_was_not_measured(tmp_path: Path) -> None:
    row = {
        "network": "cn14", "model": "m", "backend": "torch", "runs": "torch 9.9",
        "mode": "sequential", "precision": "float32", "outputs": ["label"],
        "height": 1024, "width": 2048, "fps": 0.8,
        "p50_ms": 1250.04, "p99_ms": 1300.0, "ratio_to_ours": 9.87, "stage_ms": None,
        "multiply_adds": 5e9, "peak_host_bytes": 7e8, "peak_device_bytes": None,
        "label_agreement": 1.0,
    }  # fmt: skip
    result = {
        "provenance": RESULT["provenance"], "device_type": "cpu", "threads": 2,
        "network_size": "frame", "frames": "generated", "different_frames": 8, "rounds": 5,
        "turn": 6, "ceilings": None, "rows": [row],
        "unavailable": [{"backend": "openvino", "size": "1024x2048", "reason": "no such module"}],
    }  # fmt: skip
    (tmp_path / "b.json").write_text(json.dumps(result))
    filled = document.fill("<!-- bench b.json -->\n<!-- end -->\n", tmp_path)
    assert "| 1250.0 | 1300.0 | 9.87 |" in filled
    assert "openvino at 1024x2048 was not measured: no such module" in filled
    assert "8 generated frames, 5 turns of 6 frames, threads: 2" in filled
    assert "a processor, 2 CPUs" in filled
    filled = document.fill("<!-- paper b.json -->\n<!-- end -->\n", tmp_path)
    assert "| 1024x2048 | sequential | 18.3 fps | not measured | not measured |" in filled
    blocks = "<!-- bench b.json gpu.json -->\n<!-- end -->\n<!-- paper gpu.json -->\n<!-- end -->\n"
    filled = document.fill(blocks, tmp_path)
    assert filled.count("`gpu.json`: not measured") == 2
    assert "| 1250.0 | 1300.0 | 9.87 |" in filled
    assert "| 1024x2048 | pipelined | 41.9 fps | not measured | not measured |" in filled


def test_check_changes_nothing_and_fails_on_a_stale_figure(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps(RESULT))
    path = tmp_path / "d.md"
    text = "<!-- scores r.json -->\n99.9\n<!-- end -->\n"
    path.write_text(text)
    arguments = [str(path), "--root", str(tmp_path)]
    assert document.main([*arguments, "--check"]) == 1
    assert path.read_text() == text
    assert document.main(arguments) == 0
    assert document.main([*arguments, "--check"]) == 0


@pytest.mark.parametrize("block", ["scores nowhere.json", "poem r.json"])
def test_a_block_that_can_not_be_filled_is_refused(tmp_path: Path, block: str) -> None:
    with pytest.raises(UserError, match=block.split()[0]):
        document.fill(f"<!-- {block} -->\n<!-- end -->\n", tmp_path)


def test_the_documents_hold_the_committed_figures() -> None:
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    documents += sorted((ROOT / "docs" / "models").glob("*.md"))
    assert {"performance.md", "results.md", "default.md"} <= {path.name for path in documents}
    for path in documents:
        text = path.read_text()
        assert document.fill(text, ROOT) == text, f"{path.name} is stale: run `make docs`"


def test_what_was_not_measured_says_so_until_there_is_a_result(tmp_path: Path) -> None:
    text = "<!-- camvid cn14-camvid-test.json -->\n<!-- end -->\n"
    filled = document.fill(text, tmp_path)
    assert "| **cn14** | 855,819 | - | not measured | here |" in filled
    assert "| DABNet | 0.76 M | 480 x 360 | 66.7 % | arXiv 1907.11357 |" in filled
    (tmp_path / "cn14-camvid-test.json").write_text(json.dumps(RESULT))
    filled = document.fill(filled, tmp_path)
    assert "| **cn14** | 855,819 | frame, 0.49 GMAC | 91.2 % | here |" in filled
    assert "`cn14-camvid-test.json`: a processor, 2 CPUs" in filled


def test_a_study_block_takes_the_study_from_the_name_of_its_file(tmp_path: Path) -> None:
    text = "<!-- study pruning-cityscapes.json -->\n<!-- end -->\n"
    filled = document.fill(text, tmp_path)
    assert "| paper, Cityscapes test | 64.2 % | 66.1 % | - | +1.9 |" in filled
    assert "`pruning-cityscapes.json`: not measured" in filled
    columns = {"direct": {"1": 50.0, "2": 52.0}, "pruned": {"1": 51.5, "2": 52.5}}
    runs = {"cn14": {"best": {"data": "frames"}}}
    result = {"runs": runs, "miou_percent": columns, "provenance": RESULT["provenance"]}
    (tmp_path / "pruning-cityscapes.json").write_text(json.dumps(result))
    filled = document.fill(filled, tmp_path)
    assert "| seed 2 | 52.0 % | 52.5 % | - | +0.5 |" in filled
    assert "| mean | 51.0 % | 52.0 % | - | +1.0 ± 0.7 |" in filled
    with pytest.raises(UserError, match="of none of"):
        document.fill("<!-- study poem.json -->\n<!-- end -->\n", tmp_path)


def test_bag_benchmarks_and_checks_give_their_figures_and_say_what_is_missing(
    tmp_path: Path,
) -> None:
    measurement = {
        "name": "peak 12 Hz", "fps": 11.96, "min_fps": 8.04, "missed_percent": 1.25,
        "latency": {"p50_ms": 40.04, "p90_ms": 50.0, "p99_ms": 61.0},
        "use": {"node_cpu_percent": None},
    }  # fmt: skip
    report = {
        "input": {"frames": 101, "height": 360, "width": 480, "encoding": "bgr8"},
        "model": {"name": "default", "network_size": "frame"},
        "measurements": [measurement],
        "score": {
            "miou_percent": 62.61, "classes": "cityscapes", "frames": 99,
            "frames_with_truth": 101, "category_miou_percent": 80.0,
        },
        "provenance": RESULT["provenance"],
    }  # fmt: skip
    checks = [
        {"what": "CPU", "measured": 1.234, "sign": "<=", "aim": 1.5, "unit": "x", "reached": True},
        {"what": "held", "measured": 98, "sign": ">=", "aim": 99.5, "unit": "%", "reached": False},
        {"what": "GPU", "measured": None, "sign": "<=", "aim": 2, "unit": "%", "reached": None},
    ]
    (tmp_path / "bag.json").write_text(json.dumps(report))
    result = {"checks": checks, "provenance": RESULT["provenance"]}
    (tmp_path / "node.json").write_text(json.dumps(result))
    bag = document.fill("<!-- bag bag.json -->\n<!-- end -->\n", tmp_path)
    row = "| peak 12 Hz | 12.0 | 8.0 | 40.0 ms | 50.0 ms | 61.0 ms | 1.2 % | not measured |"
    assert row in bag
    assert "mIoU 62.6 % in cityscapes classes, category mIoU 80.0 %" in bag
    assert "99 of 101 frames" in bag
    text = "<!-- checks node.json missing.json -->\n<!-- end -->\n"
    filled = document.fill(text, tmp_path)
    assert "| CPU | 1.23 x | at most 1.5 x | reached |" in filled
    assert "| held | 98.00 % | at least 99.5 % | missed |" in filled
    assert "| GPU | not measured | at most 2 % |  |" in filled
    assert "`missing.json`: not measured" in filled
    unmeasured = document.fill("<!-- bag missing.json -->\n<!-- end -->\n", tmp_path)
    assert "`missing.json`: not measured" in unmeasured
