"""How a Segmenter is loaded, set and described, and what it says of what cannot be."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from contextnet_ros.files import UserError
from contextnet_ros.inference import Segmenter, compiled_upsample, list_models, postprocess
from contextnet_ros.inference import backend as backend_module
from contextnet_ros.labels import CITYSCAPES
from contextnet_ros.network import WeightFileError, save_weights


def test_without_a_compiler_numpy_makes_the_same_labels_and_a_note_says_so(
    network, header, make_frame, monkeypatch
):
    frame = make_frame(90, 120)
    label = Segmenter(network, header, device="cpu")(frame).label
    monkeypatch.setattr(postprocess, "COMPILED", False)
    # Nothing asks for it.
    monkeypatch.setattr(postprocess, "CompiledUpsample", None)
    monkeypatch.setattr(compiled_upsample, "NOTE", "no compiler")
    segmenter = Segmenter(network, header, device="cpu")
    np.testing.assert_array_equal(segmenter(frame).label, label)
    assert segmenter.note.endswith("no compiler")
    assert segmenter.describe().endswith(segmenter.note)


def test_network_size_follows_the_header_unless_another_is_given(network, header, make_frame):
    frame = make_frame(128, 192)
    half = replace(header, network_size=type(header.network_size).parse("scale 0.5"))
    from_header = Segmenter(network, half, device="cpu")
    given = Segmenter(network, header, device="cpu", network_size="scale 0.5")
    whole = Segmenter(network, half, device="cpu", network_size="frame")
    assert str(from_header.network_size) == "scale 0.5"
    np.testing.assert_array_equal(from_header(frame).label, given(frame).label)
    assert (from_header(frame).label != whole(frame).label).any()


@pytest.mark.parametrize(
    ("frame", "seen"),
    [
        ([[[0, 0, 0]]], "list"),
        (np.zeros((4, 4, 3), np.float32), "float32 (4, 4, 3)"),
        (np.zeros((4, 4), np.uint8), "uint8 (4, 4)"),
        (np.zeros((4, 4, 4), np.uint8), "uint8 (4, 4, 4)"),
        (np.zeros((0, 4, 3), np.uint8), "uint8 (0, 4, 3)"),
    ],
)
def test_another_kind_of_frame_is_refused_with_what_was_seen(segmenter, frame, seen):
    with pytest.raises(ValueError, match=seen.replace("(", r"\(").replace(")", r"\)")):
        segmenter(frame)


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("precision", "int4", "precision 'int4'.*float32"),
        ("precision", "float16", "float16.*CPU"),
        ("device", "tpu", "device 'tpu'.*cpu"),
        ("device", "vulkan", "device 'vulkan'.*cpu"),
        ("device", "cpu:3", "device 'cpu:3'.*cpu"),
        ("outputs", ("label", "depth"), "depth.*overlay"),
        ("outputs", "label", r"one text: give several, as \('label',\)"),
        ("network_size", "half", "'half'.*scale"),
        ("network_size", 5, "'5'.*scale"),
        ("overlay_opacity", 1.5, "1.5.*0 to 1"),
        ("num_threads", 0, "num_threads 0.*1 or more"),
        ("backend", "tensorflow", "backend 'tensorflow'.*onnxruntime"),
    ],
)
def test_an_impossible_option_is_one_line_with_value_and_remedy(
    network, header, option, value, says
):
    with pytest.raises(UserError, match=says) as error:
        Segmenter(network, header, **{"device": "cpu", option: value})
    assert "\n" not in str(error.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_where_there_is_none_is_refused(network, header):
    with pytest.raises(UserError, match=r"'cuda'.*no CUDA GPU.*cpu or auto"):
        Segmenter(network, header, device="cuda")
    assert Segmenter(network, header, device="auto").device == torch.device("cpu")


@pytest.mark.parametrize(
    ("cuda", "says"), [(None, "has no CUDA"), ("12.6", r"can't use it with CUDA 12\.6")]
)
def test_a_gpu_that_torch_cannot_use_is_told_unless_it_is_not_wanted(
    network, header, monkeypatch, tmp_path, cuda, says
):
    def note(device="auto"):
        return Segmenter(network, header, device=device).note

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(backend_module, "_DRIVER_FILES", (tmp_path / "driver",))
    assert "GPU" not in note()
    (tmp_path / "driver").touch()
    assert re.match(f"an NVIDIA GPU is here, .*{says}.*install the build of torch", note())
    assert "GPU" not in note("cpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "GPU" not in note()


def test_models_load_by_name_and_by_path(network, header, make_frame, tmp_path, monkeypatch):
    save_weights(tmp_path / "mine.safetensors", network, header)
    save_weights(tmp_path / "other.safetensors", network, header)
    monkeypatch.setattr("contextnet_ros.inference.models.resource_dir", lambda _: tmp_path)
    assert list_models() == ["mine", "other"]
    by_name = Segmenter.load("mine", device="cpu")
    monkeypatch.setenv("HOME", str(tmp_path))
    by_path = Segmenter.load("~/mine.safetensors", device="cpu")
    frame = make_frame(64, 64)
    np.testing.assert_array_equal(by_name(frame).label, by_path(frame).label)
    assert by_name.header == header
    with pytest.raises(UserError, match=r"'nobody'.*mine, other"):
        Segmenter.load("nobody")
    with pytest.raises(WeightFileError, match=r"missing\.safetensors does not exist"):
        Segmenter.load(tmp_path / "missing.safetensors")


def test_describe_is_one_line_with_all_that_runs(network, header):
    segmenter = Segmenter(
        network, header, "cpu", "float32", "scale 0.5", num_threads=1, name="mine"
    )
    line = segmenter.describe()
    assert "\n" not in line
    for part in ("mine", "cn14", "11", "test only", "scale 0.5", "cpu", "float32", "threads: 1"):
        assert part in line


def test_the_callers_network_and_thread_count_stay_as_they_were(
    network, header, make_frame, backend
):
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    threads = torch.get_num_threads()
    Segmenter(network, header, device="cpu", num_threads=threads + 1, backend=backend)(
        make_frame(64, 64)
    )
    assert torch.get_num_threads() == threads
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, weights[name], rtol=0, atol=0)


def test_torchs_network_runs_with_the_threads_asked_for(network, header, make_frame):
    threads = torch.get_num_threads() + 1
    segmenter = Segmenter(network, header, "cpu", num_threads=threads, backend="torch")
    seen = []
    segmenter._backend._network.detail.register_forward_pre_hook(
        lambda *_: seen.append(torch.get_num_threads())
    )
    segmenter(make_frame(64, 64))
    assert seen == [threads]


@pytest.mark.parametrize(
    "change", [{"variant": "cn18"}, {"width": 2.0}, {"ppm": True}, {"table": CITYSCAPES}]
)
def test_the_header_of_another_network_is_refused(network, header, change):
    with pytest.raises(ValueError, match=r"the header says .*, the network is cn14 x 1, ppm"):
        Segmenter(network, replace(header, **change), device="cpu")
