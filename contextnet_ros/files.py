"""What every command does with files and errors: whole files or none, one line or success."""

from __future__ import annotations

import errno
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PACKAGE = "contextnet_ros"

# What a ROS machine may lack, since rosdep does not bring it or no workspace is sourced.
_REMEDIES = {
    "torch": "pip install torch safetensors",
    "safetensors": "pip install safetensors",
    "rosbags": "pip install rosbags",
    "cv2": "apt install python3-opencv, or pip install opencv-python",
    "rclpy": "source the setup.bash of ROS 2, or pip install the wheels of requirements.txt",
}


class UserError(Exception):
    """A mistake that a user can mend: one line with what was wrong, the value, the remedy."""


def one_line(error: BaseException) -> str:
    """Return what an error says, without its line breaks, or what it is."""
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces it on success and is gone on failure.

    The temporary name keeps the suffix, since libraries choose a format by it. Missing parent
    folders are made. A link stays one, and what is no file, as /dev/stdout, is written as it is.
    Raises UserError where the file can't be written.
    """
    # Before links are followed: /dev/stdout leads to a name that is none where it is a pipe.
    special = _is_special(Path(path))
    target = Path(path) if special else Path(os.path.realpath(path))
    temporary = target if special else _temporary_beside(target, path)
    try:
        yield temporary
        if special:
            return
        # mkstemp makes files private; a finished file gets the permissions of any other.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        os.replace(temporary, target)
    except BrokenPipeError:
        raise  # a reader that has seen enough
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if not special:
            temporary.unlink(missing_ok=True)


def _is_special(path: Path) -> bool:
    """Whether it is a device or a pipe, which must not be replaced by a file."""
    try:
        return path.exists() and not path.is_file() and not path.is_dir()
    except OSError:
        # A folder that may not be looked into: writing there says so.
        return False


def _temporary_beside(target: Path, asked: str | os.PathLike[str]) -> Path:
    try:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        if target.parent.is_file():
            raise NotADirectoryError(errno.ENOTDIR, f"{target.parent} is no folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent
        )
        os.close(handle)
    except OSError as error:
        raise UserError(f"cannot write {asked}: {error.strerror}") from error
    return Path(name)


def check_writable(*paths: Path | None) -> None:
    """Raise UserError for the first that `atomic_write` could not write, before the work for it."""
    for path in paths:
        if path is not None and not _is_special(path):
            _temporary_beside(Path(os.path.realpath(path)), path).unlink()


def write_json(path: Path | None, result: object) -> None:
    """Write what JSON can hold to a file, whole or not at all; nothing where nobody asked for one.

    Raises UserError where the file can't be written.
    """
    if path is not None:
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def resource_dir(name: str) -> Path:
    """Folder `models`, `config` or `launch` of this installation.

    Found in the source tree (in place, or `pip install -e`), else under `share/contextnet_ros`
    of the prefix that holds this module (`pip install`, colcon) or of a sourced ROS workspace.
    Raises UserError where there is none.
    """
    module = Path(__file__).resolve()
    source_tree = module.parents[1]
    if (source_tree / "setup.py").is_file() and (source_tree / name).is_dir():
        return source_tree / name
    prefixes = [*module.parents, Path(sys.prefix)]
    prefixes += [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    for prefix in prefixes:
        candidate = prefix / "share" / PACKAGE / name
        if candidate.is_dir():
            return candidate
    raise UserError(f"the {name!r} folder of {PACKAGE} is missing: reinstall the package")


def run_command(main: Callable[[], int], prog: str | None = None) -> int:
    """Run a command's body: a UserError, a package that is missing, a path that can't be used and
    memory that ran out become one line on stderr and exit code 1."""
    prog = prog or Path(sys.argv[0]).name
    try:
        return main()
    except UserError as error:
        print(f"{prog}: error: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        # A part that a package lacks is another matter.
        if error.name not in _REMEDIES:
            raise
        told = f"{error.name} is not installed for {sys.executable}: {_REMEDIES[error.name]}"
        print(f"{prog}: error: {told}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) has gone: what it wanted to see, it has seen.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is not None:
            told = f"{error.filename} can't be used: {error.strerror}; give another path"
        elif error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            told = f"cannot write all of it: {error.strerror}"
        else:
            raise  # without a file's name it is no path that a user gave
        print(f"{prog}: error: {told}", file=sys.stderr)
        return 1
    except MemoryError as error:
        print(f"{prog}: error: not enough memory: {error or 'give less'}", file=sys.stderr)
        return 1


def list_files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Files below `folder` with one of the lower-case `suffixes`, sorted by path.

    Folders in it that may not be read are left out; raises OSError where it may not be itself.
    """
    os.scandir(folder).close()
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix.lower() in suffixes)
