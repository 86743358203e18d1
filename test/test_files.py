"""Whole files or none; one line or success."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from contextnet_ros.files import (
    UserError,
    atomic_write,
    check_writable,
    list_files,
    resource_dir,
    run_command,
    write_json,
)


def test_a_file_appears_whole_with_the_permissions_of_any_other(tmp_path: Path) -> None:
    target, other = tmp_path / "a" / "x.json", tmp_path / "other"
    with atomic_write(target) as temporary:
        assert temporary.suffix == ".json"
        assert temporary.parent == target.parent
        temporary.write_text("new")
        assert not target.exists()
    other.write_text("")
    assert target.read_text() == "new"
    assert target.stat().st_mode == other.stat().st_mode
    assert [p.name for p in target.parent.iterdir()] == ["x.json"]


def test_what_can_not_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    target = tmp_path / "a" / "x.json"
    check_writable(None, target)
    assert list(target.parent.iterdir()) == []
    with pytest.raises(UserError, match=f"cannot write {target.parent}: it is a folder"):
        check_writable(target, target.parent)
    target.write_text("old")
    check_writable(target)
    assert target.read_text() == "old"
    with pytest.raises(UserError, match=r"cannot write .*y\.json: .*x\.json is no folder"):
        check_writable(target / "y.json")


def test_a_link_stays_one_and_what_is_no_file_is_written_as_it_is(tmp_path: Path) -> None:
    file, link, pipe = (tmp_path / name for name in ("file", "link", "pipe"))
    file.write_text("old")
    link.symlink_to(file)
    check_writable(link)
    with atomic_write(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert file.read_text() == "new"
    os.mkfifo(pipe)
    check_writable(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with atomic_write(pipe) as temporary:
        temporary.write_text("through")
    assert os.read(reader, 20) == b"through"
    os.close(reader)
    # As where its reader has gone: a command ends with success then.
    with pytest.raises(BrokenPipeError), atomic_write(pipe):
        raise BrokenPipeError
    assert pipe.is_fifo()


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "x.json"
    target.write_text("old")

    def fail_half_way() -> None:
        with atomic_write(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a full disk")
def test_a_device_that_takes_nothing_is_one_line_and_stays() -> None:
    with pytest.raises(UserError, match=r"cannot write /dev/full: No space left"):
        write_json(Path("/dev/full"), {"a": 1})
    assert Path("/dev/full").is_char_device()


def test_output_that_nothing_takes_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def print_to_a_full_disk() -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    assert run_command(print_to_a_full_disk, "tool") == 1
    assert (
        capsys.readouterr().err == "tool: error: cannot write all of it: No space left on device\n"
    )


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No space left"), atomic_write(tmp_path / "x"):
        raise OSError(28, "No space left on device")


def test_a_folder_that_can_not_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match=r"cannot write .*file/x"),
        atomic_write(tmp_path / "file" / "x"),
    ):
        pass


def test_resources_of_this_tree_are_found_and_others_are_not() -> None:
    assert (resource_dir("config") / "segment.yaml").is_file()
    with pytest.raises(UserError, match="'no_such_folder'"):
        resource_dir("no_such_folder")


def test_a_package_that_is_missing_is_told_with_what_installs_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def without(name: str) -> int:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    assert run_command(lambda: without("torch"), "x") == 1
    told = capsys.readouterr().err
    assert f"x: error: torch is not installed for {sys.executable}: pip install torch" in told
    assert len(told.splitlines()) == 1
    for part in ("contextnet_ros.gone", "rclpy._rclpy_pybind11"):
        with pytest.raises(ModuleNotFoundError):
            run_command(lambda part=part: without(part), "x")


def test_commands_end_in_one_line_and_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise UserError("value 3 is wrong: use 4")

    def interrupt() -> int:
        raise KeyboardInterrupt

    assert run_command(lambda: 0, "x") == 0
    assert run_command(fail, "x") == 1
    assert capsys.readouterr().err == "x: error: value 3 is wrong: use 4\n"
    assert run_command(interrupt, "x") == 130


def test_what_the_system_refuses_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def enormous() -> int:
        raise MemoryError("Unable to allocate 28 GiB")

    def broken() -> int:
        raise OSError("of no file")

    assert run_command(lambda: Path("x" * 300).stat().st_size, "x") == 1
    assert run_command(lambda: len(list_files(tmp_path / "gone", (".png",))), "x") == 1
    assert run_command(enormous, "x") == 1
    long, gone, memory = capsys.readouterr().err.splitlines()
    assert long.endswith("x can't be used: File name too long; give another path")
    assert gone.startswith(f"x: error: {tmp_path / 'gone'} can't be used: No such file")
    assert memory == "x: error: not enough memory: Unable to allocate 28 GiB"
    with pytest.raises(OSError, match="of no file"):
        run_command(broken, "x")
