"""What is black and white in samples of more than 8 bits, and which way up an image is."""

from __future__ import annotations

import numpy as np
import pytest
from image_files import GREY, GREY_ALPHA, LIMITS, RGB, RGB_ALPHA, SMOOTH, chunk, fault_of, png, save, tiff
from image_files import with_orientation as exif
from tiff_files import MIN_IS_BLACK, MIN_IS_WHITE, tiff_of

from batchseg.config.source import ImageReading
from batchseg.images.decode import decode_image, decode_scaled, whole
from batchseg.schema import Status

TWELVE = np.random.default_rng(5).integers(0, 4096, (9, 11), dtype=np.uint16)
CHANNELS = {GREY: 1, RGB: 3, GREY_ALPHA: 2, RGB_ALPHA: 4}


def expected(samples, black, white):
    """Rounded half up and clipped, in exact integers."""
    scaled = (2 * 255 * (samples.astype(np.int64) - black) + (white - black)) // (2 * (white - black))
    return np.clip(scaled, 0, 255)


def grey(samples):
    return np.dstack([samples] * 3)


def bits(*significant):
    return chunk(b"sBIT", bytes(significant))


@pytest.mark.parametrize("scale", [(0, 4095), (100, 3000), (-50, 70000)])
@pytest.mark.parametrize("colour_type", CHANNELS)
@pytest.mark.parametrize("adam7", [False, True])
def test_a_png_of_16_bits_is_scaled_by_all_of_them(scale, colour_type, adam7):
    samples = np.random.default_rng(1).integers(0, 4096, (9, 11, CHANNELS[colour_type]), dtype=np.uint16)
    colours = samples[..., :3] if CHANNELS[colour_type] > 2 else grey(samples[..., 0])
    decoded = decode_image(png(samples, colour_type, 16, adam7=adam7), LIMITS, ImageReading(scale))
    assert np.array_equal(decoded, expected(colours, *scale))


@pytest.mark.parametrize("colour_type", CHANNELS)
def test_significant_bits_of_a_png(colour_type):
    """Samples as they came are 12 bits in 16; scaled up, as the standard asks for, they are 16 bits."""
    count = CHANNELS[colour_type]
    samples = np.random.default_rng(2).integers(0, 4096, (9, 11, count), dtype=np.uint16)
    colours = samples[..., :3] if count > 2 else grey(samples[..., 0])
    told = bits(*[12] * count)
    as_they_came = decode_image(png(samples, colour_type, 16, told), LIMITS)
    assert np.array_equal(as_they_came, expected(colours, 0, 4095))
    for scaled_up in (samples << 4, samples << 4 | samples >> 8, np.round(samples * (65535 / 4095))):
        decoded = decode_image(png(scaled_up.astype(np.uint16), colour_type, 16, told), LIMITS)
        assert np.abs(decoded - expected(colours, 0, 4095)).max() <= 1
    dark = samples // 16  # scaled up, these do not exceed 12 bits
    decoded = decode_image(png(dark << 4, colour_type, 16, told), LIMITS)
    assert decoded.max() <= 16


def test_significant_bits_that_say_nothing():
    wide = TWELVE * 16 + 3
    for told in (bits(16), bits(12), bits(4), bits(), bits(0), b""):
        assert np.array_equal(decode_image(png(wide, GREY, 16, told), LIMITS), grey(expected(wide, 0, 65535)))
    narrow = (TWELVE >> 4).astype(np.uint16)
    for reading in (ImageReading(), ImageReading((0, 31))):
        assert np.array_equal(decode_image(png(narrow, GREY, 8, bits(5)), LIMITS, reading), grey(narrow))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("photometric", [MIN_IS_BLACK, MIN_IS_WHITE])
def test_the_largest_value_that_a_tiff_states(order, photometric):
    def decoded(stated, reading=None):
        data = tiff_of(TWELVE, photometric, tags={281: stated}, order=order)
        pixels = decode_image(data, LIMITS, reading or ImageReading())
        return 255 - pixels if photometric == MIN_IS_WHITE else pixels

    assert np.array_equal(decoded(4095), grey(expected(TWELVE, 0, 4095)))
    assert np.array_equal(decoded(65535), grey(expected(TWELVE, 0, 65535)))
    # a statistic of the pixels, or not true: neither has a say
    assert np.array_equal(decoded(int(TWELVE.max()) - 7), grey(expected(TWELVE, 0, 65535)))
    assert np.array_equal(decoded(1023), grey(expected(TWELVE, 0, 65535)))
    assert np.array_equal(decoded(4095, ImageReading((0, 2000))), grey(expected(TWELVE, 0, 2000)))


def test_12_bits_without_a_scale_and_with_one():
    assert np.array_equal(decode_image(tiff(TWELVE, 12), LIMITS), grey(expected(TWELVE, 0, 4095)))
    assert np.array_equal(
        decode_image(tiff(TWELVE, 12), LIMITS, ImageReading((9, 999))), grey(expected(TWELVE, 9, 999))
    )


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint32, np.float32])
def test_grey_without_a_range_needs_a_scale(dtype):
    samples = np.array([[-40000, -100, 0, 50, 101, 3e9]]).clip(
        *((np.iinfo(dtype).min, np.iinfo(dtype).max) if dtype != np.float32 else (None, None))
    )
    data = tiff_of(samples.astype(dtype), MIN_IS_BLACK)
    status, sentence = fault_of(decode_image, data)
    assert status is Status.UNSUPPORTED
    assert "source.scale" in sentence
    scaled = decode_image(data, LIMITS, ImageReading((-100, 100)))
    assert np.array_equal(scaled, grey(np.floor(255 * (samples + 100).clip(0, 200) / 200 + 0.5)))


def test_what_is_not_a_number_is_black():
    data = tiff_of(np.array([[np.nan, np.inf, -np.inf, 0.5]], np.float32), MIN_IS_BLACK)
    assert decode_image(data, LIMITS, ImageReading((0, 1)))[0, :, 0].tolist() == [0, 255, 0, 128]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_8_bits_ignore_a_scale(kind):
    data = save(SMOOTH, kind)
    assert np.array_equal(decode_image(data, LIMITS, ImageReading((0, 9))), decode_image(data, LIMITS))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_pixels_as_stored(kind, orientation):
    options = {"lossless": True} if kind == "WEBP" else {}
    data = save(SMOOTH, kind, exif=exif(orientation), **options)
    stored = decode_scaled(data, LIMITS, whole, ImageReading(as_stored=True))
    assert np.array_equal(stored.pixels_HWC, decode_image(save(SMOOTH, kind, **options), LIMITS))
    assert stored.size_hw == SMOOTH.shape[:2]
    assert stored.orientation == decode_scaled(data, LIMITS, whole).orientation == orientation


def test_a_jpeg_as_stored_is_scaled_as_stored():
    asked = []
    data = save(SMOOTH, "JPEG", exif=exif(6))
    pixels_HWC, size_hw, _ = decode_scaled(
        data, LIMITS, lambda size: asked.append(size) or (20, 28), ImageReading(as_stored=True)
    )
    assert [size_hw] == asked == [SMOOTH.shape[:2]]
    assert pixels_HWC.shape == (21, 29, 3)
