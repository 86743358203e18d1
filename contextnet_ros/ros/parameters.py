"""The node's parameters: what each means and may be. Their defaults stand in segment.yaml."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from contextnet_ros.files import UserError, one_line, resource_dir

DEFAULTS_FILE = "segment.yaml"

# Of rclpy, and what the node tells of its classes.
_OF_ROS = {
    "use_sim_time",
    "start_type_description_service",
    "class_table",
    "class_names",
    "class_colors",
}


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
        constraints="auto, float32, float16 (GPU) or bfloat16 (CPU)",
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
        "image_transport",
        "What is subscribed to: the topic image as it is, or image/compressed beside it.",
        constraints="raw or compressed",
    ),
    Spec(
        "cameras",
        "Names of several cameras for the one network: front is read from front/image and "
        "answered on ~/front/label.",
        constraints="different names of letters, digits and _; empty for one camera, read from "
        "image",
    ),
    Spec("autostart", "Whether the node configures and activates itself."),
    Spec(
        "overlay_opacity",
        "Weight of the class colours in ~/overlay: 0 shows the image alone, 1 the colours alone.",
        range=(0.0, 1.0),
        read_only=False,
    ),
    Spec(
        "overlay_classes",
        "Classes that ~/overlay colours; the others show the camera's image.",
        constraints="names of the model's classes, or all",
        read_only=False,
    ),
    Spec(
        "jpeg_quality",
        "Quality of ~/overlay/compressed.",
        range=(1, 100),
        read_only=False,
    ),
    Spec(
        "min_confidence",
        "Pixels whose confidence is below this become 255, unlabelled; 0 for none.",
        range=(0.0, 1.0),
        read_only=False,
    ),
    Spec(
        "max_rate_hz",
        "Labels per second and camera, at most; 0 for as many as can be.",
        range=(0.0, 1000.0),
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
        cause = one_line(error)
        raise UserError(
            f"{path} lacks the default of a parameter ({cause}): reinstall the package"
        ) from error


def unknown(name: str) -> str:
    """What to say of a parameter that the node has not; empty for one that it has."""
    if name in _OF_ROS or name.startswith("qos_overrides.") or name in {s.name for s in SPECS}:
        return ""
    near = difflib.get_close_matches(name, [spec.name for spec in SPECS], 1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(s.name for s in SPECS)}"
    return f"parameter {name} is unknown ({hint})"


def refuse_unknown(name: str) -> None:
    """Raise UserError for a parameter that the node has not."""
    if unknown(name):
        raise UserError(unknown(name))


def declare(node: Node) -> None:
    """Declare every parameter; raises UserError for a value of the wrong type or out of range.

    One that the node has not is warned of: a file may hold those of many nodes. From then on rclpy
    refuses such values, and any change of what is read-only, with a reason.
    """
    for name, default in read_defaults().items():
        spec = next(spec for spec in SPECS if spec.name == name)
        try:
            declared = node.declare_parameter(name, default, spec.descriptor(default))
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            cause = str(error.args[0]).removesuffix(f": {name}")
            cause = cause.partition("Reason: ")[2] or cause
            raise UserError(
                f"{cause.rstrip('.')}: give {name} {_expected(spec, default)}"
            ) from error
        if declared.value is None:
            # What the parameter file parser makes of [], whose type it can't tell.
            raise UserError(
                f"{name} has no value: give {_expected(spec, default)}, or leave it out"
            )
    # rclpy has no other name for what it was given, in any distribution.
    for name in getattr(node, "_parameter_overrides", {}):
        if unknown(name):
            node.get_logger().warning(f"{unknown(name)}: it is ignored")


def warn_of_unused_overrides(node: Node) -> None:
    """Warn of `qos_overrides` that no topic of the node took up when it was made."""
    for name in getattr(node, "_parameter_overrides", {}):
        if name.startswith("qos_overrides.") and not node.has_parameter(name):
            node.get_logger().warning(
                f"parameter {name} is ignored: it takes the topic's name after all remaps, "
                "publisher or subscription, and a policy (see segment.yaml)"
            )


def values(node: Node) -> dict[str, Any]:
    """Name to value of every parameter now."""
    return {spec.name: node.get_parameter(spec.name).value for spec in SPECS}


def check_changes(node: Node, fault: Callable[[dict[str, Any]], str]) -> None:
    """Refuse a change of parameters for the reason that `fault` finds in what would be their
    values together, if it finds one."""

    def check(changes: list[Parameter]) -> SetParametersResult:
        would_be = values(node)
        ours = {change.name: change.value for change in changes if change.name in would_be}
        reason = fault({**would_be, **ours}) if ours else ""
        return SetParametersResult(successful=not reason, reason=reason)

    node.add_on_set_parameters_callback(check)


def _expected(spec: Spec, default: Any) -> str:
    kind = {
        str: "a text",
        int: "an integer",
        float: "a number with a decimal point",
        bool: "true or false",
        list: "a list of texts",
    }
    text = kind[type(default)]
    return f"{text} from {spec.range[0]} to {spec.range[1]}" if spec.range else text
