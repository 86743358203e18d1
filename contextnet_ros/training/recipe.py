"""Recipes: every setting of a training in one YAML file that reads top to bottom."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from contextnet_ros.files import UserError, resource_dir
from contextnet_ros.labels import ClassTable
from contextnet_ros.network import VARIANTS, NetworkSize
from contextnet_ros.training.augment import Augmentation
from contextnet_ros.training.precision import PRECISIONS
from contextnet_ros.training.pruning import PruneStages
from contextnet_ros.training.recipe_values import (
    entries,
    number,
    pair,
    read_yaml,
    refuse_unknown,
    texts,
    typed,
)
from contextnet_ros.training.sources import checked_entry
from contextnet_ros.training.tables import find_table

OPTIMIZERS = ("adamw", "rmsprop")
BRANCHES = ("context", "detail")
_OPTIONAL_TEXTS = ("init", "branch")
_OPTIONAL_NUMBERS = ("class_weights", "ohem_share", "gradient_clip")
_GROUPS = {"augmentation": Augmentation, "prune": PruneStages}
_FROM_ZERO = ("seed", "weight_decay", "auxiliary_weight", "power", "warmup_steps")


@dataclass(frozen=True)
class Recipe:
    """One training. `train` and `validate` list data sets: a `data` kind, its settings, for
    training a `share` of the samples (1), and where needed its `root` and the `map` of its classes.
    """

    name: str = "unnamed"
    variant: str = "cn14"  # network of Table 4
    width: float = 1.0  # times its feature maps
    branch: str | None = None  # context or detail: trained with the other one zeroed (section 3.2)
    ppm: bool = False  # pyramid pooling behind the context branch (section 2.2)
    classes: str = "camvid"  # class table, or the path of one in YAML
    network_size: str = "long_side 960"  # what the network sees of a frame
    train: tuple[dict[str, Any], ...] = ()
    validate: tuple[dict[str, Any], ...] = ()
    init: str | None = None  # weight file, or name in models/, to start from: widened if narrower
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
    freeze_normalization: bool = False  # batch norm with the statistics of `init`, unchanged
    label_smoothing: float = 0.0
    ohem_share: float | None = None  # of the labelled pixels, the hardest that count; none: all
    lovasz_weight: float = 0.0  # of the Lovasz softmax loss, added to the main one
    loss_stride: int = 1  # odd: losses see every so many rows and columns of the label
    teacher: tuple[str, ...] = ()  # weight files or names in models/; of several, their mean
    teacher_weight: float = 1.0  # of the divergence from the teacher, added to the main loss
    teacher_temperature: float = 1.0  # both softmax are of logits divided by it
    precision: str = "float32"  # of the network: bfloat16, float16, or auto: what the device has
    gradient_clip: float | None = None  # largest norm of a step's gradients; none: as they are
    ema_decay: float = 0.998  # of the averaged weights that are validated and kept
    validate_every: int = 500  # steps
    checkpoint_every: int = 50  # steps
    augmentation: Augmentation = field(default_factory=Augmentation)
    prune: PruneStages | None = None  # stages after this training (section 3.2)

    @classmethod
    def load(cls, name_or_path: str) -> Recipe:
        """A recipe by its name in config/recipes, or by its path; raises UserError."""
        path = Path(name_or_path)
        if path.suffix not in (".yaml", ".yml"):
            path = resource_dir("config") / "recipes" / f"{name_or_path}.yaml"
        if not path.is_file():
            known = sorted(p.stem for p in (resource_dir("config") / "recipes").glob("*.yaml"))
            fault = "is no .yaml file" if Path(name_or_path).is_file() else "does not exist"
            raise UserError(
                f"recipe {name_or_path!r} {fault}: give the path of a YAML file, "
                f"or one of {', '.join(known)}"
            )
        return cls.from_dict({"name": path.stem, **read_yaml("recipe", path)})

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Recipe:
        """Checked settings; raises UserError naming a wrong key or value."""
        refuse_unknown(data, {f.name for f in fields(cls)}, "recipe", _elsewhere())
        data = dict(data)
        augmentation = data.pop("augmentation", {})
        if not isinstance(augmentation, dict):
            raise UserError(f"augmentation is {augmentation!r}; give its settings as a mapping")
        augmentation = dict(augmentation)
        refuse_unknown(augmentation, {f.name for f in fields(Augmentation)}, "augmentation")
        for key, kind in (("crop", int), ("scale", float)):
            if key in augmentation:
                augmentation[key] = pair(f"augmentation {key}", augmentation[key], kind)
        prune = _prune_stages(data.pop("prune", None))
        for key in ("train", "validate"):
            if key in data:
                data[key] = tuple(map(checked_entry, entries(key, data[key])))
        data["train"] = tuple({"share": 1, **entry} for entry in data.get("train", ()))
        if "teacher" in data:
            data["teacher"] = texts("teacher", data["teacher"])
        recipe = cls(
            augmentation=Augmentation(**typed(augmentation, Augmentation())),
            prune=prune,
            **typed(data, cls(), _OPTIONAL_TEXTS, _OPTIONAL_NUMBERS),
        )
        recipe._check()
        return recipe

    def _check(self) -> None:
        if self.variant not in VARIANTS:
            raise UserError(f"variant {self.variant!r} is unknown; choose from {sorted(VARIANTS)}")
        find_table(self.classes)
        if not 0 <= self.discount < 1 or not 0 <= self.momentum < 1 or self.epsilon <= 0:
            raise UserError(
                f"discount is {self.discount}, momentum {self.momentum}, epsilon {self.epsilon}; "
                "give 0 or more and below 1, for epsilon more than 0"
            )
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
        if self.branch not in (None, *BRANCHES):
            raise UserError(f"branch {self.branch!r} is unknown; choose from {', '.join(BRANCHES)}")
        if self.prune is not None:
            self._check_prune(self.prune)
        for key in ("steps", "batch", "validate_every", "checkpoint_every"):
            if getattr(self, key) < 1:
                raise UserError(f"{key} is {getattr(self, key)}; give 1 or more")
        for key in _FROM_ZERO:
            if getattr(self, key) < 0:
                raise UserError(f"{key} is {getattr(self, key)}; give 0 or more")
        if self.seed >= 1 << 63:
            raise UserError(f"seed is {self.seed}; give less than 2^63")
        if self.learning_rate <= 0:
            raise UserError(f"learning_rate is {self.learning_rate}; give more than 0")
        if self.class_weights is not None and self.class_weights <= 1:
            raise UserError(f"class_weights is {self.class_weights}; give more than 1, as 1.1")
        if not 0 <= self.dropout < 1 or not 0 <= self.ema_decay < 1:
            raise UserError(
                f"dropout is {self.dropout}, ema_decay {self.ema_decay}; give 0 or more, below 1"
            )
        if not 0 <= self.label_smoothing < 1 or self.lovasz_weight < 0:
            raise UserError(
                f"label_smoothing is {self.label_smoothing}, lovasz_weight {self.lovasz_weight}; "
                "give 0 or more, of the first below 1"
            )
        if self.ohem_share is not None and not 0 < self.ohem_share <= 1:
            raise UserError(f"ohem_share is {self.ohem_share}; give more than 0, up to 1")
        stride = self.loss_stride
        if stride < 1 or stride % 2 == 0 or any(side % stride for side in self.augmentation.crop):
            # An even one has no middle pixel, and the logits would be compared half a pixel off.
            raise UserError(
                f"loss_stride is {stride}; give an odd number that divides both sides of the crop, "
                f"{self.augmentation.crop}"
            )
        if self.teacher_weight < 0 or self.teacher_temperature <= 0:
            raise UserError(
                f"teacher_weight is {self.teacher_weight}, teacher_temperature "
                f"{self.teacher_temperature}; give 0 or more, of the second more than 0"
            )
        if self.precision not in ("auto", *PRECISIONS):
            raise UserError(
                f"precision {self.precision!r} is unknown; choose auto, {', '.join(PRECISIONS)}"
            )
        if self.gradient_clip is not None and self.gradient_clip <= 0:
            raise UserError(f"gradient_clip is {self.gradient_clip}; give more than 0")
        self.augmentation.check(VARIANTS[self.variant].size_multiple)
        if not self.train:
            raise UserError("the recipe names no training data: fill in `train`")
        for entry in self.train:
            share = entry["share"]
            wrong = not isinstance(share, (int, float)) or isinstance(share, bool)
            if wrong or not 0 < share < math.inf:
                raise UserError(f"share is {share!r} in {entry}; give a number above 0")

    def _check_prune(self, prune: PruneStages) -> None:
        widths = (self.width, *prune.widths)
        if len(widths) < 2 or any(narrow >= wide for wide, narrow in pairwise(widths)):
            raise UserError(
                f"prune widths are {list(prune.widths)} from width {self.width:g}; give falling "
                "ones, as width 2 and widths [1.5, 1.25, 1]"
            )
        for width in prune.widths:
            try:
                VARIANTS[self.variant].widened(width)
            except ValueError as error:
                raise UserError(f"prune: {error}") from error
        if prune.steps < 1:
            raise UserError(f"prune steps is {prune.steps}; give 1 or more")
        if prune.learning_rate is not None and prune.learning_rate <= 0:
            raise UserError(f"prune learning_rate is {prune.learning_rate}; give more than 0")

    @property
    def leaves_one_value(self) -> bool:
        """Whether some batch normalization sees one value a crop, of which there is no variance."""
        multiple = VARIANTS[self.variant].size_multiple
        smallest = self.ppm or self.augmentation.crop == (multiple, multiple)
        return smallest and not self.freeze_normalization

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
            for group, kind in _GROUPS.items():
                if key in {f.name for f in fields(kind)} - {f.name for f in fields(self)}:
                    raise UserError(
                        f"{key!r} belongs to {group}: --set '{group}={{{key}: {value}}}'"
                    )
            refuse_unknown({key: value}, {f.name for f in fields(self)}, "recipe", _elsewhere())
            try:
                changes[key] = yaml.safe_load(value)
            except yaml.YAMLError as error:
                raise UserError(f"setting {setting!r} is no YAML value") from error
        data = {**self.to_dict(), **changes}
        if isinstance(changes.get("augmentation"), dict):
            data["augmentation"] = {**asdict(self.augmentation), **changes["augmentation"]}
        if isinstance(changes.get("prune"), dict) and self.prune is not None:
            data["prune"] = {**asdict(self.prune), **changes["prune"]}
        return Recipe.from_dict(data)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as YAML and the weight file's header hold them."""
        data = asdict(self)
        for key in ("crop", "scale"):
            data["augmentation"][key] = list(data["augmentation"][key])
        for key in ("train", "validate"):
            data[key] = [dict(entry) for entry in data[key]]
        data["teacher"] = list(self.teacher)
        if self.prune is not None:
            data["prune"]["widths"] = list(self.prune.widths)
        return data


def _elsewhere() -> dict[str, str]:
    """What stands for keys that belong to a group of keys, or are called so in other trainers."""
    nested = {
        f.name: f"{f.name!r} of {name}" for name, kind in _GROUPS.items() for f in fields(kind)
    }
    return {**nested, "lr": "'learning_rate'", "epochs": "'steps' (batches, not passes)"}


def _prune_stages(value: Any) -> PruneStages | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise UserError(f"prune is {value!r}; give its settings as a mapping")
    refuse_unknown(value, {f.name for f in fields(PruneStages)}, "prune")
    for key in ("widths", "steps"):
        if key not in value:
            raise UserError(f"prune lacks {key!r}: {value}")
    if not isinstance(value["widths"], (list, tuple)):
        raise UserError(f"prune widths is {value['widths']!r}; give a list, as [1.5, 1.25, 1]")
    rate = value.get("learning_rate")
    return PruneStages(
        tuple(number("prune widths", width, float) for width in value["widths"]),
        number("prune steps", value["steps"], int),
        None if rate is None else number("prune learning_rate", rate, float),
    )
