"""Images in a folder, in the order of their ids, one directory in memory at a time."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import fs

from batchseg.config.source import FolderSource
from batchseg.errors import SourceError
from batchseg.source.directory import FILES, ROWS_A_TABLE, read_directory, readable
from batchseg.source.globs import matches
from batchseg.source.listing import LISTING
from batchseg.storage.keys import KeyIndex, keys
from batchseg.storage.location import Location, locate, plain_errors
from batchseg.storage.versions import version, version_at

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff")
Truth = tuple[str | None, str | None]  # where it is, and its version

MASK_SUFFIXES = (".png", ".tif", ".tiff", ".npy", ".bmp", ".gif")


class Folder:
    """The images below a folder. Hidden names are passed over, and so are the folders `without`.

    Args:
        source: where, which, and where the truth lies.
        suffixes: endings, in lower case, of the files that count.
        without: folders that hold no images although they may lie below the source, such as the results.

    Raises:
        SourceError: the folder cannot be listed, or one of `without` is the folder itself.
    """

    def __init__(
        self,
        source: FolderSource,
        without: tuple[str, ...] = (),
        suffixes: tuple[str, ...] = IMAGE_SUFFIXES,
        stem: Callable[[str], str] | None = None,
    ) -> None:
        self.source = source
        self.suffixes = suffixes
        self.root = existing_folder(source.path)
        self.truth_root = existing_folder(source.truth) if source.truth else None
        self.without = {seen_from(self.root, path) for path in without}
        if self.root.path in self.without:
            raise SourceError(f"{source.path}: results would lie among the images; give them another folder")
        if source.truth:
            self.without.add(seen_from(self.root, source.truth))
        self.whole = tuple(glob for glob in source.exclude if glob.endswith("*"))
        self.truth_stem = stem or stem_rule(source.truth_suffix)
        self._truths_in = ("", _Files(FILES.empty_table()))

    def tables(self) -> Iterator[pa.Table]:
        """The listing, in tables of bounded size."""
        left = self.source.limit
        for below, files in self._walk(self.root, ""):
            rows = self._rows(below, self._wanted(below, files))
            if left is not None:
                rows = rows[:left]
                left -= len(rows)
            if rows:
                yield pa.Table.from_pylist(rows, schema=LISTING)
            if left == 0:
                return

    def truth_examples(self, count: int) -> list[str]:
        """Some paths below the truth folder, to show beside images that match none of them."""
        found: list[str] = []
        if self.truth_root is not None:
            for below, files in self._walk(self.truth_root, ""):
                found += [below + name for name in files["name"].slice(0, count).to_pylist()]
                if len(found) >= count:
                    break
        return found[:count]

    def _walk(self, root: Location, below: str) -> Iterator[tuple[str, pa.Table]]:
        place = root / below.rstrip("/") if below else root
        files, folders = _list(place, root)
        start = 0
        for name in folders:
            # the ids in a folder begin with its name and a slash: `a.jpg` comes before them, `a0.jpg` after
            end = bisect_left(files["name"], f"{name}/", lo=start, key=lambda scalar: str(scalar.as_py()))
            yield from _slices(below, files.slice(start, end - start))
            start = end
            if not self._passed_over(place / name, f"{below}{name}/"):
                yield from self._walk(root, f"{below}{name}/")
        yield from _slices(below, files.slice(start))

    def _passed_over(self, folder: Location, below: str) -> bool:
        """A glob that matches a folder and ends in `*` leaves out all that lies in it."""
        return folder.path in self.without or matches(below, self.whole)

    def _wanted(self, below: str, files: pa.Table) -> list[dict[str, Any]]:
        include, exclude = self.source.include, self.source.exclude
        return [
            file
            for file in files.to_pylist()
            if file["name"].lower().endswith(self.suffixes)
            and (not include or matches(below + file["name"], include))
            and not matches(below + file["name"], exclude)
        ]

    def _rows(self, below: str, files: list[dict[str, Any]]) -> list[dict[str, Any]]:
        truths = self._truths(below, [file["name"] for file in files])
        return [self._row(below, file, truth) for file, truth in zip(files, truths, strict=True)]

    def _row(self, below: str, file: dict[str, Any], truth: Truth) -> dict[str, Any]:
        path = below + file["name"]
        usable = file["status"] is None
        return {
            "id": path,
            "uri": str(self.root / path),
            "truth": truth[0],
            "truth_version": truth[1],
            "source_version": version(file["size"], file["modified_ns"]) if usable else None,
            "size": file["size"],
            "status": file["status"],
            "error": file["error"],
        }

    def _truths(self, below: str, names: list[str]) -> list[Truth]:
        """The truth of each file, with its version: its stem, changed by the rule, with the first ending
        that exists. Truth for a part of the images is normal."""
        if self.truth_root is None or not names:
            return [(None, None)] * len(names)
        place = self.truth_root / below.rstrip("/") if below else self.truth_root
        present = self._files(place)
        stems = [self.truth_stem(os.path.splitext(name)[0]) for name in names]
        chosen: list[Truth] = [(None, None)] * len(names)
        for end in reversed([end for lower in MASK_SUFFIXES for end in (lower, lower.upper())]):
            at = present.index.find(keys(stem + end for stem in stems))
            for index in np.flatnonzero(at >= 0):
                uri = str(place / (stems[index] + end))
                chosen[index] = (uri, version_at(present.version(at[index]), uri))
        return chosen

    def _files(self, place: Location) -> _Files:
        """A folder of truths; one look serves a folder of images in several tables."""
        if self._truths_in[0] != place.path:
            files = _list(place, place)[0] if place.is_folder() else FILES.empty_table()
            self._truths_in = (place.path, _Files(files))
        return self._truths_in[1]


class _Files:
    """The files of one folder, by name: 32 bytes each."""

    def __init__(self, files: pa.Table) -> None:
        self.index = KeyIndex(keys(files["name"]))
        self.sizes, self.times = files["size"].to_numpy(), files["modified_ns"].to_numpy()
        self.usable = files["status"].is_null().to_numpy()

    def version(self, at: int) -> str | None:
        """Of one of the files; None where it cannot be used as it is."""
        return version(int(self.sizes[at]), int(self.times[at])) if self.usable[at] else None


def stem_rule(rule: str | None) -> Callable[[str], str]:
    """FROM=TO as a function on stems; a stem that does not end in FROM stays as it is."""
    if rule is None:
        return lambda stem: stem
    before, _, after = rule.partition("=")
    return lambda stem: stem.removesuffix(before) + after if stem.endswith(before) else stem


def existing_folder(path: str) -> Location:
    """Raises SourceError unless there is a folder at `path`."""
    place = locate(path)
    try:
        kind = place.info().type
    except OSError as exc:
        raise SourceError(f"{path}: cannot be looked at: {exc.strerror or exc}") from exc
    if kind == fs.FileType.NotFound:
        raise SourceError(f"{path}: no such folder")
    if kind != fs.FileType.Directory:
        raise SourceError(f"{path}: not a folder; a manifest's name ends in .parquet")
    return place


def seen_from(root: Location, path: str) -> str:
    """The path of a folder as a walk from `root` meets it, whatever links lead to either of them."""
    place = locate(path)
    if not (root.is_local and place.is_local):
        return place.path
    below = os.path.relpath(os.path.realpath(place.path), os.path.realpath(root.path))
    return os.path.normpath(os.path.join(root.path, below))


def _list(place: Location, root: Location) -> tuple[pa.Table, list[str]]:
    try:
        with plain_errors():
            return read_directory(place, root)
    except PermissionError as exc:
        raise SourceError(
            f"{place}: this folder may not be listed; give it read permission, or exclude it"
        ) from exc
    except OSError as exc:
        raise SourceError(f"{place}: cannot be listed: {exc.strerror or exc}") from exc


def _slices(below: str, files: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    for start in range(0, len(files), ROWS_A_TABLE):
        yield readable(below), files.slice(start, ROWS_A_TABLE)
