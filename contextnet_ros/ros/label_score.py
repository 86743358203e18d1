"""Score labels that a node published against truth by frame name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import cv2
import numpy as np

from contextnet_ros.files import UserError, list_files
from contextnet_ros.labels import (
    CAMVID,
    CITYSCAPES,
    CITYSCAPES_TO_CAMVID,
    CITYSCAPES_TRAIN_ID_OF_LABEL_ID,
    IGNORE_ID,
    ClassTable,
    Pixels,
)
from contextnet_ros.ros.bag_make import CLASSES_FILE, read_classes
from contextnet_ros.tools.media import read_image
from contextnet_ros.training.scoring import ConfusionMatrix

_IDENTITY: Pixels = np.arange(256, dtype=np.uint8)

# Label files by what follows the frame's name, and how their values become train ids; of a frame
# that has both, the first is taken, as contextnet-bag-make does.
_CITYSCAPES_ENDINGS: dict[str, Pixels] = {
    "_gtFine_labelTrainIds": _IDENTITY,
    "_gtFine_labelIds": CITYSCAPES_TRAIN_ID_OF_LABEL_ID,
}


def camvid_lookup(table: ClassTable) -> Pixels | None:
    """(256,) uint8 from the ids of `table` to CamVid's; None where its classes are others."""
    if table.names == CAMVID.names:
        return _IDENTITY
    if table.names == CITYSCAPES.names:
        return CITYSCAPES_TO_CAMVID
    return None


def ids_within(table: ClassTable) -> Pixels:
    """(256,) uint8 that leaves the ids of `table` and makes IGNORE_ID of every other value."""
    lookup = np.full(256, IGNORE_ID, np.uint8)
    lookup[: table.num_classes] = np.arange(table.num_classes)
    return lookup


class Truth:
    """Truth labels by frame name, in the ids of `table`; `lookup` makes them of the files' values.

    `files` names the label file of each frame, `lookups` the frames whose files have other values.
    """

    def __init__(
        self,
        table: ClassTable,
        files: Mapping[str, Path],
        lookup: Pixels,
        lookups: Mapping[str, Pixels] | None = None,
    ) -> None:
        self.table = table
        self.files = files
        self._lookup = lookup
        self._lookups = lookups or {}

    def label(self, name: str) -> Pixels | None:
        """Label (H, W) uint8 of a frame in the ids of `table`; None where the frame has none."""
        path = self.files.get(name)
        if path is None:
            return None
        values = read_image(path, cv2.IMREAD_UNCHANGED)
        if values.ndim != 2 or values.dtype != np.uint8:
            raise UserError(f"{path}: {values.dtype} {values.shape}: a label has one byte a pixel")
        return np.asarray(self._lookups.get(name, self._lookup)[values])


def made_truth(folder: Path) -> Truth:
    """The truth that `contextnet-bag-make --truth` wrote; raises UserError for another folder."""
    return Truth(read_classes(folder), _by_name(folder), _IDENTITY)


def open_truth(folder: Path, table: ClassTable) -> Truth:
    """The truth in a folder, whichever of these it is; raises UserError where it is none of them.

    What `contextnet-bag-make --truth` wrote (with classes.json); a Cityscapes tree (with gtFine), a
    CamVid folder (val beside valannot, or either's parent), or masks by frame name, whose values
    are the ids of `table`, the network's, and otherwise not scored.
    """
    if not folder.is_dir():
        raise UserError(f"--truth {folder}: no such folder")
    if (folder / CLASSES_FILE).is_file():
        return made_truth(folder)
    if (folder / "gtFine").is_dir():
        return _cityscapes(folder)
    beside = folder.parent / f"{folder.name}annot"
    annotations = [beside] if beside.is_dir() else sorted(folder.glob("*annot"))
    if folder.name.endswith("annot"):
        annotations = [folder]
    if annotations:
        files = {stem: path for each in annotations for stem, path in _by_name(each).items()}
        return Truth(CAMVID, files, ids_within(CAMVID))
    masks = _by_name(folder)
    if not masks:
        raise UserError(
            f"--truth {folder}: neither a Cityscapes tree (gtFine) nor a CamVid folder (valannot) "
            "nor PNG masks by frame name"
        )
    return Truth(table, masks, ids_within(table))


def _by_name(folder: Path) -> dict[str, Path]:
    """Label files by their path in the folder without the suffix, as bags name frames of folders,
    and by the last part alone where it is the only one."""
    paths = list_files(folder, (".png",))
    count = Counter(path.stem for path in paths)
    return {path.stem: path for path in paths if count[path.stem] == 1} | {
        path.relative_to(folder).with_suffix("").as_posix(): path for path in paths
    }


def _cityscapes(root: Path) -> Truth:
    files: dict[str, Path] = {}
    lookups: dict[str, Pixels] = {}
    for ending, lookup in _CITYSCAPES_ENDINGS.items():
        for path in (root / "gtFine").glob(f"*/*/*{ending}.png"):
            name = path.stem.removesuffix(ending)
            if name not in files:
                files[name], lookups[name] = path, lookup
    if not files:
        raise UserError(f"--truth {root}: no */*/*_gtFine_labelIds.png in its gtFine")
    return Truth(CITYSCAPES, files, _IDENTITY, lookups)


def score_labels(
    labels: Iterable[tuple[int, Pixels]],
    names: Mapping[int, str],
    truth: Truth,
    table: ClassTable,
    on_frame: Callable[[], object] = lambda: None,
) -> dict[str, object]:
    """Percentages of IoU per class and their mean over (header stamp, label (H, W)) pairs.

    In the classes of `table`, which names the labels' ids, where the truth has the same (with
    Cityscapes' categories), else in CamVid's. Raises UserError when either table has no way to
    those, or when a label and its truth differ in size.
    """
    shared, of_label, of_truth = table, _IDENTITY, _IDENTITY
    if table.names != truth.table.names:
        shared, of_label, of_truth = CAMVID, *_to_camvid(table, truth.table)
    matrix = ConfusionMatrix(shared.num_classes)
    frames = 0
    for stamp_ns, label in labels:
        true = truth.label(names[stamp_ns]) if stamp_ns in names else None
        if true is None:
            continue
        if true.shape != label.shape:
            sizes = f"label {label.shape} and truth {true.shape}"
            raise UserError(f"frame {names[stamp_ns]}: {sizes} differ in size")
        matrix.update(of_label[label], of_truth[true])
        frames += 1
        on_frame()
    return {"classes": shared.name, "frames": frames, **matrix.to_dict(shared)}


def _to_camvid(table: ClassTable, truth_table: ClassTable) -> tuple[Pixels, Pixels]:
    of_label, of_truth = camvid_lookup(table), camvid_lookup(truth_table)
    if of_label is None or of_truth is None:
        raise UserError(
            f"classes {table.name!r} cannot be scored against {truth_table.name!r}: only CamVid's "
            "and Cityscapes' classes can be brought together"
        )
    return of_label, of_truth
