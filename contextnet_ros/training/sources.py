"""The data sets that a recipe names, opened and brought to the recipe's class table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contextnet_ros.files import UserError
from contextnet_ros.labels import CAMVID, CITYSCAPES, ClassTable
from contextnet_ros.training.datasets import GeneratedScenes, LabelledFrames, Mapped, ready
from contextnet_ros.training.folders import CamVid, Cityscapes, Folders
from contextnet_ros.training.recipe_values import number, pair, refuse_unknown, texts
from contextnet_ros.training.tables import class_lookup, load_table

DATA_KEYS: dict[str, dict[str, bool]] = {
    "camvid": {"split": True, "only": False, "without": False},
    "cityscapes": {"split": True, "quality": False},
    "folders": {"images": True, "labels": True, "table": True, "licence": False},
    "generated": {"first_seed": True, "num_scenes": True, "size": False},
}
"""Settings of each kind of data, and whether they have to be given; each may also have `share`,
`root` and `map`."""

Roots = Path | Mapping[str, Path] | None
"""Where data lies: one folder for all, or a folder for each kind."""


def parse_roots(texts: list[str]) -> Roots:
    """`FOLDER` or `KIND=FOLDER` of the command line; raises UserError for another kind."""
    roots: dict[str, Path] = {}
    for text in texts:
        kind, separator, folder = text.partition("=")
        if not separator:
            if len(texts) > 1:
                raise UserError(f"--root {text!r}: with several, say whose: KIND=FOLDER")
            return Path(text).expanduser()
        if kind not in DATA_KEYS:
            raise UserError(f"--root {text!r}: {kind!r} is none of {', '.join(DATA_KEYS)}")
        roots[kind] = Path(folder).expanduser()
    return roots or None


def checked_entry(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry of `train` or `validate` with its values of the right type; raises UserError."""
    kind = entry.get("data")
    if not isinstance(kind, str) or kind not in DATA_KEYS:
        raise UserError(f"data {kind!r} is unknown; choose from {sorted(DATA_KEYS)}")
    keys = DATA_KEYS[kind]
    refuse_unknown(entry, {*keys, "data", "share", "root", "map"}, f"data {kind}")
    for key, needed in keys.items():
        if needed and key not in entry:
            raise UserError(f"data {kind} lacks {key!r}: {entry}")
    checked = dict(entry)
    for key, value in entry.items():
        if key in ("first_seed", "num_scenes"):
            checked[key] = number(key, value, int)
        elif key == "size":
            checked[key] = list(pair(key, value, int))
        elif key == "map":
            if not isinstance(value, dict):
                raise UserError(f"map is {value!r}; give class names of the data as keys")
        elif key in ("only", "without"):
            texts(key, value)
        elif key != "share" and not isinstance(value, str):
            raise UserError(f"{key} is {value!r} in {entry}; give a text")
    return checked


def open_data(entry: dict[str, Any], table: ClassTable, roots: Roots) -> LabelledFrames:
    """The data set that an entry of `train` or `validate` names, in `table`'s ids.

    Raises UserError for data that is missing, broken, or has classes without a match.
    """
    source = _open(entry, table, roots)
    if source.table == table and not entry.get("map"):
        return source
    return Mapped(source, table, class_lookup(source.table, table, entry.get("map")))


def trains_on(recipe: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    """Whether a recipe, as weight files hold it, trains on frames of the split or scenes that
    `entry` names; of folders nothing is known."""
    for trained in recipe.get("train", ()):
        if trained["data"] != entry["data"]:
            continue
        if "split" in entry and trained["split"] == entry["split"]:
            return True
        if "first_seed" in entry:
            one, other = (
                range(e["first_seed"], e["first_seed"] + e["num_scenes"]) for e in (trained, entry)
            )
            if max(one.start, other.start) < min(one.stop, other.stop):
                return True
    return False


class Shelf:
    """The data of trainings one after another: what the next one has too is not read again, and
    the rest is let go before it reads its own."""

    def __init__(self) -> None:
        self._held: list[tuple[dict[str, Any], LabelledFrames]] = []

    def take(
        self, entries: Sequence[dict[str, Any]], opened: Sequence[LabelledFrames]
    ) -> list[LabelledFrames]:
        """Return what was `opened` from each of `entries`, as `ready` gives it; raises UserError.

        Entries are told apart by all but their share: roots are the same for all trainings.
        """
        named = [_unshared(entry) for entry in entries]
        self._held = [held for held in self._held if held[0] in named]
        taken = []
        for entry, source in zip(named, opened, strict=True):
            frames = self._find(entry, source)
            if frames is None:
                frames = ready(source)
                self._held.append((entry, frames))
            taken.append(frames)
        return taken

    def _find(self, entry: dict[str, Any], source: LabelledFrames) -> LabelledFrames | None:
        for other, frames in self._held:
            if other == entry and frames.table == source.table:
                return frames
        return None


def _unshared(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "share"}


def _open(entry: dict[str, Any], table: ClassTable, roots: Roots) -> LabelledFrames:
    kind = entry["data"]
    if kind == "generated":
        return GeneratedScenes(
            entry["first_seed"],
            entry["num_scenes"],
            tuple(entry.get("size", (1024, 2048))),
            table if table in (CAMVID, CITYSCAPES) and not entry.get("map") else CITYSCAPES,
        )
    root = root_of(entry, roots)
    if kind == "folders":
        # Paths of their own may stand in the recipe; those of a data set lie below its root.
        base = root or Path()
        return Folders(
            base / entry["images"],
            base / entry["labels"],
            load_table(base / entry["table"]),
            str(entry.get("licence", "not stated")),
        )
    if root is None:
        raise UserError(f"where {kind} data lies is not said: give its folder as --root")
    if kind == "camvid":
        only, without = (texts(key, entry.get(key, [])) for key in ("only", "without"))
        return CamVid(root, entry["split"], only, without)
    return Cityscapes(root, entry["split"], entry.get("quality", "fine"))


def root_of(entry: dict[str, Any], roots: Roots) -> Path | None:
    """Folder that the data of an entry lies in; None where nobody said."""
    if "root" in entry:
        return Path(entry["root"]).expanduser()
    return roots.get(entry["data"]) if isinstance(roots, Mapping) else roots
