"""Fixtures for tests with the real node: weights, processes, a camera, a bag."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from ros_harness import NodeProcess, Peer, next_domain, set_dds_environment

from contextnet_ros.labels import CAMVID
from contextnet_ros.network import ContextNet, WeightHeader, save_weights
from contextnet_ros.ros.bag_make import BagFormat, make_bag
from contextnet_ros.ros.frame_sources import generated_source


@pytest.fixture(scope="session", autouse=True)
def dds_environment():
    """Before any test, since the process's first participant reads it for all that follow."""
    set_dds_environment()


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
    peers = []

    def open_on(domain):
        peers.append(Peer(domain))
        return peers[-1]

    yield open_on
    for peer in peers:
        peer.close()


@pytest.fixture(scope="module")
def load_stand_in():
    """Let every node of this process load this instead of a network."""
    with pytest.MonkeyPatch.context() as patch:

        def load(segmenter):
            loader = SimpleNamespace(load=lambda *_arguments, **_options: segmenter)
            patch.setattr("contextnet_ros.ros.node.Segmenter", loader)
            return segmenter

        yield load


@pytest.fixture
def stand_in(load_stand_in):
    """One for this test alone."""
    from stand_in import StandIn

    return load_stand_in(StandIn())


@pytest.fixture(scope="module")
def make_served(open_peer):
    """Serve nodes, one after the other, each with a peer; see stand_in.serve."""
    from stand_in import serve

    running = []

    def make(stand_in, *arguments, **parameters):
        while running:
            running.pop().close()
        domain = next_domain()
        peer = open_peer(domain)
        served = serve(stand_in, domain, *arguments, **parameters)
        running.append(served)
        served.peer = peer
        return served

    yield make
    while running:
        running.pop().close()


@pytest.fixture
def serve_node(make_served):
    """A node that serves one test, its peer matched unless `waits` is false."""

    def make(stand_in, *arguments, waits=True, **parameters):
        served = make_served(stand_in, *arguments, **parameters)
        if waits:
            served.peer.wait_for_node()
        return served

    return make


@pytest.fixture(scope="module")
def street_bag(tmp_path_factory):
    """A bag of three small compressed frames of a generated street."""
    path = tmp_path_factory.mktemp("bags") / "street"
    source = generated_source(frames=3, height=64, width=128, seed=1)
    make_bag(source, path, BagFormat(storage="mcap", compressed="jpeg"), progress=False)
    return path
