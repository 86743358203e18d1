"""Real processes over DDS for the node's tests: the node in one, a camera and a reader here."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
DDS_PROFILE = REPOSITORY / "config" / "dds" / "fastdds.xml"
# Generous: on a busy machine importing torch alone can take most of a minute.
TIMEOUT_S = 120.0

# Domains above 101 collide with ephemeral ports. Starting at the process id keeps apart test runs
# that go on at once.
_domains = (1 + number % 100 for number in itertools.count(os.getpid()))


def next_domain() -> int:
    """A ROS_DOMAIN_ID that no other test of this run has, nor another run now."""
    for domain in itertools.islice(_domains, 100):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                # Port of the first participant's discovery (RTPS 9.6.2.3): taken means in use.
                probe.bind(("127.0.0.1", 7400 + 250 * domain + 10))
            except OSError:
                continue
            return domain
    raise RuntimeError("every ROS domain of this machine is in use")


def set_dds_environment() -> None:
    """Keep discovery on this machine and give shared memory room for images.

    Read once a process, so it has to come before the first node.
    """
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    for name in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
        os.environ.setdefault(name, str(DDS_PROFILE))


def street(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth random BGR image (H, W, 3), on which a random network gives several classes."""
    coarse = np.random.default_rng(seed).integers(
        0, 256, (max(2, height // 16), max(2, width // 16), 3), dtype=np.uint8
    )
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


class NodeProcess:
    """`segment_node` in a process of its own, its output collected line by line."""

    def __init__(self, domain: int, *arguments: str, **parameters: object) -> None:
        pairs = [("-p", f"{name}:={value}") for name, value in parameters.items()]
        command = [sys.executable, "-m", "contextnet_ros.ros.segment_node", "--ros-args"]
        command += [*itertools.chain.from_iterable(pairs), *arguments]
        self.process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env={**os.environ, "ROS_DOMAIN_ID": str(domain), "RCUTILS_COLORIZED_OUTPUT": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def wait_for_line(self, text: str) -> str:
        """The first line with this text; fails when the process ends or time is up."""
        end = time.monotonic() + TIMEOUT_S
        while time.monotonic() < end:
            found = [line for line in self.lines if text in line]
            if found:
                return found[0]
            if self.process.poll() is not None:
                self._reader.join()
                break
            time.sleep(0.02)
        raise AssertionError(f"no line with {text!r} in:\n{self.output}")

    def wait_ready(self) -> NodeProcess:
        self.wait_for_line("listens to")
        return self

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        try:
            code = self.process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"the node did not end:\n{self.output}") from None
        self._reader.join(TIMEOUT_S)
        return code

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def resident_bytes(self) -> int:
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


class Peer:
    """A camera and a reader of all that the node publishes, on a context of their own."""

    def __init__(self, domain: int, image: str = "/image", node: str = "/segmenter") -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import Image

        self.image_type = Image
        self.node_name = node
        self.labels: list[Image] = []
        self.overlays: list[Image] = []
        self.diagnostics: list[dict[str, dict[str, str]]] = []
        self.statuses: list[dict] = []
        self.arrays: list[DiagnosticArray] = []
        self.sent = 0
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("peer", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.image = image
        self.open_camera(QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT))
        self._collecting: dict[str, object] = {}
        self.node.create_subscription(Image, f"{node}/label", self.labels.append, 10)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._overlay_subscription = None

    def _on_diagnostics(self, array) -> None:
        self.arrays.append(array)
        self.statuses.append({status.name: status for status in array.status})
        self.diagnostics.append(
            {
                status.name: {pair.key: pair.value for pair in status.values}
                for status in array.status
            }
        )

    def open_camera(self, qos) -> None:
        self.camera = self.node.create_publisher(self.image_type, self.image, qos)

    def close_camera(self) -> None:
        self.node.destroy_publisher(self.camera)

    def watch_overlay(self, watch: bool) -> None:
        if watch and self._overlay_subscription is None:
            self._overlay_subscription = self.node.create_subscription(
                self.image_type, f"{self.node_name}/overlay", self.overlays.append, 10
            )
            self.spin_until(lambda: self.node.count_publishers(f"{self.node_name}/overlay") > 0)
            # The node's side matches a moment after ours.
            self.spin_for(0.5)
        elif not watch and self._overlay_subscription is not None:
            self.node.destroy_subscription(self._overlay_subscription)
            self._overlay_subscription = None

    def spin_until(self, done: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> None:
        end = time.monotonic() + timeout_s
        while not done():
            assert time.monotonic() < end, f"timed out: {len(self.labels)} labels"
            self.executor.spin_once(timeout_sec=0.05)

    def spin_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.executor.spin_once(timeout_sec=min(left, 0.02))

    def wait_for_node(self) -> Peer:
        self.spin_until(
            lambda: (
                self.camera.get_subscription_count() > 0
                and self.node.count_publishers(f"{self.node_name}/label") > 0
            )
        )
        self.spin_for(0.5)
        return self

    def message(self, pixels: np.ndarray, encoding: str = "bgr8", frame_id: str = "camera"):
        """An unpadded sensor_msgs/Image of (H, W) or (H, W, C) bytes, stamped in the past."""
        message = self.image_type()
        message.header.frame_id = frame_id
        message.header.stamp.sec, message.header.stamp.nanosec = 1234567890, 987654321
        message.height, message.width = pixels.shape[:2]
        message.step = pixels.nbytes // pixels.shape[0]
        message.encoding = encoding
        message.data.frombytes(np.ascontiguousarray(pixels))
        return message

    def send(self, message) -> None:
        self.camera.publish(message)
        self.sent += 1

    def ask(self, message, also: Callable[[], object] = lambda: True):
        """Send a frame and return the label that answers it, told by its frame id.

        Best effort: a frame lost on the way is sent again, and one whose other outputs don't come
        (`also`), since the node may have learned of their reader only later.
        """
        self.labels.clear()
        self.overlays.clear()

        def answer():
            return [m for m in self.labels if m.header.frame_id == message.header.frame_id]

        for _ in range(4):
            self.send(message)
            try:
                self.spin_until(lambda: bool(answer()) and bool(also()), TIMEOUT_S / 4)
            except AssertionError:
                continue
            return answer()[0]
        raise AssertionError("the frame was not answered")

    def wait_for_status(self, name: str, text: str):
        """The first status of this name, of those that come from now on, that says the text."""
        self.statuses.clear()
        said: set[str] = set()

        def found():
            said.update(one[name].message for one in self.statuses if name in one)
            return [one[name] for one in self.statuses if text in one[name].message]

        try:
            self.spin_until(lambda: bool(found()), TIMEOUT_S / 2)
        except AssertionError:
            raise AssertionError(f"{name} never said {text!r}, but {said}") from None
        return found()[0]

    def call(self, kind, service: str, request):
        """The response of a service of the node."""
        client = self.node.create_client(kind, f"{self.node_name}/{service}")
        try:
            self.spin_until(client.service_is_ready)
            future = client.call_async(request)
            self.spin_until(future.done)
            return future.result()
        finally:
            self.node.destroy_client(client)

    def set_parameters(self, **values):
        """Results of the node's own service, one for each parameter."""
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        messages = [Parameter(n, value=value).to_parameter_msg() for n, value in values.items()]
        request = SetParameters.Request(parameters=messages)
        return self.call(SetParameters, "set_parameters", request).results

    def set_parameters_together(self, **values):
        """The one result of setting all or none."""
        from rcl_interfaces.srv import SetParametersAtomically
        from rclpy.parameter import Parameter

        messages = [Parameter(n, value=value).to_parameter_msg() for n, value in values.items()]
        request = SetParametersAtomically.Request(parameters=messages)
        return self.call(SetParametersAtomically, "set_parameters_atomically", request).result

    def change_state(self, label: str) -> bool:
        """Whether a transition of the lifecycle succeeded."""
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        request = ChangeState.Request(transition=Transition(label=label))
        return self.call(ChangeState, "change_state", request).success

    def state(self) -> str:
        from lifecycle_msgs.srv import GetState

        return self.call(GetState, "get_state", GetState.Request()).current_state.label

    def collect(self, kind, topic: str, qos=10) -> list:
        """What comes on another topic from now on."""
        messages: list = []
        self._collecting[topic] = self.node.create_subscription(kind, topic, messages.append, qos)
        self.spin_until(lambda: self.node.count_publishers(topic) > 0)
        # The node's side matches a moment after ours.
        self.spin_for(0.5)
        return messages

    def drop(self, topic: str) -> None:
        """Collect no more of this topic."""
        self.node.destroy_subscription(self._collecting.pop(topic))

    def counts(self) -> dict[str, int]:
        """The frames' fates in the latest diagnostics."""
        return frame_counts(self.diagnostics[-1])

    def wait_for_counts(self, accept: Callable[[dict[str, int]], bool]) -> dict[str, int]:
        """The first counts, of those that come from now on, that are accepted."""
        self.diagnostics.clear()
        self.spin_until(lambda: bool(self.diagnostics) and accept(self.counts()))
        return self.counts()

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.shutdown()


def frame_counts(diagnostics: dict[str, dict[str, str]], name: str = "frames") -> dict[str, int]:
    """The whole numbers of the status `segmenter: frames`, or another of this name."""
    values = diagnostics[f"segmenter: {name}"]
    return {key: int(value) for key, value in values.items() if value.isdigit()}


def to_array(message, channels: int = 1) -> np.ndarray:
    """Pixels of an unpadded 8-bit message, (H, W) or (H, W, C)."""
    shape = (message.height, message.width) + ((channels,) if channels > 1 else ())
    return np.frombuffer(message.data, np.uint8).reshape(shape)
