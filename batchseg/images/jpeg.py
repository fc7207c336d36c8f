"""Whether a JPEG held all of its pixels: where data end too early libjpeg fills with grey, and only warns.

The last block of the picture is looked at first, which costs next to nothing: what libjpeg fills in is flat
and grey there. Only then, and for progressive files, where what is missing may look like anything, the file
is decoded once more with meaningless bytes at the end of each scan. A decoder that has all it needs never
reads them; one that still waits for data takes them for some, and the picture changes.

ITU-T T.81 | ISO/IEC 10918-1 is the standard.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BLOCK = 8
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, of which JPEG's YCbCr is made
_GREY, _ROUNDED = 128, 2

# FF 00 is a byte of data, FF D0 to D7 are restarts within a scan, and FF may be repeated before a code
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])", re.DOTALL)
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_END, _SCAN, _FIRST_RESTART = 0xD9, 0xDA, 0xD0
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE, _ARITHMETIC = {0xC2, 0xC6, 0xCA, 0xCE}, {*range(0xC9, 0xD0)}
_ALONE = {0x01, 0xD8}  # markers without a segment

_MEANINGLESS = bytes((index * 73 + 41) % 251 for index in range(64))  # no FF among them


class Frame(NamedTuple):
    """How the picture is stored, by the segments before its first pixel.

    Attributes:
        components: 1 for grey, 3 for colours, 4 for CMYK.
        is_arithmetic: such data may leave out zeros at their end, so nothing tells where they were cut off.
    """

    components: int
    is_progressive: bool
    is_arithmetic: bool
    in_one_scan: bool


class _Segment(NamedTuple):
    """A marker, where it begins, and where what it says begins and ends."""

    code: int
    at: int
    start: int
    end: int


def read_frame(data: bytes | memoryview) -> Frame | None:
    """The frame of the picture itself, not of a thumbnail in it; None where the segments are damaged."""
    frame = None
    for code, _, start, end in _segments(data):
        if code in _FRAMES and start + 5 < min(end, len(data)):
            frame = (code, data[start + 5])
        if code == _SCAN and frame is not None and start < len(data):
            kind, components = frame
            return Frame(components, kind in _PROGRESSIVE, kind in _ARITHMETIC, data[start] == components)
    return None


def ends_grey(pixels_HWC: NDArray[np.uint8], block: int = BLOCK) -> bool:
    """Whether the last block is what libjpeg makes of nothing. Of a reduced picture a block is smaller."""
    if abs(float(pixels_HWC[-1, -1] @ _LUMA) - _GREY) > _ROUNDED:
        return False
    height, width = pixels_HWC.shape[:2]
    last_hwC = pixels_HWC[(height - 1) // block * block :, (width - 1) // block * block :]
    # by brightness alone: colours of the neighbours may reach into the block
    return bool((np.abs(last_hwC @ _LUMA - _GREY) <= _ROUNDED).all())


def with_more_data(data: bytes | memoryview) -> bytes:
    """The file with meaningless data behind each scan: first as its own, then behind a restart.

    Raises OSError where scans are missing: a component was not sent, or lacks the last bits of what was.
    """
    segments = [*_segments(data)]
    if _lacks_scans(data, segments):
        raise OSError("scans are missing")
    pieces, taken, scan = [], 0, None
    for segment in segments:
        if scan is not None:
            pieces += [bytes(data[taken : segment.at]), _more(data, scan, segment.at)]
            taken = segment.at
        scan = segment.end if segment.code == _SCAN else None
    if scan is not None:  # the end mark alone may be missing
        pieces += [bytes(data[taken:]), _more(data, scan, len(data)), bytes([0xFF, _END])]
        taken = len(data)
    return b"".join([*pieces, bytes(data[taken:])])


def _lacks_scans(data: bytes | memoryview, segments: list[_Segment]) -> bool:
    code, components = 0, 0
    bits_left = dict[tuple[int, int], int]()
    for segment in segments:
        content = bytes(data[segment.start : segment.end])
        if segment.code in _FRAMES and len(content) > 5:
            code, components = segment.code, content[5]
        if segment.code == _SCAN and content and len(content) >= 2 * content[0] + 4:
            # outside progressive files these three bytes have one value, and some encoders write another
            first, last, approximation = content[-3:] if code in _PROGRESSIVE else (0, 0, 0)
            for component in content[1 : 2 * content[0] : 2]:
                for coefficient in range(first, last + 1):
                    bits_left[component, coefficient] = approximation & 15
    sent = sum(coefficient == 0 for _, coefficient in bits_left)
    return sent < components or any(bits_left.values())


def _more(data: bytes | memoryview, start: int, end: int) -> bytes:
    restarts = len(_RESTART.findall(data, start, end))
    return _MEANINGLESS + bytes([0xFF, _FIRST_RESTART + restarts % 8]) + _MEANINGLESS


def _segments(data: bytes | memoryview) -> Iterator[_Segment]:
    """All segments to the end mark of the first picture; more pictures may follow."""
    at = 0
    while found := _MARKER.search(data, at):
        code, before, start = found[1][0], found.start(), found.end()
        while before > at and data[before - 1] == 0xFF:
            before -= 1
        if code in _ALONE or code == _END:
            at = start
        else:
            at = start + max(2, int.from_bytes(data[start : start + 2], "big"))
        yield _Segment(code, before, start + 2, at)
        if code == _END:
            return
