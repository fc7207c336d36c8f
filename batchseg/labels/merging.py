"""Classes of a label map that are taken for one: `merge: {vehicle: [car, bus, truck]}`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from batchseg.config.suggest import did_you_mean
from batchseg.errors import LabelMapError
from batchseg.labels.label_map import LabelMap

Merging = Mapping[str, Sequence[str]]


def merged(label_map: LabelMap, merge: Merging) -> LabelMap:
    """The label map with some of its classes made one, by name; the model's probabilities of them add.

    A merged class stands where the first of its classes stood and has the colour of that one. A truth that
    holds the id, a colour or the name of any of them means it.

    Raises:
        LabelMapError: a group names a class that there is not, or one that is in another group; it takes all
            classes, or none; or it is called like a class beside it.
    """
    group_of = _group_of(label_map, merge)
    groups: list[int] = []
    names: list[str] = []
    kept: list[int] = []
    for index, name in enumerate(label_map.names):
        group = group_of.get(name)
        if group is not None and group in names:
            groups.append(names.index(group))
            continue
        groups.append(len(names))
        names.append(group or name)
        kept.append(index)
    if len(names) == label_map.num_classes:  # other names are all that came of it
        return replace(label_map, names=tuple(names), read_names=_named(label_map))
    ids = dict(enumerate(range(label_map.num_classes))) if label_map.remap is None else label_map.remap
    to = {**dict(enumerate(groups)), label_map.ignore_index: label_map.ignore_index}
    before = range(label_map.num_classes) if label_map.groups is None else label_map.groups
    return LabelMap(
        tuple(names),
        tuple(label_map.colours[index] for index in kept),
        label_map.ignore_index,
        remap={truth: to[class_id] for truth, class_id in ids.items()},
        read_colours={colour: to[class_id] for colour, class_id in label_map.read_colours.items()},
        groups=tuple(groups[index] for index in before),
        read_names={name: to[class_id] for name, class_id in _named(label_map).items()},
    )


def _named(label_map: LabelMap) -> dict[str, int]:
    """What the names of classes meant before, so that a truth may have them still."""
    return {**label_map.read_names, **{name: index for index, name in enumerate(label_map.names)}}


def _group_of(label_map: LabelMap, merge: Merging) -> dict[str, str]:
    """The group of each class that is in one. Raises LabelMapError."""
    found: dict[str, str] = {}
    for group, members in merge.items():
        for name in members:
            if name not in label_map.names:
                raise LabelMapError(
                    f"merge: {group!r} names {name!r}, which is no class; there are {_some(label_map.names)}"
                    f"{did_you_mean(name, label_map.names)}"
                )
            if name in found:
                where = "twice" if found[name] == group else f"and {found[name]!r} does as well"
                raise LabelMapError(f"merge: {group!r} names {name!r} {where}; a class is in one group")
            found[name] = group
    for group, members in merge.items():
        if problem := _problem(group, members, label_map, found):
            raise LabelMapError(f"merge: {group!r} {problem}")
    return found


def _problem(group: str, members: Sequence[str], label_map: LabelMap, found: Mapping[str, str]) -> str | None:
    """What is wrong with a group as such."""
    if not group.strip() or not members:
        return "needs a name, and the names of the classes it is made of"
    if len(members) == label_map.num_classes:
        return (
            f"takes all {len(members)} classes, so every pixel would be of it; leave out what it is to be "
            "told from"
        )
    if group in label_map.names and found.get(group) != group:
        return "is called like a class that is not in it; name that among its classes, or call it otherwise"
    return None


_SHOWN = 20


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"
