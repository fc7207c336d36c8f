"""Panels side by side with their titles above, and a legend and sentences below: nothing covers a picture."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from batchseg.images.overlay import WHITE, Drawing, Pixels, Where, hatch_void, mark_differences

_NARROWEST = 160  # pixels that text needs, however small the picture
_INK, _PAPER, _FRAME = (32, 32, 32), WHITE, (128, 128, 128)
# letters that are more than a letter with an accent
_SPELLINGS = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE"}
    | {"ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D"}
)
_TEXT = 1 / 46  # height of the text, of a panel's longer side


@dataclass(frozen=True)
class Entry:
    """A line of the legend: what is meant, and a function that draws its pattern on a white field."""

    text: str
    fill: Callable[[Pixels], None]


def class_entry(drawing: Drawing, index: int) -> Entry:
    """A class in its colour; one that is left untouched has an empty field."""
    colour = WHITE if index in drawing.untouched else drawing.colours[index]

    def fill(field_HWC: Pixels) -> None:
        field_HWC[:] = colour

    return Entry(legible(drawing.names[index], index), fill)


def void_entry(text: str) -> Entry:
    """What is hatched, over grey."""
    return _patterned(text, hatch_void)


def mark_entry(text: str) -> Entry:
    """What is marked, over grey."""
    return _patterned(text, mark_differences)


def _patterned(text: str, draw: Callable[[Pixels, Where], None]) -> Entry:
    def fill(field_HWC: Pixels) -> None:
        field_HWC[:] = _FRAME
        draw(field_HWC, np.ones(field_HWC.shape[:2], bool))

    return Entry(text, fill)


def legible(name: str, index: int) -> str:
    """A class's name in the letters that the font has; where it has not all, the class's id follows."""
    plain = in_ascii(name)
    return plain if "?" not in plain or "?" in name else f"{plain} (class {index})"


def in_ascii(text: str) -> str:
    """Accents left out, and ? for every other letter that Pillow's built-in font lacks."""
    spelt = unicodedata.normalize("NFKD", text.translate(_SPELLINGS))
    letters = (char for char in spelt if not unicodedata.combining(char))
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in letters)


def lay_out(panels: Sequence[tuple[str, Pixels]], entries: Sequence[Entry], notes: Sequence[str]) -> Pixels:
    """One picture: the panels, each with its title if it has one, and below them entries and notes.

    The first panel lies at the left edge, and at the top edge where there are no titles.
    """
    font = _font(max(12, min(28, round(max(panels[0][1].shape) * _TEXT))))
    line = round(1.5 * font.size)
    gap = line // 3 if len(panels) > 1 else 0
    width = max(_NARROWEST, sum(pixels.shape[1] for _, pixels in panels) + gap * (len(panels) - 1))
    top = line if any(title for title, _ in panels) else 0
    bottom = top + max(pixels.shape[0] for _, pixels in panels)
    rows = list(_rows(entries, font, width))
    sentences = [each for note in notes for each in _wrapped(in_ascii(note), font, width - line // 2)]
    height = bottom + line * (len(rows) + len(sentences)) + (line // 3 if rows or sentences else 0)
    canvas = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(canvas)
    left = 0
    for title, pixels in panels:
        draw.text((left + pixels.shape[1] // 2, line // 2), title, _INK, font, anchor="mm")
        canvas.paste(Image.fromarray(pixels), (left, top))
        left += pixels.shape[1] + gap
    y = bottom + line // 6 + line // 2
    for row in rows:
        for x, entry, text in row:
            if entry is not None:
                _swatch(canvas, entry, x, y - font.size // 2, int(font.size))
            draw.text((x + round(1.4 * font.size), y), text, _INK, font, anchor="lm")
        y += line
    for sentence in sentences:
        draw.text((line // 4, y), sentence, _INK, font, anchor="lm")
        y += line
    return np.array(canvas)


def _swatch(canvas: Image.Image, entry: Entry, x: int, y: float, size: int) -> None:
    field_HWC = np.full((size, size, 3), 255, np.uint8)
    entry.fill(field_HWC)
    field_HWC[[0, -1]] = field_HWC[:, [0, -1]] = _FRAME
    canvas.paste(Image.fromarray(field_HWC), (x, round(y)))


def _rows(
    entries: Sequence[Entry], font: ImageFont.FreeTypeFont, width: int
) -> Iterator[list[tuple[int, Entry | None, str]]]:
    """Entries in rows of at most `width` pixels, each with its x; a long text goes on in rows of its own."""
    pad, field = round(font.size / 2), round(1.4 * font.size)
    row: list[tuple[int, Entry | None, str]] = []
    x = pad
    for entry in entries:
        texts = _wrapped(entry.text, font, width - 2 * pad - field)
        needed = field + round(max(font.getlength(text) for text in texts))
        if row and x + needed > width - pad:
            yield row
            row, x = [], pad
        row.append((x, entry, texts[0]))
        x += needed + 2 * pad
        for text in texts[1:]:
            yield row
            row, x = [(pad, None, text)], width
    if row:
        yield row


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """The text in lines of at most `width` pixels, between words, or within one that is too long."""
    lines = [""]
    for word in text.split() or [""]:
        longer = f"{lines[-1]} {word}".lstrip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for char in word:
            if lines[-1] and font.getlength(lines[-1] + char) > width:
                lines.append("")
            lines[-1] += char
    return lines


@lru_cache(maxsize=32)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # every wheel of Pillow has FreeType
    return font
