"""Names of classes as a user gives them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator


def split_names(value: Any) -> Any:
    """One string of names between commas."""
    return [name.strip() for name in value.split(",")] if isinstance(value, str) else value


def _tell_apart(names: tuple[str, ...]) -> tuple[str, ...]:
    if not all(name.strip() for name in names) or not names:
        raise ValueError("must be names between commas, none of them empty")
    folded = [name.casefold() for name in names]
    repeated = next((name for name in names if folded.count(name.casefold()) > 1), None)
    if repeated is not None:
        raise ValueError(f"names {repeated!r} twice")
    if len(names) == 1:
        raise ValueError("a class alone would take every pixel; name what it is told from, too")
    return names


ClassNames = Annotated[tuple[str, ...], AfterValidator(_tell_apart)]
