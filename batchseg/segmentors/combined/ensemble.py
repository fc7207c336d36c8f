"""The `ensemble` segmentor: several models, whose classes are brought together by their names."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from batchseg.config.segmentor import AnyMember, EnsembleSegmentor
from batchseg.errors import LabelMapError, ModelError
from batchseg.labels.label_map import LabelMap
from batchseg.labels.merging import merged
from batchseg.labels.names import fold_name, is_mere_number
from batchseg.segmentors.base import (
    Checkpoint,
    Normaliser,
    PixelRange,
    Prompted,
    PromptMode,
    Remarking,
    Resizing,
    prompting_of,
)

_NAMED = 3
Groups = tuple[int, ...] | None


@dataclass(frozen=True)
class EnsembleCheckpoint:
    """Models that decide together.

    Attributes:
        weights: of the members, with a sum of 1.
        groups: for each member, the class of `label_map` of each of its own classes; None where they are the
            same.
        label_map: the classes of all members, in the order in which they are first met; that of the members
            where they agree.
    """

    members: tuple[Checkpoint, ...]
    weights: tuple[float, ...]
    groups: tuple[Groups, ...]
    label_map: LabelMap
    fingerprint: str
    notes: tuple[str, ...] = ()

    @classmethod
    def open(
        cls, config: EnsembleSegmentor, open_member: Callable[[AnyMember], Checkpoint]
    ) -> EnsembleCheckpoint:
        """Open each member. Raises ModelError where one cannot be, or `merge` does not fit the classes."""
        members = tuple(open_member(member) for member in config.members)
        maps = [member.label_map for member in members]
        channels = {member.channels for member in members if member.channels is not None}
        if len(channels) > 1:
            raise ModelError(
                f"the members of the ensemble read images of {' and '.join(map(str, sorted(channels)))} "
                "channels; let those decide together that read the same images"
            )
        given = config.weights or (1.0,) * len(members)
        weights = tuple(weight / sum(given) for weight in given)
        label_map, tables = _common(maps)
        notes = _notes(maps, label_map, tables) if label_map is not maps[0] else members[0].notes
        notes += tuple(
            note for member in members if prompting_of(member) for note in member.notes if note not in notes
        )
        if config.merge:
            label_map, tables = _merged(label_map, tables, config)
        same = tuple(range(label_map.num_classes))
        groups = tuple(None if table == same else table for table in tables)
        facts = [[member.fingerprint for member in members], weights, groups, *config.deciding]
        identity = hashlib.sha256(json.dumps(["ensemble", *facts]).encode()).hexdigest()
        return cls(members, weights, groups, label_map, identity, notes)

    @property
    def channels(self) -> int | None:
        """Of the images that all members read; None where they take any."""
        return next((each.channels for each in self.members if each.channels is not None), None)

    @property
    def stride(self) -> int:
        return max(member.stride for member in self.members)

    @property
    def prompted(self) -> PromptMode | None:
        """How some of its members are told what to segment; those beside them know their classes."""
        modes = {prompting_of(member) for member in self.members}
        return "rows" if "rows" in modes else "list" if "list" in modes else None

    def prompt_fault(self, prompt: str) -> str | None:
        faults = (member.prompt_fault(prompt) for member in self.members if isinstance(member, Prompted))
        return next((fault for fault in faults if fault is not None), None)

    @property
    def pixel_range(self) -> PixelRange | None:
        """What all members expect; None where they differ, or one does not say."""
        ranges = {member.pixel_range if isinstance(member, Normaliser) else None for member in self.members}
        return ranges.pop() if len(ranges) == 1 else None


AnyCheckpoint = Checkpoint | EnsembleCheckpoint


def members_of(checkpoint: AnyCheckpoint) -> tuple[Checkpoint, ...]:
    """The models to load: those of an ensemble, or the one."""
    return checkpoint.members if isinstance(checkpoint, EnsembleCheckpoint) else (checkpoint,)


def resizings_of(checkpoint: AnyCheckpoint) -> tuple[Resizing, ...]:
    """Those of the models that bring images to a size of their own."""
    return tuple(member for member in members_of(checkpoint) if isinstance(member, Resizing))


def remarks_of(checkpoint: AnyCheckpoint) -> tuple[str, ...]:
    """What the models have to say of how they are run."""
    remarks = (each.remarks for each in members_of(checkpoint) if isinstance(each, Remarking))
    return tuple(dict.fromkeys(remark for some in remarks for remark in some))


def _common(maps: Sequence[LabelMap]) -> tuple[LabelMap, list[tuple[int, ...]]]:
    """One label map for all, and the class in it of each class of each."""
    keys = _keys(maps)
    first = maps[0]
    if all(
        (own, each.remap, each.ignore_index) == (keys[0], first.remap, first.ignore_index)
        for own, each in zip(keys, maps, strict=True)
    ):
        return first, [tuple(range(first.num_classes))] * len(maps)
    names: dict[str, str] = {}
    for own, each in zip(keys, maps, strict=True):
        for key, name in zip(own, each.names, strict=True):
            names.setdefault(key, name)
    ids = {key: index for index, key in enumerate(names)}
    return LabelMap.from_names(tuple(names.values())), [tuple(ids[key] for key in own) for own in keys]


def _keys(maps: Sequence[LabelMap]) -> list[list[str]]:
    """What names are matched by: case and separators count only where a model tells classes apart by them."""
    folded = [[fold_name(name) for name in each.names] for each in maps]
    told_apart = {fold for own in folded for fold, times in Counter(own).items() if times > 1 or not fold}
    return [
        [name if fold in told_apart else fold for name, fold in zip(each.names, own, strict=True)]
        for each, own in zip(maps, folded, strict=True)
    ]


def _merged(
    label_map: LabelMap, tables: Sequence[tuple[int, ...]], config: EnsembleSegmentor
) -> tuple[LabelMap, list[tuple[int, ...]]]:
    try:
        found = merged(label_map, config.merge)
    except LabelMapError as exc:
        raise ModelError(f"segmentor.{exc}") from exc
    to = found.groups or range(label_map.num_classes)
    return replace(found, groups=None), [tuple(to[index] for index in table) for table in tables]


def _notes(
    maps: Sequence[LabelMap], label_map: LabelMap, tables: Sequence[tuple[int, ...]]
) -> tuple[str, ...]:
    """What should be known of label maps that differ."""
    notes = []
    knowing = Counter(index for table in tables for index in {*table})
    some = [name for index, name in enumerate(label_map.names) if knowing[index] < len(maps)]
    if some:
        notes.append(
            f"{len(some)} of the {label_map.num_classes} classes are known to some members of the ensemble "
            f"alone, and their probability is 0 in the others: {_listed(some)}"
        )
    numbers = [
        name
        for index, name in enumerate(label_map.names)
        if knowing[index] > 1 and is_mere_number(fold_name(name))
    ]
    if numbers:
        notes.append(
            "the members of the ensemble number some of their classes, and the same number is taken for the "
            f"same class: {_listed(numbers)}"
        )
    notes.append(
        "the label maps of the ensemble's members differ, so truth ids are taken for their common classes: "
        f"{_listed([f'{index} is {name!r}' for index, name in enumerate(label_map.names)], quoted=False)}; a "
        "label map of your own (--labels) reads ids as it says"
    )
    return tuple(notes)


def _listed(names: Sequence[str], *, quoted: bool = True) -> str:
    shown = [repr(name) if quoted else name for name in names[:_NAMED]]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(shown)}{more}"
