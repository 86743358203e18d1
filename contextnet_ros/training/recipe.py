"""Recipes: every setting of a training in one YAML file that reads top to bottom."""

from __future__ import annotations

import difflib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from contextnet_ros.files import UserError, resource_dir
from contextnet_ros.labels import ClassTable
from contextnet_ros.network import VARIANTS, NetworkSize
from contextnet_ros.training.augment import Augmentation
from contextnet_ros.training.sources import DATA_KEYS, REQUIRED_KEYS
from contextnet_ros.training.tables import find_table

OPTIMIZERS = ("adamw", "rmsprop")


@dataclass(frozen=True)
class Recipe:
    """One training. `train` and `validate` list data sets: a `data` kind, its settings, for
    training a `share` of the samples, and where needed its `root` and the `map` of its classes.
    """

    name: str = "unnamed"
    variant: str = "cn14"  # network of Table 4
    width: float = 1.0  # times its feature maps
    ppm: bool = False  # pyramid pooling behind the context branch (section 2.2)
    classes: str = "camvid"  # class table, or the path of one in YAML
    network_size: str = "long_side 960"  # what the network sees of a frame
    train: tuple[dict[str, Any], ...] = ()
    validate: tuple[dict[str, Any], ...] = ()
    init: str | None = None  # weight file, or name in models/, to start from
    seed: int = 1
    steps: int = 4000
    batch: int = 8
    learning_rate: float = 2e-3  # the highest, after the warm-up
    warmup_steps: int = 200  # linear from zero
    power: float = 0.9  # poly schedule: rate x (1 - step / steps) ^ power
    optimizer: str = "adamw"  # or rmsprop: TensorFlow's, as in section 3.1
    discount: float = 0.9  # of rmsprop's running square
    momentum: float = 0.9  # of rmsprop
    epsilon: float = 1.0  # of rmsprop, inside its root
    weight_decay: float = 1e-2  # none on depth-wise layers (section 3.1), biases and normalization
    auxiliary_weight: float = 0.4  # section 2.2
    dropout: float = 0.1  # before the classifiers; its rate is not printed
    class_weights: float | None = None  # c of 1 / ln(c + frequency); 1.10 is usual; none: even
    ema_decay: float = 0.998  # of the averaged weights that are validated and kept
    validate_every: int = 500  # steps
    checkpoint_every: int = 50  # steps
    augmentation: Augmentation = field(default_factory=Augmentation)

    @classmethod
    def load(cls, name_or_path: str) -> Recipe:
        """A recipe by its name in config/recipes, or by its path; raises UserError."""
        path = Path(name_or_path)
        if path.suffix not in (".yaml", ".yml"):
            path = resource_dir("config") / "recipes" / f"{name_or_path}.yaml"
        if not path.is_file():
            known = sorted(p.stem for p in (resource_dir("config") / "recipes").glob("*.yaml"))
            raise UserError(
                f"recipe {name_or_path!r} does not exist: give the path of a YAML file, "
                f"or one of {', '.join(known)}"
            )
        try:
            data = yaml.safe_load(path.read_text())
        except yaml.YAMLError as error:
            raise UserError(f"recipe {path} is no YAML: {' '.join(str(error).split())}") from error
        if not isinstance(data, dict):
            raise UserError(f"recipe {path} holds no settings")
        return cls.from_dict({"name": path.stem, **data})

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Recipe:
        """Checked settings; raises UserError naming a wrong key or value."""
        _refuse_unknown(data, {f.name for f in fields(cls)}, "recipe")
        data = dict(data)
        augmentation = dict(data.pop("augmentation", {}))
        _refuse_unknown(augmentation, {f.name for f in fields(Augmentation)}, "augmentation")
        for key in ("crop", "scale"):
            if key in augmentation:
                augmentation[key] = tuple(augmentation[key])
        for key in ("train", "validate"):
            if key in data:
                data[key] = tuple(dict(entry) for entry in data[key])
        recipe = cls(augmentation=Augmentation(**augmentation), **data)
        recipe._check()
        return recipe

    def _check(self) -> None:
        if self.variant not in VARIANTS:
            raise UserError(f"variant {self.variant!r} is unknown; choose from {sorted(VARIANTS)}")
        find_table(self.classes)
        if self.optimizer not in OPTIMIZERS:
            raise UserError(
                f"optimizer {self.optimizer!r} is unknown; choose from {', '.join(OPTIMIZERS)}"
            )
        try:
            VARIANTS[self.variant].widened(self.width)
        except ValueError as error:
            raise UserError(f"recipe: {error}") from error
        try:
            NetworkSize.parse(self.network_size)
        except ValueError as error:
            raise UserError(f"recipe: {error}") from error
        for key in ("steps", "batch", "validate_every", "checkpoint_every"):
            if getattr(self, key) < 1:
                raise UserError(f"{key} is {getattr(self, key)}; give 1 or more")
        multiple = VARIANTS[self.variant].size_multiple
        if any(side % multiple for side in self.augmentation.crop):
            raise UserError(f"crop is {self.augmentation.crop}; give multiples of {multiple}")
        if not self.train:
            raise UserError("the recipe names no training data: fill in `train`")
        for entry in (*self.train, *self.validate):
            kind = entry.get("data")
            if kind not in DATA_KEYS:
                raise UserError(f"data {kind!r} is unknown; choose from {sorted(DATA_KEYS)}")
            known = DATA_KEYS[kind] | {"data", "share", "root", "map"}
            _refuse_unknown(entry, known, f"data {kind}")
            missing = sorted(REQUIRED_KEYS[kind] - entry.keys())
            if missing:
                raise UserError(f"data {kind} lacks {', '.join(missing)}")
        if any("share" not in entry for entry in self.train):
            raise UserError("every entry of `train` needs a share of the samples, as `share: 1`")

    @property
    def table(self) -> ClassTable:
        """The class table that `classes` names; raises UserError if its file is gone."""
        return find_table(self.classes)

    def with_settings(self, settings: list[str]) -> Recipe:
        """A copy with `key=value` settings of the command line; raises UserError."""
        changes: dict[str, Any] = {}
        for setting in settings:
            key, separator, value = setting.partition("=")
            if not separator:
                raise UserError(f"setting {setting!r} is not of the form key=value")
            _refuse_unknown({key: value}, {f.name for f in fields(self)}, "recipe")
            changes[key] = yaml.safe_load(value)
        data = {**self.to_dict(), **changes}
        if isinstance(changes.get("augmentation"), dict):
            data["augmentation"] = {**asdict(self.augmentation), **changes["augmentation"]}
        return Recipe.from_dict(data)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as YAML and the weight file's header hold them."""
        data = asdict(self)
        for key in ("crop", "scale"):
            data["augmentation"][key] = list(data["augmentation"][key])
        for key in ("train", "validate"):
            data[key] = [dict(entry) for entry in data[key]]
        return data


def _refuse_unknown(data: dict[str, Any], known: set[str], where: str) -> None:
    for key in data:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
            raise UserError(f"{where} key {key!r} is unknown; {hint}")
