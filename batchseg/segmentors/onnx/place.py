"""Where the files of an ONNX network are: the network, its description, and weights that lie beside it."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from batchseg.errors import ConfigError, ModelError
from batchseg.segmentors.fetched import current_version, fetch
from batchseg.segmentors.onnx.loading import load_onnx
from batchseg.segmentors.strangers import hollow_file
from batchseg.storage.hashing import sha256_of
from batchseg.storage.location import is_uri, locate

DESCRIPTIONS = (".yaml", ".yml")


@dataclass(frozen=True)
class OnnxPlace:
    """A network, so that every worker reads the same.

    Attributes:
        name: absolute path of the file, or its URI.
        files: the file's own name, and those of its weights beside it, relative to its folder.
        digest: what these files hash to.
        version: at a URI, of what lies there.
    """

    name: str
    files: tuple[str, ...]
    digest: str
    version: str | None = None

    def path(self) -> Path:
        """The network on this machine; a worker that lacks one from elsewhere fetches it.

        Raises ModelError.
        """
        if self.version is None:
            return Path(self.name)
        folder = fetch(_folder_of(self.name), _patterns(self.files), self.version, self._check)
        return folder / self.files[0]

    def _check(self, folder: Path) -> None:
        if self.digest not in ("", _digest(folder, self.files)):
            raise ModelError(f"{self.name}: the files that arrived here are not those the driver has")


def find_network(model: str) -> tuple[OnnxPlace, Path]:
    """The network that is named, and its file on this machine. Raises ModelError."""
    if is_uri(model):
        return _at_uri(model)
    path = Path(model).expanduser()
    if not path.is_file():
        raise ModelError(f"there is no file {model}")
    path = path.resolve()
    files = (path.name, *_external_files(path, model))
    for file in files[1:]:
        if not (path.parent / file).is_file():
            raise ModelError(
                f"{model} keeps weights in another file, {file}, and that is not beside it; copy it there, "
                "or save the network in one file"
            )
    return OnnxPlace(str(path), files, _digest(path.parent, files)), path


def description_of(path: Path) -> Path | None:
    """The YAML file of the same stem; None: there is none."""
    return next((found for end in DESCRIPTIONS if (found := path.with_suffix(end)).is_file()), None)


def _at_uri(uri: str) -> tuple[OnnxPlace, Path]:
    try:
        place = locate(uri)
        is_there = place.exists()
    except (OSError, ConfigError) as exc:
        reason = getattr(exc, "strerror", None) or exc
        raise ModelError(f"{uri}: the model cannot be fetched: {reason}") from exc
    if not is_there:
        raise ModelError(f"there is no file {uri}")
    found = _fetched(uri, (place.name,))
    external = _external_files(found.path(), uri)
    if external:
        found = _fetched(uri, (place.name, *external))
        missing = [file for file in external if not (found.path().parent / file).is_file()]
        if missing:
            raise ModelError(
                f"{uri} keeps weights in another file, {missing[0]}, and that is not beside it; copy it there"
            )
    path = found.path()
    return OnnxPlace(uri, found.files, _digest(path.parent, found.files), found.version), path


def _fetched(uri: str, files: tuple[str, ...]) -> OnnxPlace:
    return OnnxPlace(uri, files, "", current_version(_folder_of(uri), _patterns(files)))


def _folder_of(uri: str) -> str:
    return str(locate(uri).parent)


def _patterns(files: Sequence[str]) -> tuple[str, ...]:
    """Of the files and of a description, whose names are no patterns."""
    stem = PurePosixPath(files[0]).stem
    return tuple(map(glob.escape, (*files, *(f"{stem}{end}" for end in DESCRIPTIONS))))


def _external_files(path: Path, name: str) -> tuple[str, ...]:
    """The files that weights are kept in, relative to the network's own folder."""
    library = load_onnx()
    if hollow := hollow_file(path, name):
        raise ModelError(hollow)
    try:
        model = library.load(str(path), load_external_data=False)
    except Exception as exc:  # whatever protobuf raises of bytes that are none
        raise ModelError(f"{name} is not an ONNX network: it cannot be read as one") from exc
    if not model.graph.node:
        raise ModelError(f"{name} is not an ONNX network: it has no graph")
    found = {
        entry.value
        for tensor in _tensors(model.graph)
        for entry in tensor.external_data
        if entry.key == "location" and tensor.data_location == library.TensorProto.EXTERNAL
    }
    for file in sorted(found):
        inside = PurePosixPath(file.replace("\\", "/"))
        if inside.is_absolute() or ".." in inside.parts:
            raise ModelError(
                f"{name} keeps weights outside of its own folder, in {file}; save it in one file"
            )
    return tuple(sorted(found))


def _tensors(graph: Any) -> Iterator[Any]:
    """All constants of a graph and of the graphs within it."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.initializer:
                    yield from _tensors(inner)


def _digest(folder: Path, files: Sequence[str]) -> str:
    """SHA-256, in hex, of the contents of the files."""
    return hashlib.sha256(b"".join(sha256_of(folder / name) for name in files)).hexdigest()
