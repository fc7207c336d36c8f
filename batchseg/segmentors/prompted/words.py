"""How the classes of a list are put into words, and what cannot be read that way."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from batchseg.errors import ConfigError
from batchseg.labels.label_file import Wording
from batchseg.segmentors.llm.names import is_learned, words

_NEGATIONS = re.compile(
    r"\b(without|no|not|non|none|never|neither|nor|except|excluding|lacking)\b|n['\u2019]t\b", re.IGNORECASE
)
_NAMED = 3
_LONGEST = 60  # characters of a text in a sentence


@dataclass(frozen=True)
class PromptList:
    """One list of classes for all images.

    Attributes:
        names: of the classes, in the order of their ids.
        texts: what is read for each; nothing for a background, which is what the others leave over.
    """

    names: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, names: Sequence[str], wording: Wording | None, templated: bool) -> PromptList:
        """Raises ConfigError for a list that cannot be told apart.

        Args:
            wording: synonyms and templates; None: the names alone.
            templated: whether the model reads sentences; else it reads bare noun phrases.
        """
        _refuse(names)
        phrases = wording.phrases if wording is not None else tuple((name,) for name in names)
        templates = wording.prompts if wording is not None and templated else ("{}",)
        texts = []
        for name, some in zip(names, _own(names, phrases), strict=True):
            asked = [template.replace("{}", phrase) for phrase in some for template in templates]
            texts.append(() if is_learned(name) else tuple(dict.fromkeys(map(tidy, asked))))
        return cls(tuple(names), tuple(texts))

    @property
    def background(self) -> int | None:
        """The class that no text is read for; None: there is none, and the best class takes every pixel."""
        return next((index for index, texts in enumerate(self.texts) if not texts), None)


def tidy(text: str) -> str:
    """A text as it is read: without spaces that say nothing."""
    return " ".join(text.split())


def shown(text: str) -> str:
    """A text within a sentence, which it must not fill."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def is_negated(text: str) -> bool:
    """Whether it says what is not there, which such models do not understand (facebookresearch/sam3#393)."""
    return _NEGATIONS.search(text) is not None


def negation_note(texts: Sequence[str], name: str) -> str | None:
    """What to say of texts that name what is not there; None where none does."""
    found = [text for text in texts if is_negated(text)]
    if not found:
        return None
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    named = ", ".join(map(repr, map(shown, found[:_NAMED])))
    return (
        f"{named}{more}: prompted models such as {name} fire on the nouns of a negation as if it were not "
        "there; say what is to be seen, and let another class take the rest"
    )


def _refuse(names: Sequence[str]) -> None:
    rest = [name for name in names if is_learned(name)]
    if len(rest) > 1:
        raise ConfigError(
            f"{rest[0]!r} and {rest[1]!r} are both what the other classes leave over; keep one of them"
        )
    if len(names) - len(rest) < 1:
        raise ConfigError(f"{rest[0]!r} alone leaves nothing to look for; name what is to be segmented")
    if len(names) == 1:
        raise ConfigError(
            f"{names[0]!r} alone would take every pixel; name what it is told from, such as background"
        )
    read = [_read(name) for name in names]
    for name, text in zip(names, read, strict=True):
        if not text:
            raise ConfigError(f"class {name!r} has no words that a model could read")
        if read.count(text) > 1:
            raise ConfigError(
                f"the list says {words(name)!r} twice; keep one of them, or give it another name"
            )


def _own(names: Sequence[str], phrases: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The phrases of each class without synonyms that mean another one, too."""
    spoken = [tuple(dict.fromkeys(words(phrase) for phrase in some)) for some in phrases]
    times = Counter(key for some in spoken for key in {_read(phrase) for phrase in some})
    taken = {_read(name) for name in names}
    return [
        (words(name), *(each for each in some if times[_read(each)] == 1 and _read(each) not in taken))
        for name, some in zip(names, spoken, strict=True)
    ]


def _read(text: str) -> str:
    """What tells texts apart for a tokenizer that takes all letters as small ones."""
    return words(text).lower()
