"""Which variables give a process the settings for large images in config/dds.

No ROS is imported here: the launch files and the commands that start processes ask.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from contextnet_ros.files import UserError, resource_dir

# What ROS uses from Humble to Kilted where RMW_IMPLEMENTATION is not set.
_USUAL_MIDDLEWARE = "rmw_fastrtps_cpp"

# What fastdds.xml asks of shared memory for each process.
_SEGMENT_BYTES = 128 << 20


@dataclass(frozen=True)
class _Profile:
    """A file in config/dds, whom it is for, and the variables that name it there."""

    file: str
    middleware: tuple[str, ...]
    variables: tuple[str, ...]
    prefix: str = ""


PROFILES = {
    "fastdds": _Profile(
        "fastdds.xml",
        ("rmw_fastrtps_cpp", "rmw_fastrtps_dynamic_cpp"),
        # Kilted and later read the first, Humble and Jazzy the second.
        ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"),
    ),
    "cyclonedds": _Profile(
        "cyclonedds.xml", ("rmw_cyclonedds_cpp",), ("CYCLONEDDS_URI",), "file://"
    ),
    "zenoh": _Profile("zenoh.json5", ("rmw_zenoh_cpp",), ("ZENOH_SESSION_CONFIG_URI",)),
}


def profile_variables(profile: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Variables to set in `environment`, so that processes started with it use a profile.

    `profile` is auto (that of the middleware in use), a name in PROFILES, the path of a file of
    your own, or none. Empty where one of the variables is set already: the user has chosen.
    Raises UserError for a file that is missing and a profile of a middleware not in use.
    """
    middleware = _middleware(environment)
    path: Path | None = None
    if profile in ("", "none"):
        return {}
    if profile == "auto":
        name = next((n for n, p in PROFILES.items() if middleware in p.middleware), None)
        if name is None:
            return {}
    elif profile in PROFILES:
        name = profile
    else:
        path = Path(profile).expanduser()
        name = _name_of(path)
    chosen = PROFILES[name]
    if middleware not in chosen.middleware:
        raise UserError(
            f"dds_profile:={profile} is for {chosen.middleware[0]}, but ROS uses {middleware} "
            f"here: export RMW_IMPLEMENTATION={chosen.middleware[0]} for every process, the "
            "camera's too, or give dds_profile:=auto"
        )
    if any(environment.get(variable) for variable in chosen.variables):
        return {}
    path = path or resource_dir("config") / "dds" / chosen.file
    return dict.fromkeys(chosen.variables, f"{chosen.prefix}{path.resolve()}")


def _middleware(environment: Mapping[str, str]) -> str:
    return environment.get("RMW_IMPLEMENTATION") or _USUAL_MIDDLEWARE


def shared_memory_fault(environment: Mapping[str, str], folder: str = "/dev/shm") -> str:
    """Why the segment of fastdds.xml has no room in shared memory, and the remedy; empty where it
    has, and where Fast DDS is given no profile of ours. To be asked before there is a node, which
    makes one."""
    profile = PROFILES["fastdds"]
    ours = (resource_dir("config") / "dds" / profile.file).resolve()
    given = [environment.get(variable, "") for variable in profile.variables]
    used = any(Path(path).resolve() == ours for path in given if path)
    if not used or _middleware(environment) not in profile.middleware:
        return ""
    try:
        status = os.statvfs(folder)
    except OSError as error:
        return f"{folder} can't be used ({error.strerror}), and images travel by UDP: mount it"
    free, whole = (blocks * status.f_frsize for blocks in (status.f_bavail, status.f_blocks))
    if free > _SEGMENT_BYTES:
        return ""
    remedy = (
        "give the container --shm-size=512m or --ipc=host"
        if whole <= 2 * _SEGMENT_BYTES
        else "remove what ended processes have left there (fastdds_*, fastrtps_*)"
    )
    return (
        f"{folder} has {free >> 20} of {whole >> 20} MiB free, the DDS profile takes "
        f"{_SEGMENT_BYTES >> 20} a process, and large images get lost: {remedy}"
    )


def _name_of(path: Path) -> str:
    """Whose settings a file holds."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"dds_profile:={path} can't be read ({error}): give auto, none, "
            f"{', '.join(PROFILES)}, or the path of a file"
        ) from error
    if path.suffix in (".json5", ".json"):
        return "zenoh"
    return "cyclonedds" if "<CycloneDDS" in text else "fastdds"
