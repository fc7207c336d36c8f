"""Where OpenVINO gets a network from: a module of torch, an ONNX file, or a file of its own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from filelock import FileLock
from torch import nn

from batchseg.segmentors.openvino.loading import load_openvino, silent

NAME = "network.xml"  # its weights lie beside it
KEPT = 16  # converted networks in the cache


class NetworkSource(Protocol):
    """A network that OpenVINO can read, of one input."""

    def read(self, shape: tuple[int, ...], *, own: bool = False) -> Any:
        """A model of OpenVINO whose input may still be given another size.

        Args:
            shape: of the input that it will be used for.
            own: one that was made for this size alone, if there is any.
        """
        ...


@dataclass(frozen=True)
class NetworkFile:
    """A file that OpenVINO itself reads: an ONNX network, or a converted one.

    Attributes:
        output: name of the only one that is wanted; None: all, in their order.
    """

    path: Path
    output: str | None = None

    def read(self, shape: tuple[int, ...], *, own: bool = False) -> Any:
        library = load_openvino()
        model = library.Core().read_model(self.path)
        if self.output is None:
            return model
        return library.Model([model.output(self.output)], model.get_parameters())


@dataclass(frozen=True)
class TorchSource:
    """A module of torch, converted once and kept on the disk.

    Attributes:
        key: what the conversion depends on: the same key, the same network.
    """

    core: nn.Module
    cache: Path
    key: str

    def read(self, shape: tuple[int, ...], *, own: bool = False) -> Any:
        size = "x".join(map(str, shape))
        folder = self.cache / (f"{self.key}-{size}" if own else self.key)
        try:
            self.cache.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{folder}.lock"):  # a second process waits for the first
                return self._kept(folder, shape)
        except OSError:  # a cache that cannot be written
            with tempfile.TemporaryDirectory() as made:
                return self._converted(Path(made) / folder.name, shape)

    def _kept(self, folder: Path, shape: tuple[int, ...]) -> Any:
        if folder.is_dir():
            with suppress(RuntimeError):  # a file that was cut off: converted again
                found = NetworkFile(folder / NAME).read(shape)
                os.utime(folder)
                return found
            shutil.rmtree(folder)
        found = self._converted(folder, shape)
        _drop_oldest(self.cache)
        return found

    def _converted(self, folder: Path, shape: tuple[int, ...]) -> Any:
        """As it is read from its file: in memory it may be put together otherwise, and round otherwise."""
        save(convert(self.core, shape), folder)
        return NetworkFile(folder / NAME).read(shape)


def save(model: Any, folder: Path) -> None:
    """Whole or not at all, in the precision that it has. Raises OSError."""
    unfinished = Path(tempfile.mkdtemp(prefix=".tmp-", dir=folder.parent))
    try:
        try:
            load_openvino().save_model(model, unfinished / NAME, compress_to_fp16=False)
        except RuntimeError as exc:
            raise OSError(f"{folder}: {exc}") from exc
        os.replace(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def convert(core: nn.Module, shape: tuple[int, ...]) -> Any:
    """By running the module once on noise of that shape."""
    noise = torch.Generator().manual_seed(0)
    with torch.inference_mode(mode=False), torch.no_grad(), _as_written(core), silent():
        example = torch.randn(shape, generator=noise)
        return load_openvino().convert_model(core, example_input=example)


@contextmanager
def _as_written(core: nn.Module) -> Iterator[None]:
    """Without the functions that modules were given for torch alone (`network.pointwise`)."""
    given = [(each, each.__dict__.pop("forward")) for each in core.modules() if "forward" in each.__dict__]
    try:
        yield
    finally:
        for module, forward in given:
            module.forward = forward


def _drop_oldest(cache: Path) -> None:
    folders = [each for each in cache.iterdir() if each.is_dir() and not each.name.startswith(".")]
    for each in sorted(folders, key=lambda folder: folder.stat().st_mtime)[:-KEPT]:
        shutil.rmtree(each, ignore_errors=True)
        Path(f"{each}.lock").unlink(missing_ok=True)
