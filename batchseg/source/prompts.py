"""What a row's prompt makes of its id: several rows may be of one image."""

from __future__ import annotations

import re
from unicodedata import normalize

LONGEST_SLUG = 60
_WORD = re.compile(r"[^\W_]+")


def slug(prompt: str) -> str:
    """Its words in lower case, joined by `-`: safe in the name of a file. Empty where it has no word."""
    words = _WORD.findall(normalize("NFC", prompt).lower())
    return "-".join(words)[:LONGEST_SLUG].rstrip("-")


def prompted_id(name: str, prompt: str | None, row: int) -> str:
    """The id of a row that has none of its own: `a.jpg/red-circle`.

    Args:
        name: of the image.
        row: its number in the manifest, which stands in where the prompt has no word: no slug has its `_`.
    """
    return f"{name}/{slug(prompt or '') or f'_row-{row}'}"


def is_prompted_id(row_id: str, prompt: str | None) -> bool:
    """Whether an id may be one that was made of the prompt."""
    return prompt is not None and row_id.endswith(f"/{slug(prompt)}")


def image_name(row_id: str, prompt: str | None) -> str:
    """An id without what was made of the prompt: as the manifest calls the image."""
    return row_id[: -len(slug(prompt or "")) - 1] if is_prompted_id(row_id, prompt) else row_id
