"""Child processes of a measurement: started apart, listened to, and all stopped at the end."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from contextnet_ros.files import UserError
from contextnet_ros.ros.dds_profiles import profile_variables
from contextnet_ros.ros.distro import on_this_machine_only

# What each signal is given to work before the next, harsher one.
_STOPPING_S = ((signal.SIGINT, 10.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0))

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Event = dict[str, Any]


class Child:
    """One process in a group of its own: JSON events come in, command lines go out."""

    def __init__(self, name: str, module: str, args: list[str], env: Mapping[str, str], log: Path):
        self.name = name
        self.log = log
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        log.write_bytes(b"")
        # Both appending, since the reader writes to the same file.
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *args],
                env=dict(env),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                # A group of its own: Ctrl-C reaches us alone, and we stop all in order.
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.log.open("ab") as log:
            for line in self.process.stdout:
                try:
                    event = json.loads(line)
                    self.events.put({"from": self.name, **event})
                except (ValueError, TypeError):
                    log.write(line)
                    log.flush()

    def send(self, *words: object) -> None:
        """Send one command line; a process that has ended does not get it."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):
            self.process.stdin.write((" ".join(map(str, words)) + "\n").encode())
            self.process.stdin.flush()

    def check(self) -> None:
        """Raise UserError with the last line of its log when the process has ended."""
        code = self.process.poll()
        if code is None:
            return
        # Its own last words are worth more than the exit code.
        self._reader.join(1.0)
        lines = self.log.read_text(errors="replace").strip().splitlines()
        last = lines[-1].strip() if lines else "it said nothing"
        raise UserError(f"the {self.name} ended with exit code {code}: {last} (log: {self.log})")

    def signal_group(self, number: int) -> None:
        """Signal every process of the group that is left."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)

    def gone(self) -> bool:
        """Whether the process and its whole group have ended."""
        if self.process.poll() is None:
            return False
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            # macOS says so of a group that only a zombie is left of.
            return True
        return False


class Children:
    """All child processes of one measurement, stopped together when the context ends."""

    def __init__(self, env: Mapping[str, str], logs: Path) -> None:
        self.env = env
        self.logs = logs
        self.all: list[Child] = []
        logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, name: str, module: str, args: list[str]) -> Child:
        """Start `python -m module args`; its stderr goes to NAME.log."""
        # An interrupt between the two would leave a process that nobody stops.
        with _ending_signals_held():
            child = Child(name, module, args, self.env, self.logs / f"{name}.log")
            self.all.append(child)
        return child

    def wait(
        self,
        child: Child,
        kind: str,
        timeout_s: float,
        also: Callable[[Event], None] = lambda _: None,
    ) -> Event:
        """Next event of `kind` from `child`; `also` sees every event of all children meanwhile.

        Raises UserError when any child ends first, or when the event does not come in time.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for event in self.poll():
                also(event)
                if event["from"] == child.name and event["event"] == kind:
                    return event
            for other in self.all:
                other.check()
            time.sleep(0.02)
        raise UserError(
            f"the {child.name} did not get to {kind!r} within {timeout_s:.0f} s (log: {child.log})"
        )

    def poll(self) -> Iterator[Event]:
        """Events that have come since, those of each child in order."""
        for child in self.all:
            while True:
                try:
                    yield child.events.get_nowait()
                except queue.Empty:
                    break

    def stop(self) -> None:
        """Stop what is left: SIGINT, then SIGTERM, then SIGKILL, to whole groups, and wait."""
        with _signals_ignored():
            for number, patience_s in _STOPPING_S:
                left = [child for child in self.all if not child.gone()]
                for child in left:
                    child.signal_group(number)
                deadline = time.monotonic() + patience_s
                while time.monotonic() < deadline and not all(c.gone() for c in left):
                    time.sleep(0.02)
            for child in self.all:
                child.process.wait()
                for stream in (child.process.stdin, child.process.stdout):
                    if stream is not None:
                        with contextlib.suppress(OSError, ValueError):
                            stream.close()


@contextlib.contextmanager
def _ending_signals_held() -> Iterator[None]:
    """Let what would end this process come only afterwards.

    By handlers, not by a blocked mask, which a child would inherit.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    kept = {n: signal.signal(n, lambda number, _frame: came.append(number)) for n in _ENDING}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
        for late in came:
            signal.raise_signal(late)


@contextlib.contextmanager
def _signals_ignored() -> Iterator[None]:
    # A second Ctrl-C must not leave half of the processes behind.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {n: signal.signal(n, signal.SIG_IGN) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def ending_signals_as_interrupt() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into KeyboardInterrupt, so that they too run what stops children."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    kept = {n: signal.signal(n, interrupt) for n in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def private_environment() -> dict[str, str]:
    """Environment for processes that meet each other over DDS and nobody else on the network.

    A free ROS domain, this machine only, and the package's profile of the middleware in use
    unless the user has set one.
    """
    env = on_this_machine_only(os.environ)
    env["ROS_DOMAIN_ID"] = str(_free_domain())
    return {**env, **profile_variables("auto", env)}


def _free_domain() -> int:
    # Up to 101 the ports of a domain lie below those that Linux hands out by itself.
    domains = list(range(1, 102))
    random.shuffle(domains)
    for domain in domains:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                # Port of the first participant's discovery (RTPS 9.6.2.3): taken means in use.
                probe.bind(("127.0.0.1", 7400 + 250 * domain + 10))
            except OSError:
                continue
            return domain
    return domains[0]
