"""A palette is replaced in the bytes of a PNG: the pixels stay, and readers see the new colours."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from batchseg.images.encode import encode_png, png_palette
from batchseg.images.palette import HEADER_BYTES, repainted

OLD, NEW = ((10, 20, 30), (200, 100, 0)), ((1, 2, 3), (255, 254, 253))
LABELS_HW = np.random.default_rng(0).integers(0, 3, (33, 47), np.uint8)  # 2 is void


def opened(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    picture.load()  # which checks every CRC
    return picture


def test_it_is_as_if_the_mask_had_been_written_in_these_colours() -> None:
    before = encode_png(LABELS_HW, OLD, 255)
    after = repainted(before, png_palette(NEW))
    assert after == encode_png(LABELS_HW, NEW, 255)
    assert np.array_equal(np.asarray(opened(after)), np.asarray(opened(before)))
    assert repainted(after, png_palette(NEW)) is None


def test_the_head_of_a_mask_tells_whether_it_is_needed() -> None:
    before = encode_png(np.random.default_rng(1).integers(0, 2, (200, 200), np.uint8), OLD, 255)
    assert len(before) > HEADER_BYTES
    assert repainted(before[:HEADER_BYTES], png_palette(OLD)) is None
    assert repainted(before[:HEADER_BYTES], png_palette(NEW)) is not None


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_palette_of_few_bits_gets_no_more_entries_than_its_pixels_can_name(bits: int) -> None:
    """As a tool that squeezes PNGs leaves them."""
    picture = Image.fromarray((LABELS_HW % 2).astype(np.uint8), "P")
    picture.putpalette([*OLD[0], *OLD[1]])
    file = io.BytesIO()
    picture.save(file, "PNG", bits=bits)
    after = repainted(file.getvalue(), png_palette(NEW))
    assert after is not None
    assert opened(after).convert("RGB").getpixel((0, 0)) == NEW[LABELS_HW[0, 0] % 2]
    assert np.array_equal(np.asarray(opened(after)), LABELS_HW % 2)


def test_chunks_around_the_palette_stay() -> None:
    picture = Image.fromarray(LABELS_HW, "P")
    picture.putpalette(png_palette(OLD))
    file = io.BytesIO()
    picture.save(file, "PNG", icc_profile=np.random.default_rng(2).bytes(3000), transparency=7)
    after = repainted(file.getvalue(), png_palette(NEW))
    assert after is not None
    assert opened(after).info["transparency"] == 7
    assert opened(after).info["icc_profile"] == opened(file.getvalue()).info["icc_profile"]
    assert opened(after).palette.palette == png_palette(NEW)
    with pytest.raises(ValueError, match="no palette"):  # it lies behind the profile
        repainted(file.getvalue()[:HEADER_BYTES], png_palette(NEW))


def test_16_bit_masks_have_none() -> None:
    assert repainted(encode_png(LABELS_HW, OLD, 65535), png_palette(NEW)) is None


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(99), bytes(99)])
def test_what_is_no_png_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="no PNG"):
        repainted(data, png_palette(NEW))


def test_a_png_that_was_cut_off_is_refused() -> None:
    with pytest.raises(ValueError, match="no palette"):
        repainted(encode_png(LABELS_HW, OLD, 255)[:60], png_palette(NEW))
