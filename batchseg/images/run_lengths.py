"""Masks as lengths of runs, which are exact: COCO's, CVAT's and Label Studio's, from runs and to arrays.

- COCO (pycocotools, `maskApi.c`): pixels in columns, beginning with those outside; as a list, or as a string
  of 5 bits a character with differences to the run but one before.
- CVAT: the same as a list, in rows, within a box.
- Label Studio: bits as `@thi.ng/rle-pack` packs them, most significant first, of RGBA in rows, of which alpha
  is the mask (https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack).
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from batchseg.images.runs import Places

_CHANNELS, _WORD = 4, 8
_OPAQUE, _LONGEST = 255, 2**16
_SIZES = np.array([3, 4, 8, 16])  # bits of a length as they are written, by the two bits that say which
_HEAD = (32, 5, 4, 4, 4, 4)  # bits of: how many values, and one less than the bits of a word and of the sizes
_MOST_CHARS = 7  # of one number: 35 bits, and images have fewer pixels


def run_lengths(number: Places, start: Places, stop: Places, size: Places) -> list[list[int]]:
    """The run lengths of each number that has runs, beginning with those of pixels that are none.

    Args:
        number: of each run, 0 or more, sorted.
        start, stop: its pixels' places in the flattened mask of its number.
        size: of these masks, one for each number that has runs, in pixels.
    """
    if not len(number):
        return []
    touching = (number[1:] == number[:-1]) & (start[1:] == stop[:-1])
    begin, end = np.append(True, ~touching), np.append(~touching, True)
    number, start, stop = number[begin], start[begin], stop[end]
    is_first = np.diff(number, prepend=-1) > 0
    before = np.where(is_first, 0, np.append(0, stop[:-1]))
    counts = np.stack([start - before, stop - start], 1).ravel()
    last = np.flatnonzero(np.append(is_first[1:], True))
    rest = size - stop[last]
    ends = 2 * (last + 1)
    flat = np.insert(counts, ends[rest > 0], rest[rest > 0]).tolist()
    ends += np.cumsum(rest > 0)
    starts = np.append(0, ends[:-1])
    return [flat[first:behind] for first, behind in zip(starts.tolist(), ends.tolist(), strict=True)]


def unpacked_counts(packed: bytes) -> NDArray[np.int64]:
    """The lengths in a compressed string of COCO. Raises ValueError where it is none."""
    codes = np.frombuffer(packed, np.uint8).astype(np.int64) - 48
    if not len(codes):
        return np.zeros(0, np.int64)
    if codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise ValueError("its compressed runs hold characters that COCO's do not have, or end too early")
    last = np.flatnonzero(codes & 32 == 0)
    starts = np.concatenate([[0], last[:-1] + 1])
    places = np.arange(len(codes)) - np.repeat(starts, last - starts + 1)
    if places.max() >= _MOST_CHARS:
        raise ValueError("its compressed runs hold a number that no image has as many pixels as")
    values = np.add.reduceat((codes & 31) << (5 * places), starts)
    negative = codes[last] & 16 != 0
    values -= np.where(negative, np.int64(1) << (5 * (places[last] + 1)), 0)
    # from the fourth on each is the difference to the one before the last
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def filled(counts: NDArray[np.int64], pixels: int) -> NDArray[np.bool_]:
    """Runs of outside and inside, by turns, as a flat mask. Raises ValueError unless they fill `pixels`."""
    total = int(counts.sum())
    if (counts < 0).any() or total != pixels:
        raise ValueError(f"its runs have {total:,} pixels, and must have {pixels:,}")
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts)


def packed_brush(counts: list[int]) -> NDArray[np.uint8]:
    """Bytes of a brush, from the run lengths of its mask, beginning with those of pixels outside of it."""
    lengths = np.array(counts, np.int64) * _CHANNELS
    values = np.where(np.arange(len(lengths)) % 2, _OPAQUE, 0)
    pieces = -(-lengths // _LONGEST)
    values, rest = np.repeat(values, pieces), np.repeat(lengths, pieces)
    is_last = np.zeros(len(rest), np.bool_)
    is_last[np.cumsum(pieces)[pieces > 0] - 1] = True
    length = np.where(is_last, (rest - 1) % _LONGEST + 1, _LONGEST)
    which = np.searchsorted(2**_SIZES, length)
    bits = _SIZES[which]
    # that it is a run, the kind of its length, its length, its value
    words = ((1 << 2 | which) << bits | length - 1) << _WORD | values
    head = [int(lengths.sum()), _WORD - 1, *(_SIZES - 1)]
    return _as_bytes(np.append(head, words), np.append(_HEAD, bits + 3 + _WORD))


def _as_bytes(words: NDArray[np.int64], bits: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Words of so many bits each, one behind the other."""
    ends = np.cumsum(bits)
    shift = np.repeat(ends, bits) - 1 - np.arange(ends[-1])
    return np.packbits((np.repeat(words, bits) >> shift & 1).astype(np.uint8))


def brushed(packed: bytes, hw: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask [H, W] of a brush of Label Studio: where alpha is not 0.

    Raises ValueError where it is none of this size.
    """
    height, width = hw
    inside_HW: NDArray[np.bool_] = (
        _unpacked(packed, height * width * _CHANNELS)[_CHANNELS - 1 :: _CHANNELS] != 0
    )
    return inside_HW.reshape(height, width)


def _unpacked(packed: bytes, expected: int) -> NDArray[np.uint8]:
    bits = _Bits(packed)
    if (found := bits.read(32)) != expected:
        raise ValueError(f"its brush runs have {found:,} values, and its image {expected:,} (RGBA)")
    if bits.read(5) + 1 != _WORD:
        raise ValueError("its brush runs are not of bytes")
    sizes = [bits.read(4) + 1 for _ in range(4)]
    values, done = np.zeros(expected, np.uint8), 0
    while done < expected:
        is_run, size = bits.read(1), sizes[bits.read(2)]
        stop = done + 1 + bits.read(size)
        if stop > expected:
            raise ValueError("its brush runs go beyond its image")
        values[done:stop] = bits.read(_WORD) if is_run else bits.words(stop - done)
        done = stop
    return values


class _Bits:
    """Numbers of any width, one after the other. Raises ValueError at the end."""

    def __init__(self, packed: bytes) -> None:
        self.packed, self.at, self.total = packed, 0, 8 * len(packed)

    def read(self, width: int) -> int:
        start = self._advance(width)
        piece = int.from_bytes(self.packed[start >> 3 : (self.at + 7) >> 3], "big")
        return piece >> (-self.at % 8) & ((1 << width) - 1)

    def words(self, count: int) -> NDArray[np.uint8]:
        start = self._advance(_WORD * count)
        return np.packbits(self._apart[start : self.at])

    @cached_property
    def _apart(self) -> NDArray[np.uint8]:
        return np.unpackbits(np.frombuffer(self.packed, np.uint8))

    def _advance(self, width: int) -> int:
        start, self.at = self.at, self.at + width
        if self.at > self.total:
            raise ValueError("its brush runs end too early")
        return start
