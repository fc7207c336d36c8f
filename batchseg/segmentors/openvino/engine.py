"""OpenVINO as the engine of a network: compiled once for each size of input, and held against torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from batchseg.segmentors.network.engine import Engine
from batchseg.segmentors.openvino.loading import load_openvino
from batchseg.segmentors.openvino.source import NetworkSource

SIZES = 4  # of inputs for which a network is compiled; each keeps a copy of its weights
HINTS = {"fp32": "f32", "bf16": "bf16"}
# difference of the outputs' vectors, as a share of their length: rounding, and no more
TOLERANCE = {"fp32": 1e-3, "bf16": 0.1}
OF_QUANTISED = 0.5  # such a network was judged before: this finds one that was fixed to another size
_LONGEST = 300  # of the library's own error

Compiled = Callable[[Tensor], tuple[Tensor, ...]]


class OpenVinoEngine:
    """Computes each image by itself, so that its scores do not depend on what else is in a batch.

    A network is converted by watching it run once, which may fix what depends on the size of its input. So
    for each size the first image is computed by the plain engine, too, and where the two do not agree the
    network is converted for this size. If they still do not, and for sizes beyond the first four, the plain
    engine goes on.

    Args:
        plain: what the network was loaded with.
        precision: fp32 or bf16.
        threads: that it may use; None: as many as there are cores.
        required: raise RuntimeError where it cannot be used, in place of going on. Then sizes beyond the
            first four take the place of others.
        tolerance: how far its outputs may be from the plain engine's, as a share of their length.
        at_once: images in a call, of a network that takes no other number of them.
    """

    def __init__(
        self,
        plain: Engine,
        source: NetworkSource,
        precision: str,
        threads: int | None,
        *,
        required: bool,
        tolerance: float,
        at_once: int = 1,
    ) -> None:
        self.plain, self.source, self.precision, self.threads = plain, source, precision, threads
        self.required, self.tolerance, self.at_once = required, tolerance, at_once
        self.used = plain.used
        self.why_not: str | None = None
        self._compiled: dict[tuple[int, ...], Compiled | None] = {}

    def __call__(self, input_BCHW: Tensor) -> tuple[Tensor, ...]:
        compiled = self._for(input_BCHW[: self.at_once])
        if compiled is None:
            self.used = self.plain.used
            return self.plain(input_BCHW)
        self.used = "openvino"
        return compiled(input_BCHW)

    def _for(self, part_BCHW: Tensor) -> Compiled | None:
        shape = tuple(part_BCHW.shape)
        if shape not in self._compiled:
            self._compiled[shape] = self._compile(part_BCHW)
        return self._compiled[shape]

    def _compile(self, part_BCHW: Tensor) -> Compiled | None:
        if len(self._compiled) >= SIZES:
            if not self.required:
                return None
            del self._compiled[next(iter(self._compiled))]
        reason = ""
        for own in (False, True):
            try:
                found = self._read(tuple(part_BCHW.shape), own)
                self._check(found(part_BCHW), self.plain(part_BCHW))
            except Exception as exc:  # the library's own code may fail in any way
                reason = " ".join(str(exc).split())[:_LONGEST]
            else:
                return found
        if self.required:
            raise RuntimeError(
                f"segmentor.engine: openvino cannot compute this network ({reason}); leave it at auto"
            )
        self.why_not = reason
        return None

    def _read(self, shape: tuple[int, ...], own: bool) -> Compiled:
        library = load_openvino()
        model = self.source.read(shape, own=own)
        model.reshape([*shape])
        options = {
            "INFERENCE_PRECISION_HINT": HINTS[self.precision],
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # or all processes sit on the same core
            **({"INFERENCE_NUM_THREADS": self.threads} if self.threads else {}),
        }
        return _caller(library.Core().compile_model(model, "CPU", options), self.at_once)

    def _check(self, found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
        """Raises ValueError where they are not the same but for rounding."""
        for ours, theirs in zip(found, expected, strict=True):
            if ours.shape != theirs.shape:
                raise ValueError(f"its output is {[*ours.shape]}, and torch's {[*theirs.shape]}")
            ours, theirs = ours.float(), theirs.float()
            share = float((ours - theirs).norm() / theirs.norm().clamp(min=1e-12))
            if not share <= self.tolerance:  # nor where it is not a number
                raise ValueError(f"its output differs from torch's by {share:.3g} of its length")


def _caller(compiled: Any, at_once: int) -> Compiled:
    """From a batch, some images after others, to tensors that the next call leaves alone."""
    library, request = load_openvino(), compiled.create_infer_request()
    kinds = [(tuple(each.shape), each.element_type.to_dtype()) for each in compiled.outputs]

    def call(input_BCHW: Tensor) -> tuple[Tensor, ...]:
        parts = len(input_BCHW) // at_once
        made = [np.empty((parts, *shape), dtype) for shape, dtype in kinds]
        for number, part in enumerate(torch.split(input_BCHW, at_once)):
            for place, output in enumerate(made):  # it writes there: to copy large scores takes long
                request.set_output_tensor(place, library.Tensor(output[number], shared_memory=True))
            request.infer({0: part.contiguous().numpy()}, share_inputs=True, share_outputs=True)
        return tuple(torch.from_numpy(output.reshape(-1, *output.shape[2:])) for output in made)

    return call
