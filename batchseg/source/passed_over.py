"""What lies in a source folder and is not listed, by kind: nothing is left out without a word."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

HIDDEN, LINKS, TWICE = "hidden", "links to folders", "folders listed elsewhere"
BARE, OTHERS = "no extension", "other kinds"
MOST_KINDS = 20  # a series may number its files by their extensions


@dataclass
class PassedOver:
    """Names that were passed over.

    Attributes:
        counts: how many, by extension in lower case, or by another reason.
        examples: the path of the first of each kind.
    """

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, path: str, kind: str) -> None:
        """One more of this kind."""
        kind = kind if kind in self.counts or len(self.counts) < MOST_KINDS else OTHERS
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.examples.setdefault(kind, path)

    def add_file(self, path: str) -> None:
        """A file that no extension of an image tells."""
        self.add(path, os.path.splitext(path)[1].lower() or BARE)

    def sentence(self) -> str:
        """All kinds with an example each, and what lists those that can be listed; empty without any."""
        return counted(self.counts, self.examples)


def counted(counts: dict[str, int], examples: dict[str, str] | None = None) -> str:
    """All kinds in one line, with the examples that are given, and which option lists more of them."""
    such_as = {kind: f", such as {path}" for kind, path in (examples or {}).items()}
    parts = ", ".join(f"{count:,} {kind}{such_as.get(kind, '')}" for kind, count in counts.items())
    return f"{parts} (--follow-links follows links)" if LINKS in counts else parts
