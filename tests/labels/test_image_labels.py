from __future__ import annotations

import io

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
    SMALL,
    chunk,
    damaged,
    fault_of,
    indexed,
    npy,
    png,
    samples_of,
    save,
    tiff,
    with_orientation,
)
from PIL import Image, TiffImagePlugin

from batchseg.config.base import Limits
from batchseg.errors import RowFault
from batchseg.images.label_files import decode_labels
from batchseg.schema import TruthStatus


@pytest.mark.parametrize("colour_type", [GREY, PALETTE])
@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("adam7", [False, True])
def test_png_ids_are_the_stored_samples(colour_type, depth, adam7):
    depth = min(depth, 8) if colour_type == PALETTE else depth
    ids = samples_of(depth, (9, 11))
    extra = chunk(b"PLTE", bytes(3 * min(2**depth, 256))) + chunk(b"tRNS", b"\0\0")

    decoded = decode_labels(png(ids, colour_type, depth, extra, adam7), LIMITS).values

    assert decoded.dtype == (np.uint16 if depth == 16 else np.uint8) and np.array_equal(decoded, ids)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 12, 16])
@pytest.mark.parametrize("order", "<>")
def test_tiff_ids_are_the_stored_samples(depth, order):
    order = "<" if depth == 12 else order
    ids = samples_of(depth, (9, 12))

    decoded = decode_labels(tiff(ids, depth, order), LIMITS).values

    assert decoded.dtype == (np.uint16 if depth > 8 else np.uint8) and np.array_equal(decoded, ids)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_compressed_tiff_ids(compression, dtype):
    ids = IDS.astype(dtype) * (1 if dtype is np.uint8 else 1000)
    decoded = decode_labels(save(ids, "TIFF", compression=compression), LIMITS).values
    assert decoded.dtype == dtype and np.array_equal(decoded, ids)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
def test_palette_files_give_indices_not_colours(kind):
    options = {"optimize": False} if kind == "GIF" else {}
    assert np.array_equal(decode_labels(save(indexed(IDS), kind, **options), LIMITS).values, IDS)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_bilevel_files_give_0_and_1(kind):
    decoded = decode_labels(save(Image.fromarray(IDS > 4), kind), LIMITS).values
    assert decoded.dtype == np.uint8 and np.array_equal(decoded, IDS > 4)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_alpha_beside_grey_ids_is_dropped(kind):
    data = save(Image.merge("LA", [Image.fromarray(IDS), Image.fromarray(IDS * 20)]), kind)
    assert np.array_equal(decode_labels(data, LIMITS).values, IDS)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
@pytest.mark.parametrize("alpha", [False, True])
def test_colour_files_give_colours_without_alpha(kind, alpha):
    stored = np.dstack([NOISE, IDS]) if alpha else NOISE
    assert np.array_equal(decode_labels(save(stored, kind), LIMITS).values, NOISE)


def test_colours_of_equal_channels_stay_colours():
    grey = np.dstack([IDS] * 3)
    assert np.array_equal(decode_labels(save(grey, "PNG"), LIMITS).values, grey)


@pytest.mark.parametrize("name", ["jpeg", "webp", "tiff jpeg"])
def test_lossy_files_say_so(name):
    assert decode_labels(FILES[name], LIMITS).lossy in ("JPEG", "WebP", "TIFF")
    assert decode_labels(FILES["png"], LIMITS).lossy is None


@pytest.mark.parametrize("more", [{}, {"exif": with_orientation(1)}, {"icc_profile": b"a profile"}])
def test_webp_without_loss_holds_ids(more):
    picture = Image.fromarray(np.dstack([IDS] * 3))
    file = decode_labels(save(picture, "WEBP", lossless=True, **more), LIMITS)
    assert file.lossy is None and np.array_equal(file.values[..., 0], IDS)
    assert decode_labels(save(picture, "WEBP", quality=90, **more), LIMITS).lossy == "WebP"


def test_palette_files_bring_their_colours():
    file = decode_labels(save(indexed(IDS), "PNG"), LIMITS)
    assert file.palette is not None
    as_colours = np.array(indexed(IDS).convert("RGB"))
    assert np.array_equal(file.palette[file.values], as_colours)


