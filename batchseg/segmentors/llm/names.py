"""Class names of a text head: which are words, which are learned, and which a checkpoint can take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from batchseg.errors import ModelError
from batchseg.labels.label_map import is_background

LANGUAGE_MODEL = "language_model"  # the folder in a checkpoint that brings its whole language model


def reads_prompts(content: dict[str, Any]) -> bool:
    """Whether a checkpoint is an LLM segmentor with a prompt head, by its config.json."""
    return content.get("model_type") == "llmseg" and content.get("head") == "prompt"


def plain(name: str) -> str:
    """A name as it is compared."""
    return words(name).lower()


def words(name: str) -> str:
    """A name as it is read: `traffic_light` -> `traffic light`."""
    return " ".join(name.replace("_", " ").split())


def is_learned(name: str) -> bool:
    """Whether a class is what the others leave over, which no word describes."""
    return is_background(name) or plain(name) == "other"


def unknown(own: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The wanted names that are not among a checkpoint's own, so that its language model has to read them."""
    known = {plain(name) for name in own}
    return [name for name in wanted if plain(name) not in known]


def check_classes(content: dict[str, Any], own: Sequence[str], wanted: Sequence[str], folder: Path) -> None:
    """Raises ModelError where a checkpoint can take no other classes, or not these.

    Args:
        content: the checkpoint's config.json.
        own: the names of its classes.
    """
    if content.get("head") != "text":
        raise ModelError(
            f"{folder} has no text head, so it knows its own classes alone ({_few(own)}): "
            "leave `classes` out, or train a model with head: text"
        )
    new = unknown(own, wanted)
    learned = [name for name in new if is_learned(name)]
    if learned:
        raise ModelError(
            f"{folder} has not learned {learned[0]!r}, which is no word to read but has to be learned: "
            "leave it out of `classes`, and let none_below find what belongs to no class"
        )
    if new and not (folder / LANGUAGE_MODEL / "config.json").is_file():
        raise ModelError(
            f"{folder} brings no language model that could read {_few(new)}: choose among its own classes "
            f"({_few(own)}), or train it with open_vocabulary: true"
        )


def _few(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
