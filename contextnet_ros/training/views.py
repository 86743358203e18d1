"""Testing over scales and flips: the mean of what the network says of several views of a frame."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from contextnet_ros.files import UserError
from contextnet_ros.inference.preprocess import Preprocessor
from contextnet_ros.inference.upsample import Axis, interpolate
from contextnet_ros.labels import Pixels
from contextnet_ros.network import ContextNet, NetworkSize, WeightHeader, fold_batch_norm


class AveragedViews:
    """Label of the highest mean softmax over views of a frame, each scaled and maybe mirrored.

    `scales` multiply the size that the network sees of a frame. Many times the cost of a
    Segmenter; its scores are no scores of the node. Raises UserError for a scale outside 1/8 to 8.
    """

    def __init__(
        self,
        network: ContextNet,
        header: WeightHeader,
        network_size: NetworkSize,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        if not scales or not all(1 / 8 <= scale <= 8 for scale in scales):
            raise UserError(f"scales {list(scales)} are not all in 1/8 to 8")
        self.network = fold_batch_norm(network).to(device)
        self.header = header
        self.network_size = network_size
        self.scales = tuple(scales)
        self.flip = flip
        self.device = torch.device(device)

    def __call__(self, image: Pixels) -> Pixels:
        """BGR frame (H, W, 3) uint8 -> label (H, W) uint8."""
        return np.asarray(self.softmax(image)[0].argmax(0).to(torch.uint8).cpu().numpy())

    @torch.inference_mode()
    def softmax(self, image: Pixels) -> torch.Tensor:
        """BGR frame (H, W, 3) uint8 -> mean softmax (1, classes, H, W) over the views."""
        total = torch.zeros((), device=self.device)
        for scale in self.scales:
            view = self._scaled(image, scale)
            total = total + self._softmax(view, image.shape[:2])
            if self.flip:
                mirrored = np.ascontiguousarray(view[:, ::-1])
                total = total + self._softmax(mirrored, image.shape[:2]).flip(-1)
        return total / (len(self.scales) * (1 + self.flip))

    def _scaled(self, image: Pixels, scale: float) -> Pixels:
        seen_height, seen_width = self.network_size.resolve(*image.shape[:2])
        height, width = max(1, round(seen_height * scale)), max(1, round(seen_width * scale))
        if (height, width) == image.shape[:2]:
            return image
        shrinks = height <= image.shape[0] and width <= image.shape[1]
        area = shrinks and self.network_size.interpolation == "area"
        return np.asarray(
            cv2.resize(
                image, (width, height), interpolation=cv2.INTER_AREA if area else cv2.INTER_LINEAR
            )
        )

    def _softmax(self, view: Pixels, size: tuple[int, ...]) -> torch.Tensor:
        height, width = view.shape[:2]
        padded = Preprocessor(height, width, NetworkSize(), self.header)(view)
        logits = self.network.coarse_logits(padded.to(self.device))[0]
        # In one step from the network's stride to the frame, as a Segmenter does.
        rows, columns = (
            Axis.between(pixels, seen, cells)
            for pixels, seen, cells in zip(size, (height, width), logits.shape[1:], strict=True)
        )
        return interpolate(logits, rows, columns).softmax(0)[None]


class AveragedNetworks:
    """Label of the highest mean softmax over several networks: an ensemble (section 3.2)."""

    def __init__(self, members: Sequence[AveragedViews]) -> None:
        self.members = tuple(members)

    def __call__(self, image: Pixels) -> Pixels:
        """BGR frame (H, W, 3) uint8 -> label (H, W) uint8."""
        total = torch.stack([member.softmax(image) for member in self.members]).sum(0)
        return np.asarray(total[0].argmax(0).to(torch.uint8).cpu().numpy())
