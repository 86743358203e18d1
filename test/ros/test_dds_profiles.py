"""The settings in config/dds, and which variables they need; no ROS is needed."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import pytest

from contextnet_ros.files import UserError, resource_dir
from contextnet_ros.ros import dds_profiles
from contextnet_ros.ros.dds_profiles import PROFILES, profile_variables, shared_memory_fault

FOLDER = resource_dir("config") / "dds"
FASTDDS = {"FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"}
FRAME_BYTES = 1024 * 2048 * 3


@pytest.mark.parametrize(
    ("middleware", "variables", "file"),
    [
        (None, FASTDDS, "fastdds.xml"),
        ("rmw_fastrtps_cpp", FASTDDS, "fastdds.xml"),
        ("rmw_cyclonedds_cpp", {"CYCLONEDDS_URI"}, "cyclonedds.xml"),
        ("rmw_zenoh_cpp", {"ZENOH_SESSION_CONFIG_URI"}, "zenoh.json5"),
    ],
)
def test_auto_sets_the_variables_of_the_middleware_in_use(middleware, variables, file):
    environment = {"RMW_IMPLEMENTATION": middleware} if middleware else {}
    found = profile_variables("auto", environment)
    scheme = "file://" if middleware == "rmw_cyclonedds_cpp" else ""
    assert found == dict.fromkeys(variables, f"{scheme}{FOLDER / file}")


def test_auto_leaves_a_middleware_alone_that_no_profile_is_for():
    assert profile_variables("auto", {"RMW_IMPLEMENTATION": "rmw_connextdds"}) == {}


@pytest.mark.parametrize("profile", ["none", ""])
def test_none_sets_nothing(profile):
    assert profile_variables(profile, {}) == {}


@pytest.mark.parametrize("name", PROFILES)
def test_what_the_user_has_set_is_left_alone(name):
    environment = {"RMW_IMPLEMENTATION": PROFILES[name].middleware[0]}
    assert profile_variables(name, environment)
    for variable in PROFILES[name].variables:
        assert profile_variables(name, {**environment, variable: "/mine"}) == {}


def test_a_profile_of_a_middleware_not_in_use_is_refused_with_the_remedy():
    with pytest.raises(UserError, match="export RMW_IMPLEMENTATION=rmw_zenoh_cpp"):
        profile_variables("zenoh", {"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"})
    with pytest.raises(UserError, match="ROS uses rmw_fastrtps_cpp"):
        profile_variables("cyclonedds", {})


@pytest.mark.parametrize("name", PROFILES)
def test_a_file_of_ones_own_is_known_by_what_it_holds(tmp_path, name):
    shipped = FOLDER / PROFILES[name].file
    mine = tmp_path / f"mine{shipped.suffix}"
    mine.write_text(shipped.read_text())
    environment = {"RMW_IMPLEMENTATION": PROFILES[name].middleware[0]}
    found = profile_variables(str(mine), environment)
    assert set(found) == set(PROFILES[name].variables)
    assert all(value.endswith(str(mine)) for value in found.values())


def test_a_file_that_is_not_there_is_refused_with_the_names_there_are(tmp_path):
    with pytest.raises(UserError, match=r"fastdds, cyclonedds, zenoh") as caught:
        profile_variables(str(tmp_path / "none.xml"), {})
    assert "\n" not in str(caught.value)


def test_every_file_in_the_folder_is_a_profile():
    assert {p.name for p in FOLDER.iterdir()} == {p.file for p in PROFILES.values()}


def test_shared_memory_has_room_for_several_large_frames():
    fastdds = ElementTree.parse(FOLDER / "fastdds.xml").getroot()
    (segment,) = (e.text for e in fastdds.iter() if e.tag.endswith("}segment_size"))
    (largest,) = (e.text for e in fastdds.iter() if e.tag.endswith("}maxMessageSize"))
    assert int(segment) >= 15 * FRAME_BYTES
    assert int(largest) > FRAME_BYTES
    (pool,) = re.findall(r"pool_size: (\d+),", (FOLDER / "zenoh.json5").read_text())
    assert int(pool) >= 15 * FRAME_BYTES
    cyclone = ElementTree.parse(FOLDER / "cyclonedds.xml").getroot()
    (buffer,) = (e for e in cyclone.iter() if e.tag.endswith("}SocketReceiveBufferSize"))
    assert buffer.get("max") == "16MiB"
    assert buffer.get("min") is None, (
        "a kernel that gives less must not keep the node from starting"
    )


@pytest.mark.parametrize(
    ("free", "whole", "says"),
    [
        (63, 64, "has 63 of 64 MiB free.*128 a process.*--shm-size"),
        (100, 2048, "has 100 of 2048 MiB free.*remove what ended processes have left"),
        (400, 512, ""),
    ],
)
def test_shared_memory_without_room_for_the_profile_is_told(monkeypatch, free, whole, says):
    blocks = SimpleNamespace(f_frsize=1 << 20, f_bavail=free, f_blocks=whole)
    monkeypatch.setattr(dds_profiles.os, "statvfs", lambda _: blocks)
    environment = profile_variables("fastdds", {})
    fault = shared_memory_fault(environment)
    assert re.search(says, fault) if says else fault == ""
    assert shared_memory_fault({}) == ""
    assert shared_memory_fault({**environment, "RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}) == ""
    assert shared_memory_fault(dict.fromkeys(environment, "/mine.xml")) == ""


def test_shared_memory_that_is_missing_is_told(tmp_path):
    fault = shared_memory_fault(profile_variables("fastdds", {}), str(tmp_path / "shm"))
    assert "shm can't be used (No such file or directory)" in fault
