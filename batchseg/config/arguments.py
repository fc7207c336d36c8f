"""The arguments of a library call, as the flags of the command line: the plain things by name, the rest in a
mapping that is written as a file is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeVar

from batchseg.config.base import Model
from batchseg.config.load import merge, validate
from batchseg.errors import ConfigError

Config = TypeVar("Config", bound=Model)
Plain = str | os.PathLike[str]

# where an argument lies in the configuration; a mapping stands for the whole part
PLACES = {
    "source": "source.path",
    "truth": "source.truth",
    "model": "segmentor.model",
    "output": "output.path",
}


def from_arguments(
    kind: type[Config],
    first: tuple[str, Config | Plain],
    given: Mapping[str, Any],
    settings: Mapping[str, Any] | None,
    places: Mapping[str, str] = PLACES,
) -> Config:
    """The configuration itself, or one made from a call's arguments.

    Args:
        first: the name of the first argument and its value.
        given: the other arguments; None is not given.
        settings: all others, nested as in a file; the arguments win.

    Raises:
        ConfigError: a required argument is missing, one stands beside a whole configuration, or a value is
            wrong; each is named.
    """
    name, value = first
    values = {key: item for key, item in given.items() if item is not None}
    if isinstance(value, kind):
        if beside := [*values, *(["settings"] if settings else [])]:
            raise ConfigError(
                f"`{beside[0]}` was given beside a whole {kind.__name__}, which has it already; "
                "model_copy(update=...) makes another one"
            )
        return value
    if not isinstance(value, str | os.PathLike):
        raise ConfigError(f"`{name}` must be a path, a URI or a {kind.__name__}, not {type(value).__name__}")
    if not isinstance(settings, Mapping | None):
        raise ConfigError(
            f"`settings` must be a mapping, nested as in a configuration file, not {type(settings).__name__}"
        )
    nested: dict[str, Any] = dict(settings or {})
    for key, item in {name: value, **values}.items():
        nested = merge(nested, _placed(places.get(key, key), item))
    for key in (*given, name):
        part = places.get(key, key).partition(".")[0]
        field = kind.model_fields.get(part)
        if field is not None and field.is_required() and part not in nested:
            raise ConfigError(f"the argument `{key}` is missing")
    return validate(kind, nested, "what was given")


def _placed(place: str, item: Any) -> dict[str, Any]:
    whole, _, key = place.partition(".")
    item = [*map(_plain, item)] if isinstance(item, list | tuple) else _plain(item)
    return {whole: {key: item} if key and not isinstance(item, Mapping) else item}


def _plain(item: Any) -> Any:
    return os.fspath(item) if isinstance(item, os.PathLike) else item
