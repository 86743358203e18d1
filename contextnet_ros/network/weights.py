"""Weight files: one `.safetensors` file with all that running the network needs in its header."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from contextnet_ros import __version__
from contextnet_ros.files import UserError, atomic_write
from contextnet_ros.labels import IGNORE_ID, ClassTable
from contextnet_ros.network.contextnet import ContextNet
from contextnet_ros.network.size import NetworkSize
from contextnet_ros.network.variants import VARIANTS

FORMAT_VERSION = 1
HEADER_KEY = "contextnet"


class WeightFileError(UserError):
    """A weight file that is missing, damaged, of another kind or of another version."""


@dataclass(frozen=True)
class WeightHeader:
    """What a weight file says of itself.

    `variant`, `width` and `ppm` are ContextNet's arguments and rebuild the network.
    `mean` and `std` are per channel in `channel_order`, of pixel values scaled to 0..1.
    `scores` lists dicts with data, split, network_size and what was measured; `recipe` is the
    training configuration; `data_licence` says what the licence of the training data allows.
    """

    table: ClassTable
    variant: str = "cn14"
    width: float = 1.0
    ppm: bool = False
    ignore_id: int = IGNORE_ID
    channel_order: str = "RGB"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    network_size: NetworkSize = field(default_factory=NetworkSize)
    scores: list[dict[str, Any]] = field(default_factory=list)
    recipe: dict[str, Any] = field(default_factory=dict)
    data_licence: str = "not stated"
    package_version: str = __version__

    @property
    def network(self) -> str:
        """Variant, width and pooling in a few characters, as `cn14`, `cn14 x 2`, `cn14 + ppm`."""
        width = f" x {self.width:g}" if self.width != 1 else ""
        return f"{self.variant}{width}{' + ppm' if self.ppm else ''}"

    def build(self) -> ContextNet:
        """A network of this kind with fresh weights."""
        return ContextNet(self.table.num_classes, self.variant, width=self.width, ppm=self.ppm)

    def check(self, network: ContextNet) -> None:
        """Raise ValueError where `network` is of another kind, or has another number of classes."""
        said = (self.variant, self.width, self.ppm, self.table.num_classes)
        if said != (network.variant, network.width, network.ppm, network.num_classes):
            raise ValueError(
                f"the header says {self.network} with {self.table.num_classes} classes, the "
                f"network is {network.variant} x {network.width:g}, ppm {network.ppm}, with "
                f"{network.num_classes}"
            )

    def to_json(self) -> str:
        data = asdict(self)
        data["table"] = self.table.to_dict()
        data["network_size"] = {
            "size": str(self.network_size),
            "interpolation": self.network_size.interpolation,
        }
        return json.dumps({"format_version": FORMAT_VERSION, **data})

    @classmethod
    def from_json(cls, text: str) -> WeightHeader:
        """The header that `to_json` wrote; raises KeyError, TypeError, ValueError or
        OverflowError otherwise."""
        data = json.loads(text)
        found = data["format_version"]
        if found != FORMAT_VERSION:
            raise ValueError(
                f"its format version is {found}, this package reads {FORMAT_VERSION}: "
                f"use contextnet_ros {data.get('package_version', 'of that version')}"
            )
        size = data["network_size"]
        mean, std = ((float(r), float(g), float(b)) for r, g, b in (data["mean"], data["std"]))
        if data["channel_order"] not in ("RGB", "BGR"):
            raise ValueError(f"channel order {data['channel_order']!r} is neither RGB nor BGR")
        if not all(map(math.isfinite, (*mean, *std))) or min(std) <= 0:
            raise ValueError(f"mean {mean} and standard deviation {std} are no such numbers")
        if data["variant"] not in VARIANTS:
            raise ValueError(f"variant {data['variant']!r} is not one of {sorted(VARIANTS)}")
        width = float(data.get("width", 1.0))  # files of the first release have neither key
        VARIANTS[data["variant"]].widened(width)
        return cls(
            table=ClassTable.from_dict(data["table"]),
            variant=data["variant"],
            width=width,
            ppm=bool(data.get("ppm", False)),
            ignore_id=int(data["ignore_id"]),
            channel_order=data["channel_order"],
            mean=mean,
            std=std,
            network_size=NetworkSize.parse(str(size["size"]), size["interpolation"]),
            scores=list(data["scores"]),
            recipe=dict(data["recipe"]),
            data_licence=str(data["data_licence"]),
            package_version=str(data["package_version"]),
        )


def save_weights(path: str | os.PathLike[str], network: ContextNet, header: WeightHeader) -> None:
    """Write an unfolded network and its header, whole or not at all.

    Raises ValueError where header and network disagree, UserError where the disk refuses.
    """
    header.check(network)
    tensors = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    with atomic_write(path) as temporary:
        try:
            save_file(tensors, temporary, metadata={HEADER_KEY: header.to_json()})
        except SafetensorError as error:
            raise UserError(f"cannot write {path}: {error}") from error


def _open(path: Path) -> Any:
    if not path.is_file():
        kind = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise WeightFileError(f"weight file {path} {kind}: check the path")
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        # Asked only now: a sound file's first byte may be a pickle's too.
        if _starts_like_a_pickle(path):
            raise WeightFileError(
                f"weight file {path} is a pickle (.pt, .pth), which could run any code: "
                "convert it with contextnet_ros.network.save_weights"
            ) from error
        raise WeightFileError(
            f"weight file {path} ({path.stat().st_size} bytes) is truncated or no safetensors "
            f"file ({error}): copy or download it again"
        ) from error


def _starts_like_a_pickle(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(2)
    except OSError:
        return False
    return start == b"PK" or start[:1] == b"\x80"


def _parse_header(path: Path, metadata: dict[str, str] | None) -> WeightHeader:
    text = (metadata or {}).get(HEADER_KEY)
    if text is None:
        raise WeightFileError(
            f"weight file {path} has no {HEADER_KEY!r} header, so it was not written by this "
            "package: write it with contextnet_ros.network.save_weights"
        )
    try:
        return WeightHeader.from_json(text)
    except KeyError as error:
        raise WeightFileError(f"weight file {path} has no {error} in its header") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise WeightFileError(f"weight file {path} can't be used: {error}") from error


def read_header(path: str | os.PathLike[str]) -> WeightHeader:
    """The header alone; raises WeightFileError."""
    with _open(Path(path)) as file:
        return _parse_header(Path(path), file.metadata())


def load_weights(path: str | os.PathLike[str]) -> tuple[ContextNet, WeightHeader]:
    """Network in evaluation mode, on the CPU, and its header; raises WeightFileError."""
    path = Path(path)
    with _open(path) as file:
        header = _parse_header(path, file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    network = header.build()
    expected = {
        name: tuple(tensor.shape)
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if found != expected:
        name = min(set(found.items()) ^ set(expected.items()))[0]
        raise WeightFileError(
            f"weight file {path} is no {header.network} with {header.table.num_classes} classes: "
            f"{name} is {found.get(name, 'missing')}, expected {expected.get(name, 'nothing')}"
        )
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise WeightFileError(f"weight file {path} holds values that are not finite: retrain it")
    network.load_state_dict(tensors, strict=False)
    return network.eval(), header
