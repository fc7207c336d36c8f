"""Zip archives of annotations: nothing is unpacked to a disk, and sizes are looked at first."""

from __future__ import annotations

import zipfile
import zlib
from functools import partial
from typing import BinaryIO

from batchseg.config.base import Limits
from batchseg.images.annotation import Annotation
from batchseg.source.annotations.cvat import read_colours
from batchseg.source.annotations.found import AnnotatedImage, FoundAnnotations, plain_path, problem_of

_SMALL, _DENSEST = 2**26, 200  # bytes from which on a file must not be packed denser than this
_COLOURS, _MASKS = "labelmap.txt", "SegmentationClass/"
BROKEN = (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError)


def open_archive(file: BinaryIO) -> zipfile.ZipFile:
    """A zip whose files are all that they are said to be. Raises ValueError."""
    try:
        archive = zipfile.ZipFile(file)
    except BROKEN as exc:
        raise ValueError(f"the zip is damaged or truncated ({exc})") from exc
    for info in archive.infolist():
        parts = info.filename.replace("\\", "/").split("/")
        if ".." in parts or info.filename.startswith(("/", "\\")) or ":" in parts[0]:
            raise ValueError(f"the zip names a file outside of itself, {info.filename!r}")
        if info.file_size > max(_SMALL, _DENSEST * info.compress_size):
            raise ValueError(
                f"{info.filename} in the zip would unpack to {info.file_size:,} bytes from "
                f"{info.compress_size:,}, which no annotations do"
            )
    return archive


def main_file(archive: zipfile.ZipFile) -> zipfile.ZipInfo | None:
    """The XML of CVAT, or the one JSON file. Raises ValueError where there are several."""
    files = [info for info in archive.infolist() if not info.is_dir()]
    xml = [info for info in files if info.filename.rpartition("/")[2] == "annotations.xml"]
    json = [info for info in files if info.filename.lower().endswith(".json")]
    chosen = xml or json
    if len(chosen) > 1:
        names = ", ".join(info.filename for info in chosen[:3])
        raise ValueError(f"the zip holds {len(chosen)} files of annotations ({names}); give one of them")
    return chosen[0] if chosen else None


def read_mask_archive(archive: zipfile.ZipFile) -> FoundAnnotations | None:
    """Of CVAT's Segmentation mask 1.1; None where the zip is none. Raises ValueError where it is damaged."""
    tables = [info for info in archive.infolist() if info.filename.rpartition("/")[2] == _COLOURS]
    if not tables:
        return None
    table = min(tables, key=lambda info: len(info.filename))
    folder = table.filename.removesuffix(_COLOURS) + _MASKS
    try:
        colours = read_colours(archive.read(table).decode("utf-8"))
    except (UnicodeDecodeError, *BROKEN) as exc:
        raise ValueError(f"its labelmap.txt cannot be read ({exc})") from exc
    found = FoundAnnotations()
    for info in archive.infolist():
        if info.filename.startswith(folder) and info.filename.lower().endswith(".png"):
            name = plain_path(info.filename.removeprefix(folder))
            found.images.append(AnnotatedImage(name, partial(_mask, archive, info, colours)))
    if not found.images:
        raise ValueError(f"the zip has a {_COLOURS}, and no masks in {folder}")
    return found


def _mask(archive: zipfile.ZipFile, info: zipfile.ZipInfo, colours: dict[int, str]) -> Annotation:
    most = Limits().max_bytes
    if info.file_size > most:
        return problem_of(f"its mask in the zip has {info.file_size:,} bytes, and at most {most:,} are read")
    try:
        return Annotation(picture=archive.read(info), colours=dict(colours))
    except BROKEN as exc:
        return problem_of(f"its mask in the zip cannot be read ({exc})")
