"""Networks of 8 bits: what they are made of, how they are made, and where they lie."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor

from batchseg.segmentors.fetched import cache_folder
from batchseg.segmentors.network.engine import Engine
from batchseg.segmentors.openvino.loading import load_nncf, silent
from batchseg.segmentors.openvino.source import NAME, NetworkSource, save
from batchseg.storage.location import Location

_LONGEST = 300  # of the library's own error
FILES = ("network.bin", NAME)  # the second is there when both are


class CannotQuantise(Exception):
    """Why, as the end of a sentence that begins with the model."""


class Recorder:
    """An engine that keeps the first inputs it is given.

    Attributes:
        inputs: each of `at_once` images, float32 or what else the network reads.
        source: where OpenVINO gets the network from.
    """

    def __init__(self, plain: Engine, source: NetworkSource, most: int, at_once: int = 1) -> None:
        self.plain, self.source, self.most, self.at_once = plain, source, most, at_once
        self.used, self.why_not = plain.used, plain.why_not
        self.inputs: list[NDArray[Any]] = []

    def __call__(self, input_BCHW: Tensor) -> tuple[Tensor, ...]:
        for start in range(0, len(input_BCHW), self.at_once):
            if len(self.inputs) < self.most:
                part = input_BCHW[start : start + self.at_once]
                self.inputs.append(np.ascontiguousarray(part.numpy()).copy())
        return self.plain(input_BCHW)


def quantise(recorder: Recorder, folder: Path, *, is_transformer: bool) -> None:
    """Save the network with weights and activations of 8 bits, whose scales are those of the inputs.

    Raises CannotQuantise.
    """
    library, inputs = load_nncf(), recorder.inputs
    if not inputs:
        raise CannotQuantise("was given none of the sampled images to choose its scales on")
    kind = library.ModelType.TRANSFORMER if is_transformer else None
    quiet = io.StringIO()
    try:
        with silent(), contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            made = library.quantize(
                recorder.source.read(tuple(inputs[0].shape)),
                library.Dataset(inputs),
                model_type=kind,
                subset_size=len(inputs),
            )
            save(made, folder)
    except Exception as exc:  # the library's own code may fail in any way
        reason = " ".join(str(exc).split())[:_LONGEST]
        raise CannotQuantise(f"cannot be: {reason}") from exc


def upload(folder: Path, place: Location) -> None:
    """Bring a network to where all workers find it. Raises OSError."""
    place.make_folder()
    for name in FILES:
        (place / name).write((folder / name).read_bytes())


def at_hand(place: Location) -> Path:
    """A folder on this machine with the network, fetched once a node. Raises OSError."""
    if place.is_local:
        return Path(place.path)
    folder = cache_folder("quantised") / place.name
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        for name in FILES:
            if not (folder / name).is_file():
                (place / name).download(folder / f".{name}")
                (folder / f".{name}").rename(folder / name)
    return folder
