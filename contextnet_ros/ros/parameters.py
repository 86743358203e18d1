"""The node's parameters: what each means and may be. Their defaults stand in segment.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node

from contextnet_ros.files import UserError, resource_dir

DEFAULTS_FILE = "segment.yaml"


@dataclass(frozen=True)
class Spec:
    """One parameter: its type is the type of its default in segment.yaml."""

    name: str
    description: str
    range: tuple[float, float] | None = None  # inclusive
    constraints: str = ""
    read_only: bool = True

    def descriptor(self, value: Any) -> ParameterDescriptor:
        """What `ros2 param describe` shows."""
        result = ParameterDescriptor(
            name=self.name,
            description=self.description,
            additional_constraints=self.constraints,
            read_only=self.read_only,
        )
        if self.range is not None and isinstance(value, float):
            low, high = self.range
            result.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
        elif self.range is not None:
            first, last = (int(limit) for limit in self.range)
            result.integer_range = [IntegerRange(from_value=first, to_value=last, step=1)]
        return result


SPECS = (
    Spec(
        "model",
        "Weights to load.",
        constraints="default, another name in models/, or the path of a .safetensors file",
    ),
    Spec("device", "Where the network runs.", constraints="auto, cpu, cuda or cuda:N"),
    Spec(
        "precision",
        "Numbers that the network computes with.",
        constraints="auto, or a precision that the device has, such as float32",
    ),
    Spec(
        "network_size",
        "Size at which the network sees a frame; labels always have the frame's size.",
        constraints="empty (as the weight file says), frame, scale S or long_side N",
    ),
    Spec(
        "num_threads",
        "Processor threads of the network on a CPU; 0 for all that the process may use.",
        range=(0, 1024),
    ),
    Spec(
        "warm_up_height",
        "Rows of the frame that the node warms up with before it subscribes.",
        range=(1, 16384),
    ),
    Spec(
        "warm_up_width",
        "Columns of the frame that the node warms up with before it subscribes.",
        range=(1, 16384),
    ),
    Spec(
        "overlay_opacity",
        "Weight of the class colours in ~/overlay: 0 shows the image alone, 1 the colours alone.",
        range=(0.0, 1.0),
        read_only=False,
    ),
    Spec(
        "log_period_s",
        "Seconds between two log lines with rates and counts; 0 for none.",
        range=(0.0, 86400.0),
        read_only=False,
    ),
)


def read_defaults() -> dict[str, Any]:
    """Name to default, from the installed segment.yaml; raises UserError."""
    path = resource_dir("config") / DEFAULTS_FILE
    try:
        defaults = yaml.safe_load(path.read_text())["/**"]["ros__parameters"]
        return {spec.name: defaults[spec.name] for spec in SPECS}
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        cause = " ".join(str(error).split())
        raise UserError(
            f"{path} lacks the default of a parameter ({cause}): reinstall the package"
        ) from error


def declare(node: Node) -> None:
    """Declare every parameter; raises UserError for a value of the wrong type or out of range.

    From then on rclpy refuses such values, and any change of what is read-only, with a reason.
    """
    for name, default in read_defaults().items():
        spec = next(spec for spec in SPECS if spec.name == name)
        try:
            node.declare_parameter(name, default, spec.descriptor(default))
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            cause = str(error.args[0]).removesuffix(f": {name}")
            cause = cause.partition("Reason: ")[2] or cause
            raise UserError(
                f"{cause.rstrip('.')}: give {name} {_expected(spec, default)}"
            ) from error


def _expected(spec: Spec, default: Any) -> str:
    kind = {str: "a text", int: "an integer", float: "a number with a decimal point"}
    text = kind[type(default)]
    return f"{text} from {spec.range[0]} to {spec.range[1]}" if spec.range else text
