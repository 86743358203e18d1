"""Fixtures for tests with the real node: weights, processes, a camera."""

from __future__ import annotations

import pytest
import torch
from ros_harness import NodeProcess, Peer, set_dds_environment

from contextnet_ros.labels import CAMVID
from contextnet_ros.network import ContextNet, WeightHeader, save_weights


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A weight file of a random network with 11 classes, whose labels hold several of them."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_weights(path, ContextNet(CAMVID.num_classes), WeightHeader(table=CAMVID))
    return path


@pytest.fixture(scope="module")
def start_node(weights):
    """Start `segment_node` with the random weights and a small warm-up; killed at the end.

    One thread, so that small frames don't wait for each other's threads on a busy machine.
    """
    set_dds_environment()
    nodes = []

    def start(domain, *arguments, **parameters):
        defaults = {"model": weights, "device": "cpu", "num_threads": 1}
        defaults |= {"warm_up_height": 96, "warm_up_width": 160}
        nodes.append(NodeProcess(domain, *arguments, **(defaults | parameters)))
        return nodes[-1]

    yield start
    for node in nodes:
        node.kill()


@pytest.fixture(scope="module")
def open_peer():
    """Open a camera and reader on a domain; closed at the end."""
    set_dds_environment()
    peers = []

    def open_on(domain):
        peers.append(Peer(domain))
        return peers[-1]

    yield open_on
    for peer in peers:
        peer.close()
