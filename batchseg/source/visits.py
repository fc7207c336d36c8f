"""Folders that links lead to, each listed once."""

from __future__ import annotations

import os

from batchseg.storage.location import Location


class Visits:
    """Which folders were gone into, where links are followed: none is twice, whatever leads there.

    What lies in the source itself is listed under its own path, and of several links to a folder elsewhere
    the first counts.

    Args:
        root: the source.
        barred: the real paths of folders that are never gone into.
    """

    def __init__(self, root: Location, barred: set[str]) -> None:
        self.root, self.barred = os.path.realpath(root.path), barred
        self.seen: set[str] = set()

    def begin(self) -> None:
        """Forget all but the root."""
        self.seen = {self.root}

    def is_barred(self, path: str) -> bool:
        return os.path.realpath(path) in self.barred

    def is_new(self, path: str) -> bool:
        """Whether to go into a folder; if so, it counts as seen."""
        real = os.path.realpath(path)
        below = os.path.relpath(real, self.root).split(os.sep)
        # a hidden folder is met by no other way than by a link to it
        met_anyway = below[0] != os.pardir and not any(part.startswith(".") for part in below)
        if real in self.seen or (os.path.islink(path) and met_anyway):
            return False
        self.seen.add(real)
        return True
