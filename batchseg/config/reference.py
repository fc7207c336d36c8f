"""The configuration reference in Markdown, made from the models: `batchseg config reference`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from batchseg.config.base import Model
from batchseg.config.compare import CompareConfig, NightConfig
from batchseg.config.decide import DecideConfig
from batchseg.config.doctor import DoctorConfig
from batchseg.config.evaluate import EvaluateConfig
from batchseg.config.explain import ExplainConfig
from batchseg.config.export import ExportConfig
from batchseg.config.labels import MapLabelsConfig
from batchseg.config.overlay import OverlayConfig
from batchseg.config.report import ReportConfig
from batchseg.config.run import RunConfig
from batchseg.config.scenes import DigitsConfig, PhrasesConfig
from batchseg.config.suspects import SuspectsConfig
from batchseg.config.train import TrainConfig

COMMANDS: dict[str, type[Model]] = {
    "batchseg run": RunConfig,
    "jobs/nightly.py": NightConfig,
    "batchseg evaluate": EvaluateConfig,
    "batchseg doctor": DoctorConfig,
    "batchseg decide": DecideConfig,
    "batchseg compare": CompareConfig,
    "batchseg suspects": SuspectsConfig,
    "batchseg labels map": MapLabelsConfig,
    "batchseg overlay": OverlayConfig,
    "batchseg explain": ExplainConfig,
    "batchseg export": ExportConfig,
    "batchseg report": ReportConfig,
    "batchseg train": TrainConfig,
    "batchseg scenes digits": DigitsConfig,
    "batchseg scenes phrases": PhrasesConfig,
}
_BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
    "multipleOf": "a multiple of",
}
_TYPES = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}

Schema = dict[str, Any]


def configuration_reference() -> str:
    """Every setting of every command: one table a command, and one for each part that several share."""
    reference = _Reference()
    for command, model in COMMANDS.items():
        reference.add(command, model)
    return "\n\n".join(reference.sections) + "\n"


class _Reference:
    """Sections in the order in which their parts are first met; a part that comes again is linked."""

    def __init__(self) -> None:
        self.sections: list[str] = []
        self.titles: dict[str, str] = {}  # of a part, by the name of its model

    def add(self, command: str, model: type[Model]) -> None:
        schema = model.model_json_schema()
        above = next((name for name, each in COMMANDS.items() if each in model.__mro__[1:]), None)
        known = COMMANDS[above].model_fields if above else {}
        schema["properties"] = {key: value for key, value in schema["properties"].items() if key not in known}
        also = f"The settings of [{above}](#{_slug(above)}), and:\n\n" if above else ""
        self._add(f"## {command}", schema, schema.get("$defs", {}), also)

    def _add(self, heading: str, part: Schema, parts: Schema, also: str = "", place: str = "") -> None:
        required, settings = part.get("required", ()), part["properties"]
        rows = [
            self._row(key, value, key in required, _Place(parts, place)) for key, value in settings.items()
        ]
        table = "\n".join(["| setting | takes | if left out | meaning |", "|---|---|---|---|", *rows])
        self.sections.append(f"{heading}\n\n{_first_paragraph(part)}\n\n{also}{table}")
        for key, value in settings.items():
            for name in _references(value):
                self._add_once(name, f"{place}{key}", parts)

    def _add_once(self, name: str, place: str, parts: Schema) -> None:
        if name not in self.titles:
            self.titles[name] = _title(place, parts[name])
            self._add(f"### {self.titles[name]}", parts[name], parts, place=f"{place}.")

    def _row(self, key: str, value: Schema, required: bool, place: _Place) -> str:
        if "const" in value:
            return f"| `{key}` | `{value['const']}` | the name tells it | Which kind this is. |"
        takes = ", or ".join(dict.fromkeys(self._takes(value, key, place)))
        default = "*required*" if required else _default(value)
        return f"| `{key}` | {takes} | {default} | {_meaning(value, place.parts)} |"

    def _takes(self, value: Schema, key: str, place: _Place) -> Iterator[str]:
        """What a setting may be, one text for each alternative; null is told by the default alone."""
        if "$ref" in value:
            name = value["$ref"].rpartition("/")[2]
            title = self.titles.get(name) or _title(f"{place.prefix}{key}", place.parts[name])
            yield f"[{title}](#{_slug(title)})"
        elif "anyOf" in value or "oneOf" in value:
            for one in value.get("anyOf") or value["oneOf"]:
                yield from self._takes(one, key, place)
        elif value.get("type") == "array":
            several = value.get("prefixItems")
            each = ", or ".join(self._takes(several[0] if several else value["items"], key, place))
            yield f"list of {len(several)}, each a {each}" if several else f"list of {each}"
        elif value.get("type") == "object":
            below = value.get("additionalProperties")
            each = ", or ".join(self._takes(below, key, place)) if isinstance(below, dict) else "anything"
            yield f"names, each with {each}"
        elif value.get("type") != "null":
            yield _plain(value)


@dataclass(frozen=True)
class _Place:
    """Where a table stands: the parts its settings may be, and what their keys begin with."""

    parts: Schema
    prefix: str


def _references(value: Schema) -> Iterator[str]:
    """The names of the parts a setting may be."""
    if "$ref" in value:
        yield value["$ref"].rpartition("/")[2]
    for one in (*value.get("anyOf", ()), *value.get("oneOf", ())):
        yield from _references(one)


def _title(place: str, part: Schema) -> str:
    kind = part["properties"].get("kind", {}).get("const")
    return f"{place}: {kind}" if kind else place


def _slug(title: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return "".join(char for char in title.lower().replace(" ", "-") if char.isalnum() or char in "-_")


def _plain(value: Schema) -> str:
    """A value that is neither a list nor a mapping."""
    if "enum" in value:
        return ", ".join(f"`{each}`" for each in value["enum"])
    bounds = [f"{words} {_number(value[bound])}" for bound, words in _BOUNDS.items() if bound in value]
    return " ".join([_TYPES[value["type"]], " and ".join(bounds)]).strip()


def _default(value: Schema) -> str:
    default = value.get("default")
    if isinstance(default, dict):
        return "as there"
    if default is None:
        is_mapping = any(each.get("type") == "object" for each in (value, *value.get("oneOf", ())))
        return "none" if is_mapping else "null"
    if isinstance(default, list):
        return f"`[{', '.join(map(str, default))}]`" if default else "none"
    return f"`{_number(default)}`"


def _meaning(value: Schema, parts: Schema) -> str:
    """Its description, or that of the part it is."""
    if "description" in value:
        return _escaped(value["description"])
    names = list(_references(value))
    return _first_paragraph(parts[names[0]]) if len(names) == 1 else "One of these; a plain name is enough."


def _number(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _first_paragraph(schema: Schema) -> str:
    return _escaped(schema.get("description", "").partition("\n\n")[0])


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
