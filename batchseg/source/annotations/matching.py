"""Which annotated image is which of the source: by its path, or by the end of it where one alone fits."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from batchseg.config.source import IMAGE_SUFFIXES
from batchseg.source.truths import composed

_EXACT = 2**31
_SEVERAL = -1
_UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")  # what Label Studio puts before the names of uploads


@dataclass(slots=True)
class _Claim:
    """The image that fits a name best: how many parts of the paths agree, and how many images fit so well."""

    parts: int
    image_id: str
    images: int = 1


class Matching:
    """Names of annotated images, held against the ids of all images of a source.

    A name is that of an image whose id it is. Else it is that of the one image with which it shares most
    parts of the path, from the end on and without the extension. Memory is of the names alone.

    Attributes:
        of_image: the place of the name of an image, by its id; complete once `settle` was called.
        unmatched: places of names that no image has.
        unclear: places of names that several images have alike.
        by_end: names of images in other folders than the names say.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = [composed(name) for name in names]
        self.exact = {name: place for place, name in enumerate(self.names)}
        self.ends: dict[str, int] = {}
        self.claims: dict[int, _Claim] = {}
        self.of_image: dict[str, int] = {}
        self.unmatched: list[int] = []
        self.unclear: list[int] = []
        self.by_end: list[int] = []
        for place, name in enumerate(self.names):
            ends = [*_ends(_stem(name))]
            for end in (*ends, _UPLOADED.sub("", ends[-1])):
                self.ends[end] = place if self.ends.get(end, place) == place else _SEVERAL

    def see(self, image_id: str, path: str) -> None:
        """Take an image into account.

        Args:
            path: its whole path without the extension: what names are compared with where none is its id.
        """
        if (place := self.exact.get(composed(image_id))) is not None:
            self._claim(place, image_id, _EXACT)
            return
        for end in _ends(composed(path)):
            if (place := self.ends.get(end)) is not None:
                if place != _SEVERAL:
                    self._claim(place, image_id, end.count("/") + 1)
                return

    def _claim(self, place: int, image_id: str, parts: int) -> None:
        before = self.claims.get(place)
        if before is None or before.parts < parts:
            self.claims[place] = _Claim(parts, image_id)
        elif before.parts == parts:
            before.images += 1

    def settle(self) -> None:
        """All images were seen."""
        for place, name in enumerate(self.names):
            claim = self.claims.get(place)
            if claim is None:
                self.unmatched.append(place)
            elif claim.images > 1:
                self.unclear.append(place)
            else:
                self.of_image[claim.image_id] = place
                parts = min(claim.image_id.count("/"), name.count("/")) + 1
                if claim.parts < parts:
                    self.by_end.append(place)


def _ends(path: str) -> Iterator[str]:
    """`a/b/c`, `b/c`, `c`."""
    yield path
    while "/" in path:
        path = path.partition("/")[2]
        yield path


def _stem(name: str) -> str:
    stem, end = os.path.splitext(name)
    return stem if end.lower() in IMAGE_SUFFIXES else name
