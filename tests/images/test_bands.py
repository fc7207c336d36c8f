"""Bands as they are read, held against rasterio and Pillow."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from batchseg.config.base import Limits
from batchseg.config.source import ImageReading
from batchseg.errors import RowFault
from batchseg.images.bands import as_rgb, decode_bands
from batchseg.images.decode import decode_image
from tests.band_files import bands_of, geotiff
from tests.image_files import FILES, GREY, GREY_ALPHA, LIMITS, RGB, RGB_ALPHA, png, save, with_orientation
from tests.tiff_files import CHUNKY, DEFLATE, MIN_IS_BLACK, MIN_IS_WHITE, PLANAR, tiff_of

KINDS = ("uint8", "uint16", "int16", "float32")
ALL = ImageReading(scale=(0, 1000), channels=4)


def read(data, reading=ALL, limits=LIMITS):
    return decode_bands(data, limits, reading)


def sentence(data, reading=ALL, limits=LIMITS):
    with pytest.raises(RowFault) as caught:
        read(data, reading, limits)
    return caught.value.status.value, str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("planar", [CHUNKY, PLANAR])
@pytest.mark.parametrize("layout", [{}, {"rows": 7}, {"tile": 16}, {"big": True, "tile": 32, "order": ">"}])
def test_every_layout_gives_the_stored_values(kind, planar, layout):
    pixels = bands_of(kind, 5)
    data = tiff_of(pixels, MIN_IS_BLACK, extra=[0] * 4, planar=planar, compression=DEFLATE, **layout)
    picture = read(data, ImageReading(scale=(0, 1000), bands=(4, 1, 1)))
    expected = pixels[..., [3, 0, 0]]
    assert picture.pixels_HWC.dtype == (np.float32 if kind == "int16" else kind)
    assert np.array_equal(picture.pixels_HWC, expected)
    assert picture.pixels_HWC.flags.c_contiguous
    assert picture.pixels_HWC.flags.writeable
    assert picture.size_hw == pixels.shape[:2]
    assert picture.nodata_HW is None
    assert picture.scale == ((0, 1000),) * 3


@pytest.mark.parametrize("kind", ["int8", "int32", "uint32", "float64"])
def test_wider_types_travel_as_float32(kind):
    pixels = (bands_of("float32", 4) * 100).clip(0 if kind == "uint32" else -100, 100).astype(kind)
    picture = read(geotiff(pixels))
    assert picture.pixels_HWC.dtype == np.float32
    assert np.array_equal(picture.pixels_HWC, pixels.astype(np.float32))


@pytest.mark.parametrize("kind", ["int64", "uint64", "complex64", "complex128"])
def test_64_bit_integers_and_complex_numbers_are_refused_by_name(kind):
    status, why = sentence(geotiff(np.ones((5, 6, 4), kind)))
    assert status == "unsupported"
    assert kind in why


def test_the_range_without_a_scale():
    reading = ImageReading(channels=4)
    assert read(geotiff(bands_of("uint8")), reading).scale is None
    assert read(geotiff(bands_of("uint16")), reading).scale == ((0, 65535),) * 4
    assert read(geotiff(bands_of("uint16") // 16, NBITS=12), reading).scale == ((0, 4095),) * 4
    for kind in ("int16", "float32"):
        status, why = sentence(geotiff(bands_of(kind)), reading)
        assert status == "unsupported"
        assert "source.scale" in why


@pytest.mark.parametrize(("highest", "white"), [(4000, 4095), (5000, 65535)])
def test_a_stated_white_counts_unless_the_samples_belie_it(highest, white):
    pixels = np.linspace(0, highest, 4 * 30).astype(np.uint16).reshape(5, 6, 4)
    data = tiff_of(pixels, MIN_IS_BLACK, extra=[0] * 3, tags={281: [4095] * 4})
    assert read(data, ImageReading(channels=4)).scale == ((0, white),) * 4


def test_percentiles_are_those_of_numpy_without_nodata():
    pixels = bands_of("uint16", 3)
    pixels[:10] = 9
    reading = ImageReading(percentiles=(2, 98))
    picture = read(geotiff(pixels, nodata=9), reading)
    expected = [tuple(np.percentile(pixels[10:, :, band], (2, 98))) for band in range(3)]
    assert np.allclose(picture.scale, expected)
    assert np.array_equal(picture.nodata_HW, (pixels == 9).any(-1))
    flat = np.full((4, 5, 3), 7, np.uint16)
    assert read(geotiff(flat), reading).scale == ((7, 8),) * 3
    assert read(geotiff(flat, nodata=7), reading).scale == ((0, 1),) * 3


def test_percentiles_come_of_a_million_pixels_at_most():
    pixels = np.arange(2000 * 1500, dtype=np.uint32).reshape(2000, 1500, 1).astype(np.float32)
    ((black, white),) = read(geotiff(pixels), ImageReading(percentiles=(2, 98))).scale
    assert [black, white] == pytest.approx([0.02 * 3e6, 0.98 * 3e6], abs=3000)  # two rows


@pytest.mark.parametrize("kind", KINDS)
def test_where_there_is_no_data_pixels_are_black(kind):
    pixels = bands_of(kind)
    pixels[3:9, 4:20, 1] = 77  # one band is enough
    scale = ((10, 200), (20, 200), (30, 200), (40.5, 200))
    picture = read(geotiff(pixels, nodata=77), ImageReading(scales=scale, channels=4))
    nodata = (pixels == 77).any(-1)
    assert np.array_equal(picture.nodata_HW, nodata)
    black = [10, 20, 30, 40.5 if kind in ("int16", "float32") else 40]
    assert (picture.pixels_HWC[nodata] == black).all()
    assert np.array_equal(picture.pixels_HWC[~nodata], pixels[~nodata])


def test_nan_and_a_mask_band_are_no_data():
    pixels = bands_of("float32")
    pixels[5, 6, 2] = np.nan
    picture = read(geotiff(pixels))
    assert np.argwhere(picture.nodata_HW).tolist() == [[5, 6]]
    assert np.isfinite(picture.pixels_HWC).all()
    mask = np.full((40, 52), 255, np.uint8)
    mask[:7] = 0
    assert np.array_equal(read(geotiff(bands_of("uint16"), mask)).nodata_HW, mask == 0)


def test_an_alpha_band_masks_the_others_unless_it_is_read():
    pixels = bands_of("uint8")  # whose fourth band GDAL takes for alpha
    pixels[:9, :, 3] = 0
    assert np.array_equal(read(geotiff(pixels), ImageReading(channels=4)).pixels_HWC, pixels)
    assert read(geotiff(pixels), ImageReading(channels=4)).nodata_HW is None
    assert np.array_equal(read(geotiff(pixels), ImageReading(bands=(3, 2, 1))).nodata_HW, pixels[..., 3] == 0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("big", [False, True])
def test_the_orientation_turns_all_bands_and_nodata(orientation, big):
    pixels = bands_of("uint16", 2)
    pixels[2:5, 7:11] = 3
    tags = {274: orientation, 42113: 0}
    data = tiff_of(pixels, MIN_IS_BLACK, extra=[0], tags=tags, big=big)
    rgb = np.repeat((pixels[..., :1] // 256).astype(np.uint8), 3, axis=2)
    turned = decode_image(save(rgb, "PNG", exif=with_orientation(orientation)), LIMITS)[..., :1]
    reading = ImageReading(channels=2)
    picture = read(data, reading)
    assert picture.orientation == orientation
    assert np.array_equal(picture.pixels_HWC[..., :1] // 256, turned)
    assert picture.size_hw == turned.shape[:2]
    stored = read(data, ImageReading(channels=2, as_stored=True))
    assert np.array_equal(stored.pixels_HWC, pixels)


def test_nodata_is_turned_with_the_pixels():
    pixels = bands_of("uint16", 2)
    pixels[2:5, 7:11] = 0
    with_tag = tiff_of(pixels, MIN_IS_BLACK, extra=[0], tags={274: 6})
    picture = read(with_tag, ImageReading(channels=2))
    assert picture.nodata_HW is None
    nan = np.where(pixels == 0, np.nan, pixels).astype(np.float32)
    turned = read(tiff_of(nan, MIN_IS_BLACK, extra=[0], tags={274: 6}), ImageReading((0, 9), channels=2))
    assert np.array_equal(turned.nodata_HW, np.rot90(np.isnan(nan).any(-1), -1))


@pytest.mark.parametrize("colour_type", [GREY, RGB, GREY_ALPHA, RGB_ALPHA])
@pytest.mark.parametrize("depth", [8, 16])
def test_the_channels_of_a_png_are_its_bands(colour_type, depth):
    channels = {GREY: 1, RGB: 3, GREY_ALPHA: 2, RGB_ALPHA: 4}[colour_type]
    samples = np.random.default_rng(2).integers(0, 2**depth, (9, 11, channels), dtype=np.uint16)
    picture = read(png(samples, colour_type, depth), ImageReading(channels=channels))
    assert picture.pixels_HWC.dtype == (np.uint8 if depth == 8 else np.uint16)
    assert np.array_equal(picture.pixels_HWC, samples)
    assert picture.scale == (None if depth == 8 else ((0, 65535),) * channels)
    assert picture.nodata_HW is None


def test_other_formats_have_the_channels_of_their_colours():
    grey = Image.fromarray(bands_of("uint8", 1)[..., 0])
    for kind in ("PNG", "BMP", "TIFF", "JPEG"):
        data = save(grey, kind)
        expected = decode_image(data, LIMITS)
        assert np.array_equal(read(data, ImageReading(channels=1)).pixels_HWC, expected[..., :1]), kind
        repeated = read(data, ImageReading(bands=(1, 1, 1)))
        assert np.array_equal(repeated.pixels_HWC, expected), kind
    reading = ImageReading(bands=(3, 1, 2))
    for kind in ("jpeg", "jpeg rotated", "jpeg cmyk", "png", "png palette", "webp", "bmp palette", "gif"):
        assert np.array_equal(
            read(FILES[kind], reading).pixels_HWC, decode_image(FILES[kind], LIMITS)[..., [2, 0, 1]]
        )
    for kind in ("tiff", "tiff palette", "tiff lzw"):
        expected = decode_image(FILES[kind], LIMITS)
        channels = 1 if kind == "tiff lzw" else 3
        found = read(FILES[kind], ImageReading(bands=tuple(range(1, channels + 1))))
        assert np.array_equal(found.pixels_HWC, expected[..., :channels]), kind


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_grey_whose_0_is_white_is_inverted(kind):
    samples = bands_of(kind, 1)
    picture = read(tiff_of(samples, MIN_IS_WHITE), ImageReading(channels=1))
    plain = decode_image(tiff_of(samples[..., 0], MIN_IS_WHITE), LIMITS)
    assert np.abs(as_rgb(picture.pixels_HWC, picture.scale).astype(int) - plain).max() <= (kind == "uint16")


@pytest.mark.parametrize(
    ("reading", "words"),
    [
        (ImageReading(bands=(1, 5)), "the picture has 4 bands, and source.bands asks for band 5"),
        (ImageReading(channels=6), "the picture has 4 bands, and the model reads 6"),
        (ImageReading(channels=1), "source.bands"),
        (
            ImageReading(scales=((0, 1),) * 3),
            "source.scale has the black and white of 3 bands, and 4 are read",
        ),
    ],
)
def test_bands_that_do_not_fit_are_refused_with_both_numbers(reading, words):
    for data in (geotiff(bands_of("uint16")), png(bands_of("uint8"), RGB_ALPHA, 8)):
        status, why = sentence(data, reading)
        assert status == "unsupported"
        assert words in why


def test_damage_and_limits():
    data = geotiff(bands_of("uint16", size=(200, 200)), compress="deflate")
    assert sentence(data[: len(data) // 2])[0] == "unreadable"
    assert sentence(data[:40])[0] == "unreadable"
    assert sentence(data[:40]) == sentence(data[:40])  # GDAL gives what is in memory a name of its own
    middle = bytearray(data)
    middle[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    assert sentence(bytes(middle))[0] == "unreadable"
    assert sentence(data, limits=Limits(max_pixels=39_999))[0] == "too_large"
    assert sentence(data, limits=Limits(max_bytes=999))[0] == "too_large"
    raw = geotiff(bands_of("uint16", size=(200, 200)))
    assert sentence(raw[: len(raw) // 2])[0] == "unreadable"


def test_rgb_is_not_read_of_more_bands_and_the_sentence_names_the_setting():
    for kind, channels in (("uint8", 7), ("uint16", 4), ("uint16", 12)):
        with pytest.raises(RowFault, match=r"source\.bands") as caught:
            decode_image(geotiff(bands_of(kind, channels)), LIMITS)
        assert caught.value.status.value == "unsupported"


def test_three_bands_are_shown_or_one_as_grey():
    pixels = bands_of("uint16", 5)
    scale = tuple((0, 1000 * band) for band in range(1, 6))
    shown = as_rgb(pixels, scale)
    expected = [(pixels[..., band] / (1000 * (band + 1))).clip(0, 1) * 255 for band in range(3)]
    assert np.abs(shown - np.stack(expected, -1)).max() <= 0.5001
    grey = as_rgb(pixels[..., :2], scale)
    assert np.array_equal(grey, np.repeat(shown[..., :1], 3, axis=2))
