"""How the configuration of a segmentor is validated: by one of our kinds, or one that a package brings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import SerializationInfo, SerializerFunctionWrapHandler

from batchseg.config.base import Model
from batchseg.config.kinds import BY_NAME, ENSEMBLE
from batchseg.config.plugged import load_plugged, plugged_names, refuse_clash
from batchseg.config.suggest import did_you_mean

_OURS = (*BY_NAME, ENSEMBLE)


def of_any_kind(value: Any, built_in: Callable[[Any], Any], base: type[Model]) -> Any:
    """A configuration, validated by the kind that it names.

    Args:
        built_in: what validates one of our kinds.
        base: the class that all of them are made of.

    Raises ValueError where nobody brings the kind, or who brings it cannot be used.
    """
    if isinstance(value, base):
        return value
    kind = value.get("kind") if isinstance(value, Mapping) else None
    if kind in _OURS:
        refuse_clash(kind)
        return built_in(value)
    if not isinstance(kind, str):
        return built_in(value)
    if kind not in plugged_names():
        known = (*_OURS, *plugged_names())
        raise ValueError(
            f"kind {kind!r} is not known; there is {', '.join(known)}{did_you_mean(kind, known)}"
        )
    configuration = load_plugged(kind).configuration
    is_ours = isinstance(configuration, type) and issubclass(configuration, base)
    if not is_ours or "kind" not in configuration.model_fields:
        raise ValueError(
            f"the configuration of the kind {kind!r} must be a {base.__name__} with a field `kind`; see "
            "batchseg/CONTRIBUTING.md"
        )
    return configuration.model_validate(value)


def written(value: Any, built_in: SerializerFunctionWrapHandler, info: SerializationInfo) -> Any:
    """A configuration as plain values, whose kind may be one that a package brings."""
    if value is None or getattr(value, "kind", "") in _OURS:
        return built_in(value)
    return value.model_dump(mode=info.mode, exclude_defaults=info.exclude_defaults)
