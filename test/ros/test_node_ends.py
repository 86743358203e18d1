"""Ctrl-C in every state, and what can't be started: exit codes, one line, no traceback."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: the node's tests need ROS 2")

from ros_harness import TIMEOUT_S, next_domain, street

pytestmark = pytest.mark.ros


def catches(process, number):
    """Whether the process has a handler of its own for a signal that Python leaves alone."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    mask = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(mask.split()[1], 16) >> (number - 1) & 1)


def assert_ended_well(node, code):
    assert code == 0, node.output
    assert "Traceback" not in node.output
    assert "Error" not in node.output


def test_ctrl_c_ends_it_while_it_loads(start_node):
    node = start_node(next_domain())
    end = time.monotonic() + TIMEOUT_S
    while not catches(node.process, signal.SIGTERM):
        assert time.monotonic() < end
        time.sleep(0.002)
    assert_ended_well(node, node.stop())
    assert "listens to" not in node.output


def test_ctrl_c_ends_it_while_it_warms_up(start_node):
    node = start_node(next_domain(), warm_up_height=1024, warm_up_width=2048)
    node.wait_for_line("loaded")
    assert_ended_well(node, node.stop())
    assert "listens to" not in node.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_while_it_idles(start_node, number):
    node = start_node(next_domain()).wait_ready()
    assert_ended_well(node, node.stop(number))
    assert "ended: received 0 = superseded 0 + bad 0 + published 0 + pending 0" in node.output


def test_ctrl_c_once_more_while_it_ends_changes_nothing(start_node):
    node = start_node(next_domain()).wait_ready()
    node.process.send_signal(signal.SIGINT)
    node.wait_for_line("ended: ")
    assert_ended_well(node, node.stop())


def test_ctrl_c_twice_under_load_ends_it_after_the_frame_in_hand(start_node, open_peer):
    domain = next_domain()
    node = start_node(domain)
    peer = open_peer(domain)
    node.wait_ready()
    peer.wait_for_node()
    peer.watch_overlay(True)
    message = peer.message(street(512, 1024))
    for _ in range(15):
        peer.send(message)
        peer.spin_for(0.03)
    peer.spin_until(lambda: bool(peer.labels))
    peer.send(message)
    peer.send(message)
    node.process.send_signal(signal.SIGINT)
    # A terminal signals the whole group, and a launch file's process passes it on once more.
    assert_ended_well(node, node.stop())
    counts = node.wait_for_line("ended: received")
    numbers = [int(word) for word in counts.split(";")[0].split() if word.isdigit()]
    received, *fates = numbers
    assert received > 0
    assert received == sum(fates)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"overlay_opacity": 1.5}, ["overlay_opacity", "1.5", "from 0.0 to 1.0"]),
        ({"model": "/no/such.safetensors"}, ["/no/such.safetensors", "does not exist"]),
        ({"network_size": "huge"}, ["'huge'", "long_side"]),
    ],
)
def test_what_it_cannot_start_with_is_one_line_and_exit_code_1(start_node, parameters, said):
    node = start_node(next_domain(), **parameters)
    assert node.wait() == 1
    errors = [line for line in node.lines if line.startswith("segment_node: error: ")]
    assert len(errors) == 1
    for text in said:
        assert text in errors[0]
    assert "Traceback" not in node.output


def test_cuda_where_there_is_none_is_one_line_and_exit_code_1(start_node):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    node = start_node(next_domain(), device="cuda")
    assert node.wait() == 1
    assert node.wait_for_line("segment_node: error: ").count("cuda") > 0
    assert "Traceback" not in node.output


def test_a_missing_parameter_file_is_one_line_and_exit_code_1(start_node):
    node = start_node(next_domain(), "--params-file", "/no/such.yaml")
    assert node.wait() == 1
    assert "/no/such.yaml" in node.wait_for_line("segment_node: error: ")
    assert "Traceback" not in node.output
