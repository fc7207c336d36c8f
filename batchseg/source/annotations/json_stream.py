"""The elements of a large JSON file one after the other, so that it is never held as a whole."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

_PIECE = 2**22
_BLANKS = " \t\r\n"


def elements(file: BinaryIO) -> Iterator[tuple[str | None, Any]]:
    """Each element of the list that a file is, with None; or of an object its keys with their values.

    Of a value that is a list each element comes by itself, and an empty one not at all.

    Raises ValueError, which says where, for what is no JSON of that kind.
    """
    text = _Text(file)
    if text.skip("["):
        yield from ((None, value) for value in _listed(text))
    elif text.skip("{"):
        yield from _members(text)
    else:
        raise ValueError("it is neither a list nor an object")
    if text.peek():
        raise ValueError(f"there is more behind its end, at character {text.place:,}")


def _members(text: _Text) -> Iterator[tuple[str, Any]]:
    if text.skip("}"):
        return
    while True:
        key = text.value()
        if not isinstance(key, str) or not text.skip(":"):
            raise ValueError(f"a key or a colon is missing at character {text.place:,}")
        if text.skip("["):
            yield from ((key, value) for value in _listed(text))
        else:
            yield key, text.value()
        if not text.skip(","):
            break
    if not text.skip("}"):
        raise ValueError(f"it ends too early, or is damaged at character {text.place:,}")


def _listed(text: _Text) -> Iterator[Any]:
    if text.skip("]"):
        return
    while True:
        yield text.value()
        if not text.skip(","):
            break
    if not text.skip("]"):
        raise ValueError(f"it ends too early, or is damaged at character {text.place:,}")


class _Text:
    """A window over the text of a file, which grows to the longest element and moves on."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.decoder = file, json.JSONDecoder()
        self.decode = codecs.getincrementaldecoder("utf-8-sig")()
        self.text, self.at, self.passed, self.ended = "", 0, 0, False

    @property
    def place(self) -> int:
        return self.passed + self.at

    def peek(self) -> str:
        """The next character that is no blank; empty at the end."""
        while True:
            while self.at < len(self.text):
                if self.text[self.at] not in _BLANKS:
                    return self.text[self.at]
                self.at += 1
            if self.ended:
                return ""
            self._more()

    def skip(self, character: str) -> bool:
        """Go past a character, if it is the next one."""
        if self.peek() != character:
            return False
        self.at += 1
        return True

    def value(self) -> Any:
        """The next value, of any kind. Raises ValueError."""
        if not self.peek():
            raise ValueError("it ends too early")
        while True:
            try:
                found, end = self.decoder.raw_decode(self.text, self.at)
            except json.JSONDecodeError as exc:
                if self.ended:
                    raise ValueError(f"{exc.msg} at character {self.passed + exc.pos:,}") from exc
            except RecursionError as exc:
                raise ValueError("its values are nested too deeply") from exc
            else:
                # the window may end within a number, of which its beginning is one as well
                if self.ended or (end < len(self.text) and self.text[end] not in ".eE"):
                    self.at = end
                    return found
            self._more()

    def _more(self) -> None:
        """Read on: as much again as there is, so that a long element is not tried too often."""
        data = self.file.read(max(_PIECE, len(self.text) - self.at))
        self.ended = not data
        try:
            more = self.decode.decode(data, self.ended)
        except UnicodeDecodeError as exc:
            raise ValueError("it is not UTF-8 text") from exc
        self.passed += self.at
        self.text, self.at = self.text[self.at :] + more, 0
