"""TIFF of every layout against numpy: planes, tiles, byte orders, predictors, codecs."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from image_files import LIMITS, SMALL, damaged, fault_of, with_orientation
from PIL import Image, TiffImagePlugin
from tiff_files import (
    CMYK,
    DEFLATE,
    LAB,
    LZW,
    MIN_IS_BLACK,
    MIN_IS_WHITE,
    PACKBITS,
    PALETTE,
    PLANAR,
    RGB,
    YCBCR,
    Layout,
    assemble,
    tiff_of,
)

from batchseg.config.source import ImageReading
from batchseg.errors import RowFault
from batchseg.images.decode import decode_image
from batchseg.images.label_files import decode_labels
from batchseg.images.tiff_pages import has_more_pages
from batchseg.schema import Status

STRIPS, TILES = {"rows": 4}, {"tile": 16}
ALPHA, PREMULTIPLIED, ANY = 2, 1, 0


def noise(dtype, channels=3):
    shape = (13, 21, channels) if channels > 1 else (13, 21)
    return np.random.default_rng(channels).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def to_8_bit(samples):
    return samples if samples.dtype == np.uint8 else np.round(samples / 257).astype(np.uint8)


@pytest.mark.parametrize("layout", [{}, STRIPS, TILES], ids=["one", "strips", "tiles"])
@pytest.mark.parametrize("packing", [(1, 1), (DEFLATE, 1), (DEFLATE, 2), (LZW, 2), (PACKBITS, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("planar", [1, PLANAR])
def test_colours_in_every_layout(planar, order, dtype, packing, layout):
    compression, predictor = packing
    for extra in ((), (ALPHA,), (ANY,), (PREMULTIPLIED,)):
        samples = noise(dtype, 3 + len(extra))
        if extra == (PREMULTIPLIED,):
            samples[..., 3] = np.iinfo(dtype).max
        data = tiff_of(samples, RGB, extra, planar=planar, order=order, compression=compression,
                       predictor=predictor, **layout)  # fmt: skip
        decoded = decode_image(data, LIMITS)
        assert np.abs(decoded.astype(int) - to_8_bit(samples[..., :3])).max() <= (dtype == np.uint16), extra
    assert not TiffImagePlugin.READ_LIBTIFF


@pytest.mark.parametrize("layout", [{}, STRIPS, TILES], ids=["one", "strips", "tiles"])
@pytest.mark.parametrize("compression", [1, DEFLATE])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("planar", [1, PLANAR])
def test_grey_is_inverted_where_zero_is_white(planar, order, dtype, compression, layout):
    samples = noise(dtype, 1)
    for photometric, expected in ((MIN_IS_BLACK, to_8_bit(samples)), (MIN_IS_WHITE, 255 - to_8_bit(samples))):
        data = tiff_of(samples, photometric, planar=planar, order=order, compression=compression, **layout)
        assert np.array_equal(decode_image(data, LIMITS), np.dstack([expected] * 3)), photometric


@pytest.mark.parametrize("planar", [1, PLANAR])
@pytest.mark.parametrize("compression", [1, DEFLATE])
def test_planes_of_grey_with_alpha_and_of_inks(planar, compression):
    grey, inks = noise(np.uint8, 2), noise(np.uint8, 4)
    for extra in (ALPHA, ANY):
        data = tiff_of(grey, MIN_IS_BLACK, (extra,), planar=planar, compression=compression)
        assert np.array_equal(decode_image(data, LIMITS), np.dstack([grey[..., 0]] * 3))
    expected = np.array(Image.frombytes("CMYK", (21, 13), inks.tobytes()).convert("RGB"))
    data = tiff_of(inks, CMYK, planar=planar, compression=compression)
    assert np.array_equal(decode_image(data, LIMITS), expected)


@pytest.mark.parametrize("planar", [1, PLANAR])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compression", [1, DEFLATE])
def test_a_scale_takes_all_16_bits_of_colours(planar, order, compression):
    samples = noise(np.uint16) // 16  # 12 bits
    expected = np.floor(samples * (255 / 4095) + 0.5)
    for extra in ((), (ALPHA,), (ANY,)):
        wider = np.dstack([samples, *[samples[..., 0]] * len(extra)])
        layout = {"planar": planar, "order": order, "compression": compression, "rows": 5}
        scaled = decode_image(tiff_of(wider, RGB, extra, **layout), LIMITS, ImageReading((0, 4095)))
        stated = decode_image(tiff_of(wider, RGB, extra, {281: [4095] * wider.shape[2]}, **layout), LIMITS)
        assert np.array_equal(scaled, expected)
        assert np.array_equal(stated, expected)


@pytest.mark.parametrize("layout", [{}, {"planar": PLANAR}, TILES])
def test_bigtiff(layout):
    samples = noise(np.uint16)
    little = tiff_of(samples, big=True, **layout)
    assert np.abs(decode_image(little, LIMITS).astype(int) - to_8_bit(samples)).max() <= 1
    exact = decode_image(little, LIMITS, ImageReading((0, 65535)))
    assert np.array_equal(exact, to_8_bit(samples))
    status, sentence = fault_of(decode_image, tiff_of(samples, big=True, order=">", **layout))
    assert status is Status.UNSUPPORTED
    assert "BigTIFF" in sentence


def test_subsampled_ycbcr_without_compression():
    """Four brightnesses and two colours for every two by two pixels (TIFF 6.0, section 21)."""
    colours = np.random.default_rng(1).integers(60, 190, (8, 12, 3), dtype=np.uint8).repeat(2, 0).repeat(2, 1)
    ycc = np.array(Image.fromarray(colours).convert("YCbCr"))
    units = [
        ycc[y : y + 2, x : x + 2, 0].tobytes() + ycc[y, x, 1:].tobytes()
        for y in range(0, 16, 2)
        for x in range(0, 24, 2)
    ]
    entries = {256: [24], 257: [16], 258: [8] * 3, 259: [1], 262: [YCBCR], 277: [3], 278: [16]}
    for subsampling in ({}, {530: [2, 2]}):
        data = assemble({**entries, **subsampling}, [b"".join(units)], Layout())
        assert np.abs(decode_image(data, LIMITS).astype(int) - colours).max() <= 3
    for subsampling in ({}, {530: [1, 1]}):
        whole = decode_image(tiff_of(ycc, YCBCR, tags=subsampling), LIMITS)
        assert np.array_equal(
            whole, np.array(Image.frombytes("YCbCr", (24, 16), ycc.tobytes()).convert("RGB"))
        )


@pytest.mark.parametrize("step", [1, 257])
def test_palettes_of_8_and_16_bits(step):
    indices = noise(np.uint8, 1)
    palette = np.random.default_rng(2).integers(0, 256, (256, 3))
    data = tiff_of(indices, PALETTE, tags={320: (palette.T * step).ravel()})
    assert np.array_equal(decode_image(data, LIMITS), palette[indices])


@pytest.mark.parametrize(
    "samples, photometric, options, words",
    [
        (noise(np.uint8, 5), RGB, {"extra": (ALPHA, ANY), "planar": PLANAR}, "channels interleaved"),
        (noise(np.uint8), YCBCR, {"planar": PLANAR}, "tiffcp -p contig"),
        (noise(np.uint8), LAB, {}, "LAB"),
        (noise(np.uint8), LAB, {"planar": PLANAR}, "LAB"),
        (noise(np.uint8, 1).astype(np.int8), MIN_IS_BLACK, {}, "signed samples of 8 bits"),
        (noise(np.uint16, 1).astype(np.int16), MIN_IS_BLACK, {}, "source.scale"),
        (noise(np.uint16, 1).astype(np.uint32), MIN_IS_BLACK, {}, "source.scale"),
        (noise(np.uint16, 1).astype(np.float32), MIN_IS_BLACK, {}, "source.scale"),
        (noise(np.uint16, 3).astype(np.float32), RGB, {}, "convert it to 8-bit RGB"),
        (noise(np.uint16, 2), MIN_IS_BLACK, {"extra": (ALPHA,)}, "convert it to 8-bit RGB"),
    ],
)  # fmt: skip
def test_what_is_not_read_is_refused_with_a_way_out(samples, photometric, options, words):
    status, sentence = fault_of(decode_image, tiff_of(samples, photometric, **options))
    assert status is Status.UNSUPPORTED
    assert words in sentence


CODECS = {
    **{34712: "JPEG 2000", 33003: "JPEG 2000", 33005: "JPEG 2000", 34887: "LERC", 50002: "JPEG XL"},
    **{34661: "JBIG", 32766: "NeXT RLE", 34934: "JPEG XR", 64000: "numbered 64000"},
}


@pytest.mark.parametrize("codec, name", CODECS.items())
def test_codecs_that_are_not_there_are_named(codec, name):
    data = tiff_of(noise(np.uint8), compression=codec)
    status, sentence = fault_of(decode_image, data)
    assert status is Status.UNSUPPORTED
    assert name in sentence
    assert "LZW or Deflate" in sentence
    assert name in fault_of(decode_labels, data)[1]


@pytest.mark.parametrize("codec, option, name", [(50000, "zstd", "Zstandard"), (50001, "webp", "WebP"),
                                                 (34925, "lzma", "LZMA")])  # fmt: skip
def test_codecs_that_libtiff_may_have(codec, option, name):
    samples, file = noise(np.uint8), io.BytesIO()
    try:
        Image.fromarray(samples).save(file, "TIFF", compression=option)
    except OSError:
        status, sentence = fault_of(decode_image, tiff_of(samples, compression=codec))
        assert (status, name in sentence) == (Status.UNSUPPORTED, True)
    else:
        assert decode_image(file.getvalue(), LIMITS).shape == samples.shape
        assert fault_of(decode_image, tiff_of(samples, compression=codec))[0] is Status.UNREADABLE


@pytest.mark.parametrize("planar", [1, PLANAR])
@pytest.mark.parametrize("scale", [None, (0, 65535)])
def test_the_tag_of_a_tiff_turns_every_layout_alike(planar, scale):
    samples = noise(np.uint16)
    for orientation in range(1, 9):
        expected = to_8_bit(samples)
        plain = Image.fromarray(expected)
        file = io.BytesIO()
        plain.save(file, "PNG", exif=with_orientation(orientation))
        data = tiff_of(samples, planar=planar, tags={274: orientation})
        upright = decode_image(data, LIMITS, ImageReading(scale)).astype(int)
        stored = decode_image(data, LIMITS, ImageReading(scale, as_stored=True)).astype(int)
        assert np.abs(upright - decode_image(file.getvalue(), LIMITS)).max() <= 1, orientation
        assert np.abs(stored - expected).max() <= 1, orientation


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(
    "pages, more",
    [
        ([{}], False),
        ([{}, {}], True),
        ([{}, {254: [1]}], False),
        ([{}, {254: [4]}, {254: [5]}], False),
        ([{}, {254: [1]}, {254: [2]}], True),
    ],
)
def test_previews_and_masks_are_no_pages(pages, more, big):
    data = tiff_of(noise(np.uint8), pages=pages, big=big)
    assert has_more_pages(io.BytesIO(data)) is more
    for cut in range(0, len(data), 7):
        has_more_pages(io.BytesIO(data[:cut]))  # raises nothing


@settings(max_examples=300)
@given(
    damaged(
        [
            tiff_of(noise(np.uint16), planar=planar, compression=compression, **layout)
            for planar in (1, PLANAR)
            for compression in (1, DEFLATE)
            for layout in (STRIPS, TILES)
        ]
        + [tiff_of(noise(np.uint16, 1), MIN_IS_WHITE, order=">")]
    )
)
def test_a_damaged_tiff_is_read_with_a_scale_or_faults(data):
    try:
        image = decode_image(data, SMALL, ImageReading((0, 4095)))
    except RowFault as fault:
        assert fault.status in (Status.UNREADABLE, Status.UNSUPPORTED, Status.TOO_LARGE)
    else:
        assert image.dtype == np.uint8
        assert image.shape[2] == 3


@pytest.mark.parametrize("scale", [None, (0, 4095)])
def test_planes_that_the_file_does_not_hold_are_not_made_up(scale):
    samples = noise(np.uint16)
    plane = samples[..., 0].nbytes

    def decode(data, limits):
        return decode_image(data, limits, ImageReading(scale))

    # pixels behind the directory, as other writers have them, and cut off
    entries = {256: [21], 257: [13], 258: [16] * 3, 259: [1], 262: [RGB], 277: [3], 278: [13], 284: [PLANAR]}
    blocks = [samples[..., channel].tobytes() for channel in range(3)]
    before = assemble(entries, blocks, Layout())
    offsets = np.arange(3) * plane
    moved = before.replace(*((start + offsets).astype("<u4").tobytes() for start in (8, len(before))))
    moved += b"".join(blocks)
    white = scale[1] if scale else 65535
    expected = np.round(samples.clip(0, white) * (255 / white))
    assert np.abs(decode(moved, LIMITS) - expected).max() <= 1
    assert fault_of(decode, moved[:-9])[0] is Status.UNREADABLE


def test_big_endian_grey_that_was_cut_off_is_not_made_up():
    samples = noise(np.uint16, 1)
    before = tiff_of(samples, MIN_IS_WHITE, order=">")
    place = struct.pack(">HHII", 273, 4, 1, 8)
    moved = (
        before.replace(place, struct.pack(">HHII", 273, 4, 1, len(before))) + samples.astype(">u2").tobytes()
    )
    assert np.array_equal(decode_image(moved, LIMITS)[..., 0], 255 - to_8_bit(samples))
    assert fault_of(decode_image, moved[:-9])[0] is Status.UNREADABLE
