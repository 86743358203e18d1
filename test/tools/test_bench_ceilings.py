"""The roofline of contextnet-bench: what a network asks for, and what a machine can do."""

from __future__ import annotations

import sys

import pytest
import torch

from contextnet_ros.network import ContextNet
from contextnet_ros.tools import bench_ceilings
from contextnet_ros.tools.bench_ceilings import moved_bytes, multiply_adds
from contextnet_ros.tools.bench_report import roofline


def over_convolutions(network, images):
    """Multiply-adds and bytes, spelled out for images of the size asked for."""
    operations, moved = [], []

    def count(module, inputs, output):
        operations.append(output.numel() * module.weight[0].numel())
        moved.append(4 * (inputs[0].numel() + module.weight.numel() + output.numel()))

    hooks = [
        module.register_forward_hook(count)
        for module in network.modules()
        if isinstance(module, torch.nn.Conv2d)
    ]
    with torch.inference_mode():
        network.coarse_logits(images)
    for hook in hooks:
        hook.remove()
    return sum(operations), sum(moved)


def test_multiply_adds_of_cn14_are_the_papers_5_6_billion_and_scale_with_the_frame():
    network = ContextNet(11).eval()
    at_full_size = multiply_adds(network, 1024, 2048)
    assert at_full_size == pytest.approx(5.6e9, rel=0.02)
    assert multiply_adds(network, 512, 1000) * 4 == at_full_size


def test_multiply_adds_and_bytes_are_the_sums_over_convolutions_of_the_padded_frame():
    network = ContextNet(11).eval()
    operations, moved = over_convolutions(network, torch.zeros(1, 3, 96, 64))
    assert multiply_adds(network, 90, 64) == operations
    assert moved_bytes(network, 90, 64) == moved


def row(backend="ours", mode="stages", precision="float32", **stages):
    return {
        "backend": backend, "height": 70, "width": 100, "mode": mode, "precision": precision,
        "multiply_adds": 5 * 10**9, "moved_bytes": 10**9, "stage_ms": stages or None,
    }  # fmt: skip


def result(*rows, device_type="cpu", operations=100e9, copied=40e9):
    most = {"multiply_adds_per_s": operations, "copied_bytes_per_s": copied}
    return {"device_type": device_type, "ceilings": most, "rows": list(rows)}


def test_the_roofline_is_operations_and_bytes_over_their_ceilings_and_the_larger_one_limits():
    text = roofline(result(row(preprocess=3.0, network=100.0, postprocess=4.5)))
    assert "100 GMAC/s (a float32 matrix product), 40.0 GB/s" in text
    both = "multiply-adds 50.0 (5.00 GMAC), bytes 25.0 (1.00 GB)"
    assert f"| ours | 70x100 | float32 | 100.0 | {both} | multiply-adds | 50 % | 7.5 % |" in text
    text = roofline(result(row(network=100.0), copied=12.5e9))
    assert "bytes 80.0 (1.00 GB) | bytes | 80 % | 0.0 % |" in text


def test_the_roofline_of_bfloat16_is_that_of_its_product_and_of_half_the_bytes():
    rows = row(precision="bfloat16", network=50.0), row("torch", network=100.0)
    without = result(*rows)
    both = {**without["ceilings"], "bfloat16_multiply_adds_per_s": 200e9}
    *_, ours, peer = roofline({**without, "ceilings": both}).splitlines()
    floors = "multiply-adds 25.0 (5.00 GMAC), bytes 12.5 (0.50 GB)"
    assert ours == f"| ours | 70x100 | bfloat16 | 50.0 | {floors} | multiply-adds | 50 % | 0.0 % |"
    assert "| torch | 70x100 | float32 | 100.0 | multiply-adds 50.0 (5.00 GMAC)" in peer
    assert "bfloat16" not in roofline(without)


def test_a_roofline_without_rows_or_ceilings_is_an_empty_text():
    assert roofline(result(row(mode="kernel"), row(mode="sequential"))) == ""
    assert roofline({**result(row(network=1.0)), "ceilings": None}) == ""


