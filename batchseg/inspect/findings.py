"""What an inspection found wrong: every kind is counted in full, and only some of each are listed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

LISTED = 20


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: its kind, the id or path it concerns, and one sentence."""

    kind: str
    where: str
    sentence: str


@dataclass
class Findings:
    """Problems in the order they were found.

    Attributes:
        counts: how many there are of each kind.
        listed: the first `LISTED` of each kind.
    """

    counts: Counter[str] = field(default_factory=Counter)
    listed: list[Problem] = field(default_factory=list)

    def add(self, kind: str, where: str, sentence: str) -> None:
        self.counts[kind] += 1
        if self.counts[kind] <= LISTED:
            self.listed.append(Problem(kind, where, sentence))
