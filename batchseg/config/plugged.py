"""Kinds of models that installed packages bring, by the entry point group `batchseg.segmentors`."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

GROUP = "batchseg.segmentors"


class PluggedError(ValueError):
    """A kind that a package brings cannot be used."""


def plugged_names() -> tuple[str, ...]:
    """The kinds that packages name. None of them is imported."""
    return tuple(_entries())


def load_plugged(name: str) -> Any:
    """What a package brings as a kind: an object with `configuration` and `open` (`base.SegmentorKind`).

    Raises PluggedError where it cannot be imported, has not what it needs, or is brought by two packages.
    """
    found = _entries()[name]
    if len(found) > 1:
        raise PluggedError(
            f"the kind {name!r} is brought by several packages, {_owners(found)}; uninstall all but one"
        )
    try:
        kind = found[0].load()
    except Exception as exc:  # a package's own code may fail in any way
        raise PluggedError(
            f"the kind {name!r} of {_owners(found)} cannot be imported ({type(exc).__name__}: {exc}); mend "
            "or uninstall the package"
        ) from exc
    for need in ("configuration", "open"):
        if not callable(getattr(kind, need, None)):
            raise PluggedError(
                f"the kind {name!r} of {_owners(found)} has no {need}; see batchseg/CONTRIBUTING.md"
            )
    return kind


def plugged_kind_of(model: str) -> str | None:
    """The kind of a package that recognises what is given to `--model`; None: there is none.

    A package that fails is passed over: whoever names its kind is told.
    """
    for name in _entries():
        with suppress(Exception):
            if load_plugged(name).recognises(model):
                return name
    return None


def refuse_clash(name: str) -> None:
    """Raises PluggedError where a package brings a kind of the name of one of ours."""
    if found := _entries().get(name):
        raise PluggedError(
            f"the kind {name!r} is batchseg's own, and {_owners(found)} brings one of that name, so it is "
            "not clear which is meant; uninstall the package, or have it call its kind something else"
        )


def _owners(found: Sequence[EntryPoint]) -> str:
    names = [entry.dist.name if entry.dist else entry.value for entry in found]
    return " and ".join(f"the package {name}" for name in names)


def _entries() -> Mapping[str, tuple[EntryPoint, ...]]:
    return _read(tuple(sys.path))


@lru_cache(maxsize=4)
def _read(path: tuple[str, ...]) -> Mapping[str, tuple[EntryPoint, ...]]:
    """The entry points of all packages on a path, which takes 10 ms to search."""
    found: dict[str, dict[str, EntryPoint]] = defaultdict(dict)
    for entry in entry_points(group=GROUP):
        found[entry.name].setdefault(entry.value, entry)  # a package may lie on the path twice
    return {name: tuple(entries.values()) for name, entries in found.items()}
