"""Classes that a run merged, and that are merged once more when it is decided again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchseg.config.run import RunConfig
from batchseg.labels.label_map import LabelMap
from batchseg.labels.relation import group_of
from batchseg.segmentors.combined.decision import composition


def measured_as(job: RunConfig, merge: Mapping[str, tuple[str, ...]] | str) -> dict[str, Any]:
    """What is measured, where classes that it names are merged now."""
    group = group_of(merge)
    classes = dict.fromkeys(group.get(name, name) for name in job.objects.classes)
    tolerance = job.boundary.tolerance
    if isinstance(tolerance, dict):
        tolerance = {group.get(name, name): value for name, value in tolerance.items()}
    return {
        "objects": job.objects.model_copy(update={"classes": tuple(classes)}),
        "boundary": job.boundary.model_copy(update={"tolerance": tolerance}),
    }


def made_of(
    first: Mapping[str, tuple[str, ...]] | str, own: LabelMap, label_map: LabelMap
) -> dict[str, tuple[str, ...]]:
    """The model's classes that each class is made of, of which a run may have merged some already."""
    before: dict[str, list[str]] = {}
    for member, group in group_of(first).items():
        before.setdefault(group, []).append(member)
    return {
        name: tuple(one for each in some for one in before.get(each, [each]))
        for name, some in composition(own, label_map).items()
    }


def merged_twice(
    first: Mapping[str, tuple[str, ...]] | str, then: Mapping[str, tuple[str, ...]] | str
) -> Mapping[str, tuple[str, ...]] | str:
    """One merging for two, one after the other; of a relation and another the later."""
    if isinstance(first, str) or isinstance(then, str):
        return then or first
    taken = {member for members in then.values() for member in members}
    found = {group: members for group, members in first.items() if group not in taken}
    return found | {
        group: tuple(one for member in members for one in first.get(member, (member,)))
        for group, members in then.items()
    }
