"""contextnet-eval: score a weight file, class by class."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from contextnet_ros.files import UserError, atomic_write, check_writable, run_command, write_json
from contextnet_ros.inference import Segmenter, model_path
from contextnet_ros.labels import CITYSCAPES, CITYSCAPES_LABEL_IDS, Pixels
from contextnet_ros.network import load_weights
from contextnet_ros.provenance import provenance
from contextnet_ros.tools.media import read_image, write_image
from contextnet_ros.training.datasets import FIRST_UNSEEN_SEED, LabelledFrames
from contextnet_ros.training.evaluation import Evaluation
from contextnet_ros.training.folders import cityscapes_images
from contextnet_ros.training.score_pictures import compared, confusion_picture
from contextnet_ros.training.sources import DATA_KEYS, open_data, trains_on
from contextnet_ros.training.views import AveragedViews

PROG = "contextnet-eval"

EXAMPLES = """examples:
  contextnet-eval --model default --data camvid --root ~/camvid --split val
  contextnet-eval --model generated-cn14 --data generated --frames 40 --size 1024x2048
  contextnet-eval --model runs/mine/best.safetensors --data camvid --root ~/camvid --json s.json
  contextnet-eval --model cs.safetensors --data cityscapes --root ~/cityscapes --details cs/
      category IoU and iIoU too; the confusion matrix, every frame's score and the worst ten in cs/
  contextnet-eval --model m.safetensors --data cityscapes --root ~/cityscapes --flip --scales 0.75,1
  contextnet-eval --model m.safetensors --data cityscapes --root ~/cityscapes --split test \\
      --submission results/
      label ids for the Cityscapes server, and no scores
"""


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) of a text such as 1024x2048; raises argparse.ArgumentTypeError."""
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r}: give height x width, such as 1024x2048")
    return int(parts[0]), int(parts[1])


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog=PROG,
        description="Score a weight file at the labels' size: IoU per class, mIoU, accuracy.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("--model", default="default", help="name in models/, or a weight file")
    result.add_argument("--data", choices=sorted(DATA_KEYS), required=True)
    result.add_argument("--root", type=_folder, help="folder of CamVid or Cityscapes")
    result.add_argument("--split", default="val", help="of these (default: %(default)s)")
    result.add_argument("--images", help="of --data folders: the images")
    result.add_argument("--labels", help="of --data folders: the label maps")
    result.add_argument("--table", help="of --data folders: their class table in YAML")
    result.add_argument(
        "--frames", type=int, default=40, help="generated frames to score (default: 40)"
    )
    result.add_argument(
        "--size",
        type=parse_size,
        default=(1024, 2048),
        help="of generated frames (default: 1024x2048)",
    )
    result.add_argument(
        "--first-seed",
        type=int,
        default=FIRST_UNSEEN_SEED,
        help="of generated frames (default: %(default)s)",
    )
    result.add_argument("--network-size", help="instead of the weight file's, as 'scale 0.5'")
    result.add_argument("--flip", action="store_true", help="average with the mirrored frame")
    result.add_argument(
        "--scales", default="1", help="average over these, as 0.75,1,1.25 (default: %(default)s)"
    )
    result.add_argument(
        "--details", type=Path, metavar="FOLDER", help="pictures of the scores, and each frame's"
    )
    result.add_argument(
        "--submission", type=Path, metavar="FOLDER", help="write Cityscapes label ids, no scores"
    )
    result.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    result.add_argument(
        "--precision",
        default="float32",
        help="auto, as the node has it, float32, float16 or bfloat16",
    )
    result.add_argument("--json", type=Path, help="write the scores to this file")
    return result


def _folder(text: str) -> Path:
    # The shell leaves a ~ behind = as it is.
    return Path(text).expanduser()


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(lambda: _evaluate(parser().parse_args(argv)), PROG)


def _evaluate(options: argparse.Namespace) -> int:
    if options.submission is not None and (options.json or options.details):
        raise UserError("--submission gives no scores: leave --json and --details out")
    segmenter = Segmenter.load(
        options.model, options.device, options.precision, options.network_size
    )
    details = None if options.details is None else options.details / "frames.csv"
    check_writable(options.json, details)
    predict = _predictor(options, segmenter)
    if options.submission is not None:
        return _submit(options, segmenter, predict)
    entry = _entry(options)
    frames = open_data(entry, segmenter.header.table, options.root)
    evaluation = Evaluation(frames, segmenter.header.ignore_id)
    _tell_note(segmenter)
    evaluation.run(predict)
    scores = {
        "network_size": str(segmenter.network_size),
        "precision": segmenter.precision,
        **evaluation.to_dict(),
        "trained_on": trains_on(segmenter.header.recipe, entry),
    }
    if isinstance(predict, AveragedViews):
        scores["precision"] = "float32"
        scores["averaged_over"] = {"scales": list(predict.scales), "flip": predict.flip}
    print(report(options.model, scores))
    if options.json is not None:
        result = {"model": options.model, **scores, "provenance": provenance(segmenter.device)}
        write_json(options.json, result)
    if options.details is not None:
        _write_details(options.details, evaluation, predict)
    return 0


