"""The colours of classes that were given none: far apart for the eye, and the same every time.

The first seven are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), and the next five were chosen
so that dichromats tell all twelve apart. Each further one is, of a grid of 17 steps a channel, the one
that is farthest in OKLab from black, from the colour of void and from all before it (greedy maximin); up to
the 40th greyish ones were left out. `tests/labels/test_colours.py` holds the distances.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import count

Colour = tuple[int, int, int]

BLACK: Colour = (0, 0, 0)
VOID_COLOUR: Colour = (224, 224, 192)  # what PASCAL VOC draws its void in

_TABLE = """
e69f00 56b4e9 009e73 f0e442 0072b2 d55e00 cc79a7 a000ff a0d070 704000 b00040 2a2a90 ff20f0 0030ff
00ff00 600040 ffb0ff 004000 8040a0 107000 00ffff ff0070 9080ff 00c000 205060 807050 c000b0 6000d0
ffa0a0 e080ff 90a010 b0d0ff 3070ff 8080b0 b09070 70ffa0 00d0c0 b05080 502000 600080 001040 300020
102010 ffffff ff7060 704060 800010 e00020 b0c0b0 103050 ff60c0 300060 900070 b0a0e0 c050f0 207060
ffc070 7050e0 b04000 ffffb0 209000 70a0a0 3090e0 000080 00e070 0000c0 0050c0 c0ff00 f000b0 a060c0
d00070 505090 0090a0 f090d0 606010 50c070 806080 b0ffff a08010 9000c0 ffd0f0 a0e000 00e0ff a0b070
90e0c0 b07070 503040 e05060 404020 ff4000 508040 e0c000 6020ff d050b0 6070d0 904040 c0f0a0 90c000
ffff00 e09070 ff8000 d0a0b0 503070 506070 302030 80a0ff d08000 00f0c0 d000e0 f0c0b0 809060 b080d0
400000 6030a0 a06000 ffa060 c04050 b01080 005090 f06090 702060 d0b0ff 00b0a0 4050f0 608080 a040d0
90b0c0 ff60f0 a090a0 206030 9050ff 900040 d0c080 3000e0 a01000 400040 ff80a0 4000b0 6070a0 104040
00b050 ffe090 505040 004070 800090 904070 c0b030 90ffd0 5050c0 ff90ff 80d0e0 b040a0 8000f0 d0e0f0
00e000 709020 200040 e0ff80 f0b0d0 e050e0 807000 400080 c00000 303000 b090ff 703030 a010a0 d0ffd0
30a0c0 c0e060 80c0a0 402050 70ff60 601020 500060 202070 6080ff 100060 e03090 908080 ff1040 e030ff
b07040 c070ff 002030 a070a0 d070d0 4030c0 106080 80a0d0 fff0d0 a06050 b000e0 ffb010 80c0ff 8060b0
003030 404060 d08080 e07050 4040a0 d0c0d0 2000a0 205000 705050 108080 40a0ff 7000b0 7040c0 40c0d0
c020ff d04010 ff40d0 d090e0 4080c0 ff5060 904000 80f0ff 70b080 70b000 1030b0 505010 e0b090 703080
ff30a0 9060e0 003000 70e090 603000 c0a060 7060ff 302010 90a080 a02060 7090e0 e0d070 50a000 d05080
105040 002050 706040 60d030 c040c0 b0ff80 b09040 705080 905090 009050 307090 50f080 c090c0 60a060
407030 b0d0a0 303030 6090c0
"""
_STRIDE = 0x9E3779  # odd, so that its multiples meet each of the 2**24 colours once


def distinct_colours(taken: Collection[Colour] = ()) -> Iterator[Colour]:
    """Without end, no two alike: neither black nor the colour of void nor one of those `taken`."""
    left_out = {BLACK, VOID_COLOUR, *taken}
    table = [_from_code(int(code, 16)) for code in _TABLE.split()]
    yield from (colour for colour in table if colour not in left_out)
    # there are more classes than colours that look different: these differ, and that is all
    left_out.update(table)
    for index in count(1):
        colour = _from_code(index * _STRIDE % 2**24)
        if colour not in left_out:
            yield colour


def _from_code(code: int) -> Colour:
    return code >> 16, code >> 8 & 255, code & 255


def voc_colour(index: int) -> Colour:
    """Bits 0, 3, 6 ... of the index, from the top of the red byte down; 1, 4 ... green; 2, 5 ... blue."""
    red, green, blue = (
        sum((index >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(8)) for channel in range(3)
    )
    return red, green, blue
