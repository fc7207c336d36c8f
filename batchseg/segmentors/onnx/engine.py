"""ONNX Runtime as the engine of a network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from batchseg.segmentors.onnx.signature import Signature

_NO_MEMORY = re.compile("failed to allocate|out of memory|bad_alloc", re.IGNORECASE)
_LONGEST = 300  # of the library's own error


class SessionEngine:
    """A session of ONNX Runtime.

    Attributes:
        path: of the network's file.
        output: name of the one that is asked for, of perhaps several.
        at_once: images in a call, where the network takes no other number of them; else 1.
    """

    def __init__(self, session: Any, path: Path, signature: Signature) -> None:
        self.session, self.path = session, path
        self.feed, self.output, self.at_once = signature.feed, signature.output, signature.batch or 1
        self.used = "onnxruntime"
        self.why_not: str | None = None

    def __call__(self, batch: Tensor) -> tuple[Tensor]:
        """Raises MemoryError where a smaller batch may fit, and RuntimeError for what cannot be computed."""
        try:
            (answer,) = self.session.run([self.output], {self.feed: batch.contiguous().numpy()})
        except Exception as exc:  # the library's errors have no common class
            reason = " ".join(str(exc).split())[:_LONGEST]
            if _NO_MEMORY.search(reason):
                raise MemoryError(reason) from exc
            raise RuntimeError(
                f"ONNX Runtime cannot compute an input of {[*batch.shape]} ({reason}); where a network "
                "needs sides that are multiples of a number, the setting `multiple` names it"
            ) from exc
        return (torch.from_numpy(answer),)
