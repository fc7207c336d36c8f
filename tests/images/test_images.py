from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from image_files import (
    FILES,
    GREY,
    GREY_ALPHA,
    HUGE,
    IDS,
    LIMITS,
    NOISE,
    PALETTE,
    RGB,
    RGB_ALPHA,
    SMALL,
    SMOOTH,
    chunk,
    damaged,
    fault_of,
    indexed,
    png,
    samples_of,
    save,
    tiff,
    with_orientation,
)
from PIL import Image, ImageOps

from batchseg.config.base import Limits
from batchseg.errors import RowFault
from batchseg.images.decode import decode_image, decode_scaled
from batchseg.schema import Status


def assert_equal(actual, expected, tolerance=0):
    assert actual.dtype == np.uint8 and actual.shape == expected.shape
    assert actual.flags.c_contiguous and actual.flags.writeable
    assert np.abs(actual.astype(int) - expected).max() <= tolerance


def to_rgb(data):
    with Image.open(io.BytesIO(data)) as picture:
        picture.info.pop("transparency", None)  # Pillow warns that it is dropped
        return np.array(ImageOps.exif_transpose(picture).convert("RGB"))


# what a decoder may do without: end markers, checksums and padding
TRAILER = 24


@pytest.mark.parametrize("name", FILES)
def test_pixels_are_those_of_pillow(name):
    tolerance = 2 if "jpeg" in name else 0  # libraries' inverse cosine transforms may differ in the last bit
    assert_equal(decode_image(FILES[name], LIMITS), to_rgb(FILES[name]), tolerance)


@pytest.mark.parametrize("name", FILES)
def test_a_memoryview_reads_like_bytes(name):
    assert_equal(decode_image(memoryview(FILES[name]), LIMITS), decode_image(FILES[name], LIMITS))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "GIF"])
def test_alpha_is_dropped_not_composited(kind):
    alpha = np.dstack([NOISE, np.where(NOISE[..., 0] > 99, 255, 7).astype(np.uint8)])
    alpha[:2, :, 3] = 0
    if kind == "GIF":
        data, expected = save(indexed(IDS), kind, transparency=3), indexed(IDS).convert("RGB")
    else:
        data, expected = (
            save(alpha, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {})),
            NOISE,
        )
    assert_equal(decode_image(data, LIMITS), np.array(expected))


def test_grey_with_alpha_is_repeated_grey():
    data = save(Image.merge("LA", [Image.fromarray(IDS), Image.fromarray(IDS)]), "PNG")
    assert_equal(decode_image(data, LIMITS), np.dstack([IDS] * 3))


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("adam7", [False, True])
@pytest.mark.parametrize("order", [None, "<", ">"])
def test_grey_of_every_depth_spans_0_to_255(depth, adam7, order):
    samples = samples_of(depth, (9, 11))
    data = tiff(samples, depth, order) if order else png(samples, GREY, depth, adam7=adam7)

    expected = np.round(samples * 255.0 / (2**depth - 1)).astype(np.uint8)

    assert_equal(decode_image(data, LIMITS), np.dstack([expected] * 3))


def test_grey_of_12_bits_spans_0_to_255():
    samples = samples_of(12, (4, 6))
    expected = np.round(samples * 255.0 / 4095).astype(np.uint8)
    assert_equal(decode_image(tiff(samples, 12), LIMITS), np.dstack([expected] * 3))


@pytest.mark.parametrize("colour_type, channels", [(RGB, 3), (RGB_ALPHA, 4), (GREY_ALPHA, 2)])
@pytest.mark.parametrize("adam7", [False, True])
def test_colour_png_of_8_and_16_bits(colour_type, channels, adam7):
    samples = samples_of(16, (9, 11, channels))
    colours = samples[..., :3] if channels > 2 else np.repeat(samples[..., :1], 3, axis=2)

    wide = decode_image(png(samples, colour_type, 16, adam7=adam7), LIMITS)
    narrow = decode_image(png(samples >> 8, colour_type, 8, adam7=adam7), LIMITS)

    assert_equal(wide, np.round(colours / 257.0).astype(np.uint8), tolerance=1)
    assert_equal(narrow, (colours >> 8).astype(np.uint8))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palette_png_of_every_depth(depth):
    indices = samples_of(depth, (9, 11))
    palette = samples_of(8, (2**depth, 3)).astype(np.uint8)
    extra = chunk(b"PLTE", palette.tobytes()) + chunk(b"tRNS", b"\0")
    assert_equal(decode_image(png(indices, PALETTE, depth, extra), LIMITS), palette[indices])


