"""Words that were probably meant, where one is not known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """`; did you mean colour?`, or nothing where no known word is like it."""
    by_case = {word.casefold().replace("-", "_"): word for word in known}
    close = get_close_matches(str(name).casefold().replace("-", "_"), by_case, n=1, cutoff=0.7)
    return f"; did you mean {by_case[close[0]]}?" if close else ""


def likely_key(model: type[BaseModel], location: tuple[int | str, ...]) -> str:
    """The same for a key that is none of its place, by pydantic's name of the place; or where it belongs."""
    *above, key = location
    models = [model]
    for part in above:
        models = list(_beneath(models, part)) or models
    if found := did_you_mean(key, {name for each in models for name in each.model_fields}):
        return found
    places = [
        f"{name}.{key}"
        for name, field in model.model_fields.items()
        if any(key in each.model_fields for each in _models(field.annotation))
    ]
    return f"; did you mean {places[0]}?" if len(places) == 1 else ""


def _beneath(models: list[type[BaseModel]], part: int | str) -> Iterator[type[BaseModel]]:
    """The models of a field; for what is no field, such as the tag of a union, those that have the tag."""
    for model in models:
        if part in model.model_fields:
            yield from _models(model.model_fields[str(part)].annotation)
        elif "kind" in model.model_fields and model.model_fields["kind"].default == part:
            yield model


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