def test_on_a_gpu_the_roofline_is_of_networks_timed_alone_in_half_precision():
    peer = row("torch", precision="float16", kernels=3.0)
    full = row("ours", network=9.0, kernels=9.5)
    half = {**row("ours", precision="float16", network=0.5, kernels=0.7), "input": "pinned"}
    most = {"operations": 1e14, "copied": 2e12}
    *_, only = roofline(result(peer, full, half, device_type="cuda", **most)).splitlines()
    both = "multiply-adds 0.050 (5.00 GMAC), bytes 0.250 (0.50 GB)"
    assert only == f"| ours | 70x100 | float16 | 0.500 | {both} | bytes | 50 % | 40.0 % |"
    assert roofline(result(peer, full, device_type="cuda", **most)) == ""


def test_ceilings_leave_the_thread_count_alone(monkeypatch):
    monkeypatch.setitem(bench_ceilings._MATRIX, "cpu", 64)
    monkeypatch.setitem(bench_ceilings._COPIED_BYTES, "cpu", 1000)
    threads = torch.get_num_threads()
    found = bench_ceilings.ceilings(torch.device("cpu"), threads + 1)
    assert all(value > 0 for value in found.values())
    assert "bfloat16_multiply_adds_per_s" not in found
    found = bench_ceilings.ceilings(torch.device("cpu"), threads + 1, bfloat16=True)
    assert found["bfloat16_multiply_adds_per_s"] > 0
    assert torch.get_num_threads() == threads


def test_a_cpu_does_the_faster_product_of_torch_and_onnx_runtime(monkeypatch):
    monkeypatch.setitem(bench_ceilings._MATRIX, "cpu", 64)
    monkeypatch.setitem(bench_ceilings._COPIED_BYTES, "cpu", 1000)
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    assert bench_ceilings._onnxruntime_multiply_adds(64, num_threads=1) > 0
    monkeypatch.setattr(bench_ceilings, "_onnxruntime_multiply_adds", lambda *_: 1e30)
    found = bench_ceilings.ceilings(torch.device("cpu"), num_threads=1)
    assert found["multiply_adds_per_s"] == 1e30
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "contextnet_ros.inference.onnx_backend", None)
    assert bench_ceilings._onnxruntime_multiply_adds(64, num_threads=1) == 0


def test_a_gpu_is_given_half_precision_and_is_waited_for(monkeypatch):
    cpu, waited, seen = torch.device("cpu"), [], []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    monkeypatch.setitem(bench_ceilings._MATRIX, "cuda", 64)
    monkeypatch.setitem(bench_ceilings._COPIED_BYTES, "cuda", 1000)
    measure = bench_ceilings.measure_ceilings

    def on_cpu(device, dtype, *rest):
        seen.append((device, dtype))
        return measure(cpu, dtype, *rest)

    monkeypatch.setattr(bench_ceilings, "measure_ceilings", on_cpu)
    gpu = torch.device("cuda", 0)
    found = bench_ceilings.ceilings(gpu, num_threads=1)
    assert seen == [(gpu, torch.float16)]
    # Before and after each measurement of both.
    assert waited == [gpu] * (2 * 2 * bench_ceilings._REPEATS)
    assert all(value > 0 for value in found.values())


def test_the_time_of_one_piece_of_work_is_that_of_all_queued_over_their_number(monkeypatch):
    clock = iter(range(10**6))
    monkeypatch.setattr(bench_ceilings.time, "perf_counter", lambda: float(next(clock)))
    cpu = torch.device("cpu")
    found = bench_ceilings.measure_ceilings(cpu, torch.float16, 8, 100, at_once=5)
    # A second passes between two looks at the clock.
    assert found == {
        "multiply_adds_per_s": pytest.approx(5 * 8**3),
        "copied_bytes_per_s": pytest.approx(5 * 2 * 100),
    }