def _tell_note(segmenter: Segmenter) -> None:
    if segmenter.note:
        print(segmenter.note, file=sys.stderr)


def _predictor(options: argparse.Namespace, segmenter: Segmenter) -> Callable[[Pixels], Pixels]:
    try:
        scales = tuple(float(scale) for scale in options.scales.split(","))
    except ValueError:
        raise UserError(f"scales {options.scales!r} are not of the form 0.75,1,1.25") from None
    if scales == (1.0,) and not options.flip:
        return lambda image: segmenter(image).label
    network, header = load_weights(model_path(options.model))
    return AveragedViews(
        network, header, segmenter.network_size, scales, options.flip, segmenter.device
    )


def _entry(options: argparse.Namespace) -> dict[str, Any]:
    if options.data == "generated":
        return {
            "data": "generated",
            "first_seed": options.first_seed,
            "num_scenes": options.frames,
            "size": options.size,
        }
    if options.data == "folders":
        parts = {name: getattr(options, name) for name in ("images", "labels", "table")}
        for name, value in parts.items():
            if value is None:
                raise UserError(f"--data folders needs --{name}")
        return {"data": "folders", **parts}
    return {"data": options.data, "split": options.split}


def _submit(
    options: argparse.Namespace, segmenter: Segmenter, predict: Callable[[Pixels], Pixels]
) -> int:
    if segmenter.header.table != CITYSCAPES or options.data != "cityscapes" or not options.root:
        raise UserError(
            f"--submission needs --data cityscapes with its --root, and weights with its 19 "
            f"classes; {options.model} has {segmenter.header.table.name} classes"
        )
    images = cityscapes_images(options.root, options.split)
    if not images:
        raise UserError(f"no */*_leftImg8bit.png in leftImg8bit/{options.split} of {options.root}")
    label_ids = np.array([*CITYSCAPES_LABEL_IDS], np.uint8)
    _tell_note(segmenter)
    for key, path in tqdm(sorted(images.items()), desc="writing", delay=2):
        name = key.rpartition("/")[2]
        write_image(options.submission / f"{name}.png", label_ids[predict(read_image(path))])
    print(f"{len(images)} label maps in {options.submission}: zip the folder for the server")
    return 0


def _write_details(
    folder: Path, evaluation: Evaluation, predict: Callable[[Pixels], Pixels]
) -> None:
    frames: LabelledFrames = evaluation.frames
    write_image(folder / "confusion.png", confusion_picture(evaluation.confusion, frames.table))
    with (
        atomic_write(folder / "frames.csv") as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("frame", "miou", "pixel_accuracy"))
        for score in evaluation.per_frame:
            table.writerow((score.name, f"{score.miou:.6f}", f"{score.pixel_accuracy:.6f}"))
    for place, score in enumerate(evaluation.worst(), start=1):
        image, truth = frames[score.index]
        picture = compared(image, truth, predict(image), frames.table)
        write_image(folder / f"worst_{place:02d}_{score.name}.png", picture)
    print(f"confusion.png, frames.csv and the worst frames are in {folder}")


def report(model: str, scores: dict[str, Any]) -> str:
    """The table that a person reads."""
    lines = [f"{model} on {scores['data']}, network size {scores['network_size']}"]
    for name, iou in scores["iou_percent"].items():
        lines.append(f"  {name:<16} {percent(iou)}")
    rows = {"miou_percent": "mIoU", "pixel_accuracy_percent": "pixel accuracy"}
    if "category_miou_percent" in scores:
        rows["category_miou_percent"] = "category mIoU"
    if "iiou_mean_percent" in scores:
        rows["iiou_mean_percent"] = "mean iIoU"
        rows["category_iiou_mean_percent"] = "category iIoU"
    for key, name in rows.items():
        lines.append(f"  {name:<16} {percent(scores[key])}")
    if "iiou_left_out" in scores:
        lines.append(f"  iIoU left out: {scores['iiou_left_out']}")
    if scores["trained_on"]:
        lines.append("  The weights were trained on frames of these: it says little of others.")
    return "\n".join(lines)


def percent(value: float | None) -> str:
    return "absent" if value is None else f"{value:6.2f} %"


if __name__ == "__main__":
    raise SystemExit(main())