def test_adobe_ycck_jpeg_gives_the_colours_it_was_made_of():
    """YCCK is YCbCr of the complement of C, M, Y; Adobe inverts all inks, so C holds the red one sees."""
    y, cb, cr = Image.fromarray(255 - SMOOTH).convert("YCbCr").split()
    stored = Image.merge("CMYK", [*map(ImageOps.invert, (y, cb, cr)), Image.new("L", y.size, 0)])
    data = save(stored, "JPEG", quality=100, subsampling=0)
    transform = data.index(b"Adobe") + len("Adobe") + 6
    assert data[transform] == 0

    decoded = decode_image(data[:transform] + b"\x02" + data[transform + 1 :], LIMITS)

    assert_equal(decoded, SMOOTH, tolerance=6)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    "kind, options",
    [
        ("JPEG", {}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ],
)
def test_orientation_is_applied(kind, options, orientation):
    data = save(SMOOTH, kind, exif=with_orientation(orientation), **options)
    upright = {
        1: SMOOTH,
        2: SMOOTH[:, ::-1],
        3: SMOOTH[::-1, ::-1],
        4: SMOOTH[::-1],
        5: SMOOTH.swapaxes(0, 1),
        6: np.rot90(SMOOTH, -1),
        7: np.rot90(SMOOTH, 2).swapaxes(0, 1),
        8: np.rot90(SMOOTH, 1),
    }
    assert_equal(decode_image(data, LIMITS), upright[orientation], tolerance=40 if kind == "JPEG" else 0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 7, 3), (7, 1, 3)])
def test_a_turned_line_of_pixels_is_laid_out_anew(shape, orientation):
    line = SMOOTH[: shape[0], : shape[1]]
    turned = decode_image(save(line, "PNG", exif=with_orientation(orientation)), LIMITS)
    assert all(stride > 0 for stride in turned.strides)  # what torch asks for
    assert sorted(turned.reshape(-1, 3).tolist()) == sorted(line.reshape(-1, 3).tolist())


