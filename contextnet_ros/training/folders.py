"""Data sets in folders: CamVid, Cityscapes in its official layout, anybody's images with masks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from contextnet_ros.files import UserError, list_files
from contextnet_ros.labels import (
    CAMVID,
    CITYSCAPES,
    CITYSCAPES_NUM_LABEL_IDS,
    CITYSCAPES_TRAIN_ID_OF_LABEL_ID,
    IGNORE_ID,
)
from contextnet_ros.training.paired_files import PairedFiles, pair_up
from contextnet_ros.training.tables import LabelFormat

CAMVID_LICENCE = "CamVid labels and frames: CC BY-NC 4.0, personal and research use only"
CITYSCAPES_LICENCE = "Cityscapes: non-commercial use only, see its licence"
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm")


class CamVid(PairedFiles):
    """`root/split` with images and `root/splitannot` with label PNGs of the same names.

    `only`, `without`: recordings, which are what names begin with, as 0006R0; others, or these,
    are left out. Raises UserError for a folder or a partner that is missing, and for a recording
    that is not there.
    """

    UNLABELLED = 11

    def __init__(
        self, root: Path, split: str, only: Sequence[str] = (), without: Sequence[str] = ()
    ) -> None:
        folders = root / split, root / f"{split}annot"
        for folder in folders:
            if not folder.is_dir():
                raise UserError(
                    f"CamVid folder {folder} does not exist: give the folder that holds "
                    f"{split}/ and {split}annot/ as --root"
                )
        images, labels = ({path.name: path for path in f.glob("*.png")} for f in folders)
        self.split = split
        pairs = pair_up(f"CamVid {split}", root, images, labels)
        chosen = _chosen(recordings(image.name for image, _ in pairs), only, without, split)
        super().__init__(
            CAMVID,
            CAMVID_LICENCE,
            " ".join(["camvid", split, *(["of", *chosen] if only or without else [])]),
            [pair for pair in pairs if recordings([pair[0].name])[0] in chosen],
            {**{value: value for value in range(CAMVID.num_classes)}, self.UNLABELLED: IGNORE_ID},
        )


def recordings(names: Iterable[str]) -> list[str]:
    """The recordings that CamVid's frames of these names come from, sorted."""
    return sorted({name.partition("_")[0] for name in names})


def _chosen(known: list[str], only: Sequence[str], without: Sequence[str], split: str) -> list[str]:
    for name in (*only, *without):
        if name not in known:
            raise UserError(f"CamVid {split} has no recording {name!r}, but {', '.join(known)}")
    chosen = [name for name in known if (not only or name in only) and name not in without]
    if not chosen:
        raise UserError(f"CamVid {split} without {', '.join(without)} has no frames left")
    return chosen


class Cityscapes(PairedFiles):
    """`root/leftImg8bit/SPLIT/CITY` with `root/gtFine/SPLIT/CITY`, or gtCoarse: train ids.

    Label ids become train ids as they are read. Raises UserError for a folder or a partner that
    is missing.
    """

    def __init__(self, root: Path, split: str, quality: str = "fine") -> None:
        if quality not in ("fine", "coarse"):
            raise UserError(f"Cityscapes quality {quality!r} is unknown; choose fine or coarse")
        self.split = split
        kind = f"gt{quality.capitalize()}"
        images = cityscapes_images(root, split)
        labels = _by_frame(root / kind / split, f"_{kind}_labelIds.png", kind)
        ids = enumerate(CITYSCAPES_TRAIN_ID_OF_LABEL_ID[:CITYSCAPES_NUM_LABEL_IDS].tolist())
        super().__init__(
            CITYSCAPES,
            CITYSCAPES_LICENCE,
            f"cityscapes {split} {quality}",
            pair_up(f"Cityscapes {split} ({kind})", root, images, labels),
            dict(ids),
        )

    def name(self, index: int) -> str:
        return self.pairs[index][0].name.removesuffix("_leftImg8bit.png")

    def instances(self, index: int) -> npt.NDArray[np.int32] | None:
        """(H, W) label id x 1000 + number where instances are told apart; None without the file."""
        path = self.pairs[index][1]
        path = path.with_name(path.name.replace("labelIds", "instanceIds"))
        if not path.is_file():
            return None
        values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        return None if values is None else values.astype(np.int32)


def cityscapes_images(root: Path, split: str) -> dict[str, Path]:
    """Images of a split by `CITY/NAME`; raises UserError where there is no such folder."""
    return _by_frame(root / "leftImg8bit" / split, "_leftImg8bit.png")


def _by_frame(folder: Path, ending: str, kind: str = "gtFine") -> dict[str, Path]:
    if not folder.is_dir():
        raise UserError(
            f"Cityscapes folder {folder} does not exist: give the folder that holds leftImg8bit/ "
            f"and {kind}/ as --root"
        )
    return {
        f"{path.parent.name}/{path.name.removesuffix(ending)}": path
        for path in folder.glob(f"*/*{ending}")
    }


class Folders(PairedFiles):
    """Images in one folder, label maps of the same names and subfolders in another.

    A label is an image with one byte a pixel, in the values of `labels_in`. Raises UserError for a
    folder or a partner that is missing.
    """

    def __init__(self, images: Path, labels: Path, labels_in: LabelFormat, licence: str) -> None:
        found = []
        for folder, suffixes in ((images, IMAGE_SUFFIXES), (labels, (".png", ".bmp"))):
            if not folder.is_dir():
                raise UserError(
                    f"folder {folder} does not exist: give folders of images and labels"
                )
            by_name: dict[str, Path] = {}
            for file in list_files(folder, suffixes):
                name = str(file.relative_to(folder).with_suffix(""))
                if name in by_name:
                    raise UserError(f"{by_name[name]} and {file} have one name: keep one of them")
                by_name[name] = file
            found.append(by_name)
        super().__init__(
            labels_in.table,
            licence,
            f"{images}",
            pair_up(f"{images} with {labels}", images, *found),
            labels_in.ids,
        )
