"""In which form a device runs a network: the faster one of those that agree, for each size."""

from __future__ import annotations

from typing import Any

import torch

from contextnet_ros.inference.device import Device, Work, failure, first_line
from contextnet_ros.network import ContextNet

Inputs = tuple[torch.Tensor, torch.Tensor]

_ROUNDS = 5
_REPEATS = 5
# Of the largest logit: half precision, rounded elsewhere, moves them by a thousandth.
_TOLERANCE = 0.02


class NetworkForms:
    """The layers of a network as PyTorch has them, and `fused` ones that do the same.

    What is fused is taken for a size where it gives the logits of the plain layers, and takes less
    time there. `note`: why it was not, where it failed. `taken`: whether it was, for some size.
    """

    def __init__(self, device: Device, plain: ContextNet, fused: ContextNet | None) -> None:
        self.note = ""
        self._device = device
        self._plain = plain
        self._fused = fused
        self._chosen: dict[tuple[int, ...], ContextNet] = {}

    @property
    def taken(self) -> bool:
        return any(form is self._fused for form in self._chosen.values())

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

        Raises the exception of a device that failed.
        """
        if images.shape in self._chosen or self._fused is None:
            return
        chosen = self._plain
        try:
            if self._is_faster(self._fused, (images, reduced), stream):
                chosen = self._fused
        # Whatever it is, the plain layers do the same, slower; not so where nothing runs.
        except Exception as error:
            if failure(error) == "device":
                raise
            self.note = f"the layers are PyTorch's, fused ones fail (now: {first_line(error)})"
        self._chosen[images.shape] = chosen
        # What was recorded for the comparison.
        self._device.release()

    def _is_faster(self, fused: ContextNet, like: Inputs, stream: Any) -> bool:
        inputs: list[torch.Tensor] = []

        def make() -> None:
            # Of its own: the process's random numbers are its user's.
            generator = torch.Generator(like[0].device).manual_seed(0)
            for tensor in like:
                inputs.append(torch.empty_like(tensor).normal_(generator=generator))

        # In this stream, since what another one makes may come too late for it.
        stream.run(make)
        # First, so that nothing runs PyTorch's convolutions before the fastest have been found.
        plain = self._recorded(self._plain, inputs, stream)
        if not self._agree(fused, inputs, stream):
            raise ArithmeticError("they give other logits")
        ours = self._recorded(fused, inputs, stream)
        # In turn, since clocks rise as a device warms up.
        rounds = [(self._time(ours, stream), self._time(plain, stream)) for _ in range(_ROUNDS)]
        fused_ms, plain_ms = (min(times) for times in zip(*rounds, strict=True))
        return bool(fused_ms < plain_ms)

    def _recorded(self, form: ContextNet, inputs: list[torch.Tensor], stream: Any) -> Work:
        def work() -> None:
            with torch.inference_mode():
                self._run(form, *inputs)

        return self._device.capture(work, stream)

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

    def _time(self, replay: Work, stream: Any) -> float:
        """Milliseconds of some runs."""
        start, end = self._device.event(), self._device.event()
        stream.run(replay)
        stream.record(start)
        for _ in range(_REPEATS):
            stream.run(replay)
        stream.record(end)
        end.synchronize()
        return float(start.elapsed_time(end))