@pytest.mark.parametrize("enough, scale", [((399, 599), 1), ((398, 598), 2), ((199, 299), 4), ((1, 1), 8)])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_is_scaled_while_enough_pixels_remain(orientation, enough, scale):
    smooth = np.array(Image.fromarray(NOISE).resize((1197, 797), Image.Resampling.BICUBIC))
    data = save(smooth, "JPEG", quality=95, exif=with_orientation(orientation))
    upright = smooth if orientation == 1 else np.rot90(smooth, -1)
    asked = []

    pixels_HWC, own_size, told = decode_scaled(
        data, LIMITS, lambda size: asked.append(size) or (enough if orientation == 1 else enough[::-1])
    )

    assert [own_size] == asked == [upright.shape[:2]] and told == orientation
    height, width = (-(-side // scale) for side in own_size)
    expected = Image.fromarray(upright).resize((width, height), Image.Resampling.BOX)
    assert_equal(pixels_HWC, np.array(expected), tolerance=25)


def test_only_jpegs_are_scaled():
    pixels_HWC, own_size, _ = decode_scaled(save(SMOOTH, "PNG"), LIMITS, lambda size: (1, 1))
    assert_equal(pixels_HWC, SMOOTH)
    assert own_size == SMOOTH.shape[:2]


def test_frames_of_an_animation_after_the_first_are_left_out():
    later = [Image.new("RGB", (21, 13), (9, 99, 199))]
    for kind, options in (("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {})):
        data = save(NOISE, kind, save_all=True, append_images=later, **options)
        assert_equal(decode_image(data, LIMITS), NOISE)


def test_a_bmp_of_runs():
    """RLE8: pairs of a count and an index, ends of lines, a run of literals, and the end of the picture."""
    palette = np.arange(256 * 4, dtype=np.uint32).reshape(256, 4).astype(np.uint8)
    pixels = b"\3\7\2\5\0\0" + b"\0\5\1\2\3\4\5\0" + b"\0\0\0\1"
    sizes = (54 + 1024 + len(pixels), 0, 54 + 1024, 40, 5, 2)
    header = b"BM" + struct.pack("<IIIIiiHHIIIIII", *sizes, 1, 8, 1, len(pixels), 0, 0, 256, 0)
    expected = palette[[[1, 2, 3, 4, 5], [7, 7, 7, 5, 5]]][..., 2::-1]
    assert_equal(decode_image(header + palette.tobytes() + pixels, LIMITS), expected)


def test_damaged_metadata_does_not_cost_the_image():
    for exif in (b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", with_orientation(77)):
        assert_equal(
            decode_image(save(SMOOTH, "JPEG", exif=exif), LIMITS), to_rgb(FILES["jpeg"]), tolerance=2
        )


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_thin_images(size, kind):
    assert_equal(
        decode_image(save(Image.new("RGB", size, (9, 9, 9)), kind), LIMITS), np.full((*size[::-1], 3), 9)
    )


@pytest.mark.parametrize(
    "start, name",
    [
        (b"8BPS\0\1", "Photoshop"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript"),
        (b"%PDF-1.7", "PDF"),
        (b"icns\0\0\1\0", "ICNS"),
        (b"\0\0\1\0\1\0", "ICO"),
        (b"P6\n1 1\n255\nabc", "Netpbm"),
        (b"\0\0\0\x1cftypavif", "AVIF"),
        (b"\0\0\0\x18ftypheic", "HEIF"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\xff\x0a", "JPEG XL"),
        (b"\0" * 128 + b"DICM", "DICOM"),
        (b"\x93NUMPY\1\0", ".npy"),
    ],
)
def test_other_formats_are_named_and_never_opened(start, name):
    status, sentence = fault_of(decode_image, start)
    assert status is Status.UNSUPPORTED and sentence.startswith(f"{name} files")


@pytest.mark.parametrize(
    "picture", [NOISE[..., 0].astype(np.int32), NOISE[..., 0].astype(np.float32), Image.new("LAB", (3, 4))]
)
def test_pixels_without_a_range_are_unsupported(picture):
    assert fault_of(decode_image, save(picture, "TIFF"))[0] is Status.UNSUPPORTED


def test_a_sound_file_beyond_pillow_is_unsupported():
    assert fault_of(decode_image, tiff(IDS, 7))[0] is Status.UNSUPPORTED


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "the file is empty"),
        (b"<html><body>404</body>", "begins with b'<html><body>"),
        (b"just some words", "not an image in a known format"),
        (b"\xff\xd8\xff", "the JPEG file is damaged or truncated"),
    ],
)
def test_what_is_no_image_is_unreadable(data, words):
    status, sentence = fault_of(decode_image, data)
    assert status is Status.UNREADABLE and words in sentence


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_unreadable(name):
    """Cut at every byte near the ends and at many between: no pixel is ever made up."""
    data = FILES[name]
    whole = decode_image(data, LIMITS)
    for cut in sorted({*range(40), *range(40, len(data), 17), *range(len(data) - 2 * TRAILER, len(data))}):
        try:
            cut_short = decode_image(data[:cut], LIMITS)
        except RowFault as fault:
            assert fault.status is Status.UNREADABLE, (cut, fault)
        else:
            assert np.array_equal(cut_short, whole), cut
            assert cut > len(data) - TRAILER or "frames" in name or "pages" in name, cut


def test_a_jpeg_whose_end_was_never_written_is_unreadable():
    for name in ("jpeg", "jpeg progressive"):
        data = FILES[name]
        half = data[: len(data) * 3 // 4].ljust(len(data), b"\0")
        assert fault_of(decode_image, half)[0] is Status.UNREADABLE


@pytest.mark.parametrize("kind", ["png", "bmp", "gif", "tiff", "jpeg"])
def test_a_bomb_is_refused_from_its_header(kind):
    status, sentence = fault_of(decode_image, HUGE[kind])
    assert status is Status.TOO_LARGE
    assert "50,000 x 50,000 = 2,500,000,000 pixels" in sentence and "178,956,970" in sentence


@pytest.mark.parametrize("name", FILES)
def test_max_pixels_is_the_last_size_allowed(name):
    height, width, _ = decode_image(FILES[name], LIMITS).shape
    decode_image(FILES[name], Limits(max_pixels=height * width))
    assert fault_of(decode_image, FILES[name], Limits(max_pixels=height * width - 1))[0] is Status.TOO_LARGE


def test_the_limit_of_pillow_has_no_say(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for name in ("jpeg", "jpeg cmyk", "png", "gif", "bmp"):
        decode_image(FILES[name], LIMITS)


def test_max_bytes():
    size = len(FILES["png"])
    decode_image(FILES["png"], Limits(max_bytes=size))
    status, sentence = fault_of(decode_image, FILES["png"], Limits(max_bytes=size - 1))
    assert status is Status.TOO_LARGE and f"{size:,} bytes" in sentence and f"{size - 1:,}" in sentence


@settings(max_examples=800)
@given(damaged(list(FILES.values())))
def test_damaged_images_decode_or_fault(data):
    try:
        image = decode_image(data, SMALL)
    except RowFault as fault:
        assert fault.status in (Status.UNREADABLE, Status.UNSUPPORTED, Status.TOO_LARGE)
        assert "object at" not in str(fault)
    else:
        assert (
            image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.flags.c_contiguous
        )
