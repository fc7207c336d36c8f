"""Which file of a truth folder belongs to an image: the one at its place, of its name."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from unicodedata import normalize

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batchseg.source.directory import FILES
from batchseg.storage.keys import KeyIndex, keys
from batchseg.storage.location import Location
from batchseg.storage.versions import version, version_at

# the first that is there counts; JPEG and WebP lose class ids, so all others are better
MASK_SUFFIXES = (".png", ".tif", ".tiff", ".npy", ".bmp", ".gif")
LOSSY_SUFFIXES = (".jpg", ".jpeg", ".webp")
_RANKS = {end: rank for rank, end in enumerate((*MASK_SUFFIXES, *LOSSY_SUFFIXES))}
Truth = tuple[str | None, str | None]  # where it is, and its version
NO_TRUTH: Truth = (None, None)


class Truths:
    """The truths below a folder that mirrors another.

    Names are compared as a person reads them: with their accents composed (NFC), for some file systems and
    archives take them apart, and with their extensions in any case.

    Args:
        root: the folder of truths.
        images: the folder that it mirrors, in which no JPEG is its own truth.
        stem: how the stem of an image changes to that of its truth.
        read: what lists one folder, as `read_directory` does.
    """

    def __init__(
        self,
        root: Location,
        images: Location,
        stem: Callable[[str], str],
        read: Callable[[Location], tuple[pa.Table, list[str]]],
    ) -> None:
        self.root, self.stem, self.read = root, stem, read
        self.among_images = root.path == images.path
        self._last: tuple[str, _Files] | None = None

    def of(self, below: str, names: Sequence[str]) -> list[Truth]:
        """The truth of each image of one folder. Truth for a part of the images is normal."""
        if not names:
            return []
        present = self._files(below)
        stems = [self.stem(os.path.splitext(name)[0]) for name in names]
        at = present.find(stems)
        chosen = [NO_TRUTH] * len(names)
        found = np.flatnonzero(at >= 0)
        for index, file in zip(found.tolist(), present.names(at[found]), strict=True):
            if self.among_images and file == names[index] and _ending(file) in LOSSY_SUFFIXES:
                continue
            uri = present.place.uri_below(file)
            chosen[index] = (uri, version_at(present.version(at[index]), uri))
        return chosen

    def _files(self, below: str) -> _Files:
        """One look serves a folder of images that comes in several tables."""
        if self._last is None or self._last[0] != below:
            place = self._folder(below)
            self._last = below, _Files(place or self.root, self.read(place)[0] if place else None)
        return self._last[1]

    def _folder(self, below: str) -> Location | None:
        place = self.root / below.rstrip("/") if below else self.root
        if place.is_folder():
            return place
        if below.isascii():
            return None
        place = self.root
        for part in below.rstrip("/").split("/"):
            if not (place / part).is_folder():
                same = [name for name in self.read(place)[1] if composed(name) == composed(part)]
                if not same:
                    return None
                part = same[-1]
            place = place / part
        return place


class _Files:
    """The files of one folder that may be truths, by name: some 50 bytes each, and the name."""

    def __init__(self, place: Location, files: pa.Table | None) -> None:
        self.place = place
        files = FILES.empty_table() if files is None else files
        self._names = files["name"]
        self._composed = _ByStem(self._names.to_pylist(), composed)
        self._sizes, self._times = files["size"].to_numpy(), files["modified_ns"].to_numpy()
        self._usable = files["status"].is_null().to_numpy()

    def find(self, stems: Sequence[str]) -> NDArray[np.intp]:
        """The place of the file of each stem that has the first of the endings, or -1.

        Where two differ in the accents alone, it is the one that is written as the stem is.
        """
        folded = [composed(stem) for stem in stems]
        at = self._composed.find(folded)
        apart = [index for index, stem in enumerate(stems) if stem != folded[index]]
        if apart:
            exact = self._as_written.find([stems[index] for index in apart])
            at[apart] = np.where(exact >= 0, exact, at[apart])
        return at

    def names(self, at: NDArray[np.intp]) -> list[str]:
        """The names of the files at these places."""
        found: list[str] = self._names.take(pa.array(at)).to_pylist()
        return found

    def version(self, at: int) -> str | None:
        """Of one of the files; None where it cannot be used as it is."""
        return version(int(self._sizes[at]), int(self._times[at])) if self._usable[at] else None

    @cached_property
    def _as_written(self) -> _ByStem:
        return _ByStem(self._names.to_pylist(), str)


class _ByStem:
    """Where the file of each stem is that has the first of the endings, among names in order."""

    def __init__(self, names: list[str], fold: Callable[[str], str]) -> None:
        stems = keys(fold(os.path.splitext(name)[0]) for name in names)
        ranks = np.fromiter((_RANKS.get(_ending(name), len(_RANKS)) for name in names), np.int8)
        # the last of a stem is found: that of the first ending, and of `a.PNG` and `a.png` the lower one
        order = np.argsort(-ranks, kind="stable")
        order = order[ranks[order] < len(_RANKS)]
        self._index = KeyIndex(stems[order])
        self._places = np.append(order, -1)

    def find(self, stems: Sequence[str]) -> NDArray[np.intp]:
        """The place of each stem's file, or -1."""
        places: NDArray[np.intp] = self._places[self._index.find(keys(stems))]
        return places


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def composed(name: str) -> str:
    """A name with its accents composed, as names are compared."""
    return name if name.isascii() else normalize("NFC", name)
