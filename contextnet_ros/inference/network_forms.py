"""In which form a device runs a network: the faster one of those that agree, for each size."""

from __future__ import annotations

from typing import Any

import torch

from contextnet_ros.inference.device import Device, failure, first_line
from contextnet_ros.network import ContextNet

_REPEATS = 20
# Of the largest logit: half precision, rounded elsewhere, moves them by a thousandth.
_TOLERANCE = 0.02


class NetworkForms:
    """The layers of a network as PyTorch has them, and `fused` ones that do the same.

    What is fused is taken for a size where it gives the logits of the plain layers, and takes less
    time there. `note`: why it is not taken at all, empty where it may be.
    """

    def __init__(self, device: Device, plain: ContextNet, fused: ContextNet | None) -> None:
        self.note = ""
        self._device = device
        self._plain = plain
        self._fused = fused
        self._chosen: dict[tuple[int, ...], ContextNet] = {}

    def logits(self, images: torch.Tensor, reduced: torch.Tensor) -> torch.Tensor:
        """Return logits (C, h, w) of the two inputs; the branches run side by side."""
        return self._run(self._chosen.get(images.shape, self._plain), images, reduced)

    def _run(
        self, network: ContextNet, images: torch.Tensor, reduced: torch.Tensor
    ) -> torch.Tensor:
        context, detail = self._device.both(
            lambda: network.reduced_features(reduced), lambda: network.detail_features(images)
        )
        logits: torch.Tensor = network.classify(detail, context)[0]
        return logits

    def settle(self, images: torch.Tensor, reduced: torch.Tensor, stream: Any) -> None:
        """Choose the form for inputs of this size, once; what was started in `stream` ends first.

        Raises the exception of a device that has too little memory or failed.
        """
        if images.shape in self._chosen or self._fused is None:
            return
        chosen = self._plain
        try:
            inputs: list[torch.Tensor] = []
            # In this stream, since what another one makes may come too late for it.
            stream.run(lambda: inputs.extend(map(torch.randn_like, (images, reduced))))
            if not self._agree(self._fused, inputs, stream):
                raise ArithmeticError("they give other logits")
            if self._time(self._fused, inputs, stream) < self._time(self._plain, inputs, stream):
                chosen = self._fused
        # Whatever it is, the plain layers do the same, slower; not so where nothing runs.
        except Exception as error:
            if failure(error):
                raise
            self.note = f"the layers are PyTorch's, fused ones fail (now: {first_line(error)})"
            self._fused = None
        self._chosen[images.shape] = chosen
        # What was recorded for the comparison.
        self._device.release()

    def _agree(self, fused: ContextNet, inputs: list[torch.Tensor], stream: Any) -> bool:
        seen: list[bool] = []

        def compare() -> None:
            with torch.inference_mode():
                ours, theirs = (self._run(form, *inputs).float() for form in (fused, self._plain))
                # What is no number is not within it either.
                largest = _TOLERANCE * theirs.abs().max()
                seen.append(bool((ours - theirs).abs().max() <= largest))

        end = self._device.event()
        stream.run(compare)
        stream.record(end)
        end.synchronize()
        return seen == [True]

    def _time(self, form: ContextNet, inputs: list[torch.Tensor], stream: Any) -> float:
        """Milliseconds of some runs of a form, recorded as it will be."""

        def work() -> None:
            with torch.inference_mode():
                self._run(form, *inputs)

        replay = self._device.capture(work, stream)
        start, end = self._device.event(), self._device.event()
        stream.run(replay)
        stream.record(start)
        for _ in range(_REPEATS):
            stream.run(replay)
        stream.record(end)
        end.synchronize()
        return float(start.elapsed_time(end))
