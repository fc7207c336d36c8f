"""Relations between label maps: where each class of a model goes in a label map of the user's own.

They are proposed (`batchseg labels map`), reviewed by a person in a YAML file, and then applied by a run as
its `merge`: the masks have the ids of the other label map, and the probabilities of classes that go to one
class add.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from batchseg.config.base import Model
from batchseg.config.strict_yaml import load_yaml
from batchseg.config.suggest import did_you_mean
from batchseg.errors import LabelMapError
from batchseg.labels.label_file import BUILT_IN, load_label_map
from batchseg.labels.label_map import LabelMap, is_background
from batchseg.labels.merging import Merging, merged
from batchseg.labels.names import fold_name

_NAMED = 3
_KEYS = ("from", "to", "language_model", "none_below", "classes")


class RelationRow(Model, strict=True):
    """Where one class goes.

    Attributes:
        target: None for none of the classes.
        by: what it was found by; None where no class is like it.
        cosine: of the best class, where a language model compared them.
        runner_ups: the next best, with their cosines.
        reviewed: whether a person has looked at it.
    """

    source: str
    target: str | None
    by: Literal["name", "synonym", "text"] | None = None
    cosine: float | None = None
    runner_ups: dict[str, float] = Field(default_factory=dict)
    reviewed: bool


class _RelationFile(Model, strict=True, populate_by_name=True):
    source: str = Field(alias="from")
    target: str = Field(alias="to")
    language_model: str | None = None
    none_below: float | None = None
    classes: list[RelationRow] = Field(min_length=1)


@dataclass(frozen=True)
class Relation:
    """Where the classes of a model go.

    Attributes:
        path: the file that it was read from.
        source: what the model's classes are called in: a label map, or a model.
        target: the name or the path of the other label map, as it is found from here.
    """

    path: str
    source: str
    target: str
    rows: tuple[RelationRow, ...]

    def applied(self, label_map: LabelMap) -> LabelMap:
        """The other label map, for a model whose classes are those of `label_map`.

        Classes that go to none are the background or `other` of the other label map, or void where it has
        neither. A class that nothing goes to is never predicted.

        Raises:
            LabelMapError: rows were not reviewed, name a class that there is not or one twice, are of another
                model's classes, or send all to one class.
        """
        try:
            other = load_label_map(self.target)
        except LabelMapError as exc:
            raise LabelMapError(f"{self.path}: what its classes go to (to): {exc}") from exc
        self._check_rows(other)
        unreviewed = [row.source for row in self.rows if not row.reviewed]
        if unreviewed:
            raise LabelMapError(
                f"{self.path}: {len(unreviewed)} of its {len(self.rows)} rows are not reviewed, "
                f"{_some(unreviewed)}; look where each goes, and set reviewed: true"
            )
        to = self._destinations(label_map, other)
        before = range(label_map.num_classes) if label_map.groups is None else label_map.groups
        groups = tuple(to[index] for index in before)
        if len({*groups}) == 1:
            raise LabelMapError(
                f"{self.path}: every class goes to one, so every pixel would be of it; let what it is to "
                "be told from go to none (target: null)"
            )
        if groups == tuple(range(other.num_classes)):
            return replace(other, groups=None)
        return replace(other, groups=groups, is_partial=True)

    def _check_rows(self, other: LabelMap) -> None:
        known = {*other.names}
        for row in self.rows:
            if row.target is not None and row.target not in known:
                raise LabelMapError(
                    f"{self.path}: {row.source!r} goes to {row.target!r}, which is no class of {self.target}"
                    f"{did_you_mean(row.target, other.names)}; none of them is written null"
                )
        for name, times in Counter(row.source for row in self.rows).items():
            if times > 1:
                raise LabelMapError(
                    f"{self.path}: names {name!r} twice; a class goes to one, so remove a row"
                )

    def _destinations(self, label_map: LabelMap, other: LabelMap) -> list[int]:
        """For each class of the label map its class in the other, or void."""
        none = next((at for at, name in enumerate(other.names) if is_left_over(name)), other.void)
        ids = {name: at for at, name in enumerate(other.names)}
        rows = _by_name(self.rows, label_map.names)
        lacking = [name for name in label_map.names if name not in rows]
        beyond = {row.source for row in self.rows} - {row.source for row in rows.values()}
        if lacking or beyond:
            rest = [row.source for row in self.rows if row.source in beyond]
            told = f"there is no row for {_some(lacking)}" if lacking else f"{_some(rest)} is none of them"
            raise LabelMapError(
                f"{self.path}: was made for the classes of {self.source}, and the model has others: {told}; "
                "give the label map that names the model's classes (--labels), or propose a relation anew "
                "(batchseg labels map)"
            )
        chosen = (rows[name].target for name in label_map.names)
        return [none if name is None else ids[name] for name in chosen]


def is_left_over(name: str) -> bool:
    """Whether a class is what the others leave over, which no word describes."""
    return is_background(name) or fold_name(name) == "other"


def with_merge(label_map: LabelMap, merge: Merging | str) -> LabelMap:
    """The label map with some of its classes made one, or put into another by a reviewed relation's file.

    Raises LabelMapError where that does not fit.
    """
    if isinstance(merge, str):
        return load_relation(merge).applied(label_map)
    return merged(label_map, merge) if merge else label_map


def group_of(merge: Merging | str) -> dict[str, str]:
    """The class that each class that is merged, or goes to one, then is. Raises LabelMapError."""
    if isinstance(merge, str):
        return {row.source: row.target for row in load_relation(merge).rows if row.target is not None}
    return {member: name for name, members in merge.items() for member in members}


def load_relation(path: str) -> Relation:
    """From a file, in which `to` is a built-in label map or a path as seen from the file's folder.

    Raises LabelMapError where there is none, or it is no relation.
    """
    content = _read(path)
    target = content.target
    if not is_built_in(target):
        target = str(Path(path).parent / target)
    return Relation(path, content.source, target, tuple(content.classes))


def is_built_in(name: str) -> bool:
    """Whether a label map of this name comes with the program."""
    return (BUILT_IN / f"{name}.yaml").is_file()


def _read(path: str) -> _RelationFile:
    try:
        return _RelationFile.model_validate(load_yaml(Path(path).read_text(encoding="utf-8")))
    except FileNotFoundError as exc:
        raise LabelMapError(
            f"merge {path}: there is no such file; `batchseg labels map` proposes a relation, and classes "
            "that are one are given as NAME=A,B"
        ) from exc
    except ValidationError as exc:
        raise LabelMapError(f"merge {path}: is no relation between label maps: {_problem(exc)}") from exc
    except (OSError, ValueError) as exc:
        raise LabelMapError(f"merge {path}: cannot be read: {exc}") from exc


def _problem(error: ValidationError) -> str:
    """The first one."""
    first, *more = error.errors(include_url=False)
    where = ".".join(map(str, first["loc"])) or "the file"
    sentence = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        known = _KEYS if len(first["loc"]) == 1 else RelationRow.model_fields
        sentence = f"unknown key{did_you_mean(first['loc'][-1], known)}"
    return f"{where}: {sentence}{f', and {len(more)} more' if more else ''}"


def _by_name(rows: Sequence[RelationRow], names: Sequence[str]) -> Mapping[str, RelationRow]:
    """The row of each name that has one: by the name itself, or but for case and separators."""
    exact = {row.source: row for row in rows}
    folded: dict[str, list[RelationRow]] = {}
    for row in rows:
        folded.setdefault(fold_name(row.source), []).append(row)
    alike = [fold_name(name) for name in names]
    found: dict[str, RelationRow] = {}
    for name, fold in zip(names, alike, strict=True):
        if name in exact:
            found[name] = exact[name]
        elif alike.count(fold) == 1 and len(folded.get(fold, ())) == 1:
            found[name] = folded[fold][0]
    return found


def _some(names: Sequence[Any]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(map(repr, names[:_NAMED]))}{more}"
