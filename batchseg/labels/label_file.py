"""Label maps from YAML files, the built-in ones among them."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from batchseg.config.base import Model
from batchseg.config.strict_yaml import load_yaml
from batchseg.config.suggest import did_you_mean, likely_key
from batchseg.errors import LabelMapError
from batchseg.labels.colours import Colour
from batchseg.labels.label_map import IGNORE_INDEX, LabelMap, default_colours
from batchseg.labels.merging import merged
from batchseg.labels.names import fold_name, spoken

BUILT_IN = Path(__file__).parent / "builtin"


@dataclass(frozen=True)
class Wording:
    """How the classes of a label map are put into words, for models that read them. It changes no mask file.

    Attributes:
        phrases: of each class, its name and its synonyms.
        prompts: sentences with `{}` where a phrase goes.
        descriptions: of each class, what says more than its names: none, one, or those of merged classes.
    """

    phrases: tuple[tuple[str, ...], ...]
    prompts: tuple[str, ...]
    descriptions: tuple[tuple[str, ...], ...] = ()


def load_label_map(name_or_path: str) -> LabelMap:
    """A built-in label map by its name, or one from a YAML file, whose `merge` is carried out.

    Raises:
        LabelMapError: there is no such name or file, or the file is not a label map.
    """
    return load_both(name_or_path)[1]


def load_both(name_or_path: str) -> tuple[LabelMap, LabelMap]:
    """A label map before and after its classes are merged: the same one where none are.

    Raises LabelMapError, as `load_label_map` does.
    """
    return _both(_read(name_or_path), name_or_path)


def _both(file: _LabelFile, name_or_path: str) -> tuple[LabelMap, LabelMap]:
    try:
        before = file.label_map()
        return before, merged(before, file.merge) if file.merge else before
    except LabelMapError as exc:
        raise LabelMapError(f"{name_or_path}: {exc}") from exc


def load_wording(name_or_path: str) -> Wording:
    """Of a label map, by its name or from a YAML file. Raises LabelMapError.

    A merged class has its own name, and those of the classes that it is made of with their synonyms.
    """
    file = _read(name_or_path)
    names = _both(file, name_or_path)[1].names
    group_of = {name: group for group, members in file.merge.items() for name in members}
    phrases: dict[str, list[str]] = {name: [] for name in names}
    descriptions: dict[str, list[str]] = {name: [] for name in names}
    for entry in file.classes:
        name = group_of.get(entry.name, entry.name)
        phrases[name] += [entry.name, *entry.synonyms]
        descriptions[name] += [f"{spoken(entry.name)}, {entry.description}"] if entry.description else []
    for group in file.merge:
        phrases[group] = [*dict.fromkeys([group, *phrases[group]])]
    return Wording(
        tuple(tuple(phrases[name]) for name in names),
        tuple(file.prompts),
        tuple(tuple(descriptions[name]) for name in names),
    )


def _read(name_or_path: str) -> _LabelFile:
    names = sorted(path.stem for path in BUILT_IN.glob("*.yaml"))
    path = BUILT_IN / f"{name_or_path}.yaml" if name_or_path in names else Path(name_or_path)
    text = ""
    try:
        text = path.read_text(encoding="utf-8")
        return _LabelFile.model_validate(load_yaml(text))
    except FileNotFoundError as exc:
        raise LabelMapError(
            f"no label map {name_or_path!r}: no such file, and the built-in ones are {', '.join(names)}"
            f"{did_you_mean(name_or_path, names)}"
        ) from exc
    except ValidationError as exc:
        raise LabelMapError(f"{name_or_path} is not a label map:\n{_problems(exc)}") from exc
    except (OSError, ValueError) as exc:
        hint = f"; {_IN_QUOTES}" if _UNQUOTED.search(text) else ""
        raise LabelMapError(f"cannot read the label map {name_or_path}: {exc}{hint}") from exc


_IN_QUOTES = "in YAML a # begins a comment, so put the colour in quotes: '#d62728'"
_UNQUOTED = re.compile(r"[\[,:-]\s*#[0-9a-fA-F]{6}\b")


def _from_hex(value: Any) -> Any:
    """[r, g, b] of "#rrggbb"; a list is left to the validation that follows."""
    if value is None:
        raise ValueError(f"is empty: {_IN_QUOTES}")
    if isinstance(value, list):
        return value
    if not isinstance(value, str) or not re.fullmatch("#[0-9a-fA-F]{6}", value):
        raise ValueError("must be [r, g, b] or '#rrggbb'")
    return list(bytes.fromhex(value[1:]))


def _one_or_several(value: Any) -> Any:
    """A list of colours, of one or of several."""
    if value is None:
        raise ValueError(f"is empty: {_IN_QUOTES}")
    several = isinstance(value, list) and all(each is None or isinstance(each, str | list) for each in value)
    return value if several else [value]


def _from_name(value: Any) -> Any:
    if not isinstance(value, str | dict):
        raise ValueError("must be a name, in quotes where YAML reads it otherwise, or a mapping with a name")
    return {"name": value} if isinstance(value, str) else value


def _with_place(prompt: str) -> str:
    if prompt.count("{}") != 1:
        raise ValueError("must have {} once, where the name goes")
    return prompt


_Colour = Annotated[
    list[Annotated[int, Field(ge=0, le=255)]], Field(min_length=3, max_length=3), BeforeValidator(_from_hex)
]
_Colours = Annotated[list[_Colour], BeforeValidator(_one_or_several)]


class _ClassEntry(Model, strict=True):
    name: str = Field(min_length=1)
    synonyms: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    colour: Annotated[_Colours, Field(min_length=1)] = Field(
        default_factory=list, description="The first is drawn; a truth may hold any of them."
    )
    truth_ids: list[int] | None = None
    description: str | None = Field(
        None, min_length=1, description="What the class is, for relations between label maps."
    )


class _LabelFile(Model, strict=True):
    """A label map in YAML. A class without `truth_ids` is meant by its own position."""

    classes: list[Annotated[_ClassEntry, BeforeValidator(_from_name)]] = Field(min_length=1)
    ignore_index: int = IGNORE_INDEX
    ignored_truth_ids: list[int] = Field(default_factory=list)
    ignored_colours: _Colours = Field(default_factory=list)
    ignored_names: list[Annotated[str, Field(min_length=1)]] = Field(
        default_factory=list, description="Classes of a labelling tool that count nowhere."
    )
    prompts: list[Annotated[str, AfterValidator(_with_place)]] = Field(default=["{}"], min_length=1)
    merge: dict[str, list[str]] = Field(
        default_factory=dict, description="NAME: classes of the file that are one; their probabilities add."
    )

    @model_validator(mode="before")
    @classmethod
    def _mapping(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            raise ValueError("must be a mapping with the key `classes`")
        return content

    def label_map(self) -> LabelMap:
        names = tuple(entry.name for entry in self.classes)
        given = [_rgb(entry.colour[0]) if entry.colour else None for entry in self.classes]
        defaults = default_colours(names, {colour for colour in given if colour})
        colours = tuple(own or default for own, default in zip(given, defaults, strict=True))
        return LabelMap(
            names,
            colours,
            self.ignore_index,
            self._remap(),
            self._read_colours(),
            read_names=self._read_names(),
        )

    def _read_colours(self) -> dict[Colour, int]:
        pairs = [(_rgb(colour), self.ignore_index) for colour in self.ignored_colours]
        for position, entry in enumerate(self.classes):
            pairs += [(_rgb(colour), position) for colour in entry.colour]
        return _told_apart(pairs, "colour")

    def _read_names(self) -> dict[str, int]:
        """What synonyms mean, without those of several classes, and the names that count nowhere."""
        meanings: dict[str, set[int]] = defaultdict(set)
        for position, entry in enumerate(self.classes):
            for name in entry.synonyms:
                meanings[fold_name(name)].add(position)
        taken = {*meanings, *(fold_name(entry.name) for entry in self.classes)}
        for name in self.ignored_names:
            if fold_name(name) in taken:
                raise LabelMapError(f"ignored_names has {name!r}, which means a class; leave one of them out")
        synonyms = {name: position for name, (position, *more) in meanings.items() if not more}
        return {**synonyms, **{fold_name(name): self.ignore_index for name in self.ignored_names}}

    def _remap(self) -> dict[int, int] | None:
        if not self.ignored_truth_ids and all(entry.truth_ids is None for entry in self.classes):
            return None
        pairs = [(truth, self.ignore_index) for truth in self.ignored_truth_ids]
        for position, entry in enumerate(self.classes):
            truth_ids = [position] if entry.truth_ids is None else entry.truth_ids
            pairs += [(truth, position) for truth in truth_ids]
        return _told_apart(pairs, "truth id")


Value = TypeVar("Value", int, Colour)


def _told_apart(pairs: list[tuple[Value, int]], noun: str) -> dict[Value, int]:
    """Raises LabelMapError where one value means two things."""
    meanings: dict[Value, int] = {}
    for value, to in pairs:
        if value in meanings:
            raise LabelMapError(f"{noun} {value} is given twice")
        meanings[value] = to
    return meanings


def _rgb(colour: list[int]) -> Colour:
    return colour[0], colour[1], colour[2]


def _problems(error: ValidationError) -> str:
    """One line a problem: where it is and what is wrong."""
    lines = []
    for problem in error.errors(include_url=False):
        where = ".".join(str(part) for part in problem["loc"]) or "the file"
        sentence = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            sentence = f"unknown key{likely_key(_LabelFile, problem['loc'])}"
        lines.append(f"  {where}: {sentence}")
    return "\n".join(lines)