@pytest.mark.parametrize("mode, depth", [("1", 1), ("L", 2), ("L", 4), ("L", 8), ("I;16", 16)])
def test_grey_whose_white_is_0_is_taken_as_stored(mode, depth):
    ids = samples_of(depth, (9, 11))
    assert np.array_equal(decode_labels(tiff(ids, depth, photometric=0), LIMITS).values, ids), mode


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_information_in_the_alpha_alone_is_refused(mode, kind):
    picture = Image.new(mode, (21, 13), (7, 7, 7, 255) if mode == "RGBA" else (7, 255))
    picture.putalpha(Image.fromarray(IDS * 20))
    status, sentence = fault_of(decode_labels, save(picture, kind))
    assert status is TruthStatus.UNREADABLE and "transparency (alpha)" in sentence
    opaque = Image.new(mode, (21, 13), (7, 7, 7, 255) if mode == "RGBA" else (7, 255))
    assert (decode_labels(save(opaque, kind), LIMITS).values == 7).all()


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "PNG", "WebP"])
def test_pages_are_refused(kind):
    pages = [Image.fromarray((value == IDS).astype(np.uint8) * 255) for value in range(3)]
    data = save(pages[0], kind, save_all=True, append_images=pages[1:], lossless=True)
    status, sentence = fault_of(decode_labels, data)
    assert status is TruthStatus.UNREADABLE and "it has 3 pages" in sentence


@pytest.mark.parametrize("subfile", [1, 4, 5], ids=["overview", "mask", "mask of an overview"])
def test_overviews_and_masks_of_a_tiff_are_no_pages(subfile):
    file = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(file) as writer:
        for picture, tags in ((Image.fromarray(IDS), {}), (Image.fromarray(IDS[::2, ::2]), {254: subfile})):
            picture.save(writer, "TIFF", tiffinfo=tags)
            writer.newFrame()
    assert np.array_equal(decode_labels(file.getvalue(), LIMITS).values, IDS)


def test_labels_are_not_turned():
    data = save(IDS, "PNG", exif=with_orientation(6))
    assert np.array_equal(decode_labels(data, LIMITS).values, IDS)


@pytest.mark.parametrize("dtype", ["?", "u1", "<u2", ">u2", "<i4", ">i8", "u8"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray])
def test_npy(dtype, version, layout):
    ids = layout((IDS > 4 if dtype == "?" else IDS).astype(dtype))
    decoded = decode_labels(npy(ids, version), LIMITS).values
    assert decoded.dtype == np.dtype(dtype).newbyteorder("=") and np.array_equal(decoded, ids)
    assert decoded.flags.c_contiguous


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "the file is empty"),
        (b"0 1 2", "not an image in a known format"),
        (FILES["tiff cmyk"], "mode CMYK"),
        (save(NOISE[..., 0].astype(np.float32), "TIFF"), "mode F"),
        (png(NOISE.astype(np.uint16), RGB, 16), "16 bits a channel"),
        (png(NOISE[..., :2], GREY_ALPHA, 16), "16 bits a channel"),
        (npy(IDS.astype(np.float64)), "float64 of shape (13, 21)"),
        (npy(NOISE), "uint8 of shape (13, 21, 3)"),
        (npy(np.array([[None]])), "object of shape (1, 1)"),
        (npy(np.zeros((0, 4), np.uint8)), "it has no pixels"),
        (npy(IDS)[:-1], "damaged or truncated"),
        (npy(IDS)[:50], "damaged or truncated"),
        (FILES["png"][:-60], "damaged or truncated"),
        (
            npy(IDS).replace(b"(13, 21), }       ", b"(99999, 99999), } "),
            "99,999 x 99,999 = 9,999,800,001 pixels",
        ),
        (HUGE["png"], "50,000 x 50,000 = 2,500,000,000 pixels"),
        (b"\0\0\0\x1cftypavif", "AVIF files are not read"),
    ],
)
def test_unfit_label_files_are_truth_unreadable(data, words):
    status, sentence = fault_of(decode_labels, data)
    assert status is TruthStatus.UNREADABLE and words in sentence


def test_labels_over_max_bytes_are_truth_unreadable():
    status, sentence = fault_of(decode_labels, npy(IDS), Limits(max_bytes=100))
    assert status is TruthStatus.UNREADABLE and "limits.max_bytes is 100" in sentence


LABEL_FILES = [
    *FILES.values(),
    png(IDS, GREY, 4),
    tiff(IDS, 4),
    tiff(IDS, 16, ">"),
    npy(IDS),
    npy(IDS, (2, 0)),
]


@settings(max_examples=800)
@given(damaged(LABEL_FILES))
def test_damaged_labels_decode_or_fault(data):
    try:
        labels = decode_labels(data, SMALL).values
    except RowFault as fault:
        assert fault.status is TruthStatus.UNREADABLE
    else:
        assert labels.dtype.kind in "iub" and (labels.ndim == 2 or labels.shape[2:] == (3,))
