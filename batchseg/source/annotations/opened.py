"""A file of annotations, told by its content, and read whatever tool wrote it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from batchseg.errors import SourceError
from batchseg.source.annotations.archive import BROKEN, main_file, open_archive, read_mask_archive
from batchseg.source.annotations.coco import Beside, CocoFile
from batchseg.source.annotations.cvat import read_cvat_xml
from batchseg.source.annotations.found import KINDS, FoundAnnotations
from batchseg.source.annotations.json_stream import elements
from batchseg.source.annotations.label_studio import LabelStudioFile
from batchseg.storage.location import Location, plain_errors

_BUFFER = 2**20
_ZIP = (b"PK\3\4", b"PK\5\6")
_MARK = b"\xef\xbb\xbf"


@contextmanager
def open_annotations(place: Location) -> Iterator[FoundAnnotations]:
    """What a file says; images are read inside the block. Raises SourceError where it is none, or damaged."""
    try:
        with plain_errors(), _stream(place) as file:
            yield _found(file, place)
    except OSError as exc:
        raise SourceError(f"{place}: cannot be read: {exc.strerror or exc}") from exc


def _found(file: io.BufferedReader, place: Location) -> FoundAnnotations:
    try:
        head = file.read(len(_ZIP[0]))
        file.seek(0)
        if head.startswith(_ZIP):
            found = _zipped(open_archive(file))
        else:
            folder = place.parent / place.name.rpartition(".")[0]
            found = _plain(file, lambda name: (folder / name).read())
        if not found.images and not found.notes:
            raise ValueError("it names no image")
    except (ValueError, *BROKEN) as exc:
        raise SourceError(f"{place}: is no file of annotations that is read: {exc}. {_READ}") from exc
    return found


_READ = f"Read are {KINDS}; or give a folder of label files"


def _zipped(archive: zipfile.ZipFile) -> FoundAnnotations:
    if (masks := read_mask_archive(archive)) is not None:
        return masks
    main = main_file(archive)
    if main is None:
        raise ValueError("the zip has no labelmap.txt, annotations.xml or JSON file")
    folder = main.filename.rpartition(".")[0]

    def beside(name: str) -> bytes:
        try:
            return archive.read(f"{folder}/{name}")
        except (KeyError, *BROKEN) as exc:
            raise OSError(str(exc)) from exc

    with archive.open(main) as file:
        return _plain(io.BufferedReader(cast("io.RawIOBase", file)), beside)


def _plain(file: io.BufferedReader, beside: Beside) -> FoundAnnotations:
    """Of XML or JSON. Raises ValueError."""
    begin = file.peek(1).removeprefix(_MARK).lstrip()
    if begin[:1] == b"<":
        return read_cvat_xml(file)
    if begin[:1] == b"[":
        tasks = LabelStudioFile()
        for _, value in elements(file):
            tasks.take(value)
        return tasks.found()
    if begin[:1] != b"{":
        raise ValueError("it is neither JSON, XML nor a zip")
    coco = CocoFile()
    for key, value in elements(file):
        coco.take(str(key), value)
    return coco.found(beside)


def _stream(place: Location) -> io.BufferedReader:
    if place.is_local:
        return open(place.path, "rb")
    return io.BufferedReader(place.filesystem.open_input_file(place.path), _BUFFER)
