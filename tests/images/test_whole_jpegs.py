"""A JPEG that ends before its picture does is refused, even with an end mark; a whole one never is."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_files import LIMITS, fault_of, save, with_orientation
from PIL import Image

from batchseg.images.decode import decode_image, decode_scaled
from batchseg.schema import Status

END = b"\xff\xd9"
KINDS = {
    "baseline": {},
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "optimised": {"optimize": True},
    "restarts": {"restart_marker_blocks": 3},
    "restarts of a row": {"restart_marker_rows": 1},
    "progressive": {"progressive": True},
    "progressive restarts": {"progressive": True, "restart_marker_blocks": 5},
    "progressive 4:4:4": {"progressive": True, "subsampling": 0, "quality": 95},
}


def texture(height=120, width=161, mode="RGB"):
    rng = np.random.default_rng(height)
    coarse = Image.fromarray(rng.integers(0, 256, (height // 6, width // 6, 3), dtype=np.uint8))
    smooth = np.array(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(float)
    noisy = (smooth + rng.normal(0, 9, smooth.shape)).clip(0, 255).astype(np.uint8)
    return Image.fromarray(noisy).convert(mode)


WHOLE = {name: save(texture(), "JPEG", **options) for name, options in KINDS.items()} | {
    "grey": save(texture(mode="L"), "JPEG"),
    "grey progressive": save(texture(mode="L"), "JPEG", progressive=True),
    "cmyk": save(texture(mode="CMYK"), "JPEG"),
    "cmyk progressive": save(texture(mode="CMYK"), "JPEG", progressive=True),
    "rgb inside": save(texture(), "JPEG", keep_rgb=True),
    "17 wide": save(texture(49, 17), "JPEG"),
}


def scan_start(data):
    """Where the entropy-coded data of the first scan begin."""
    at = data.index(b"\xff\xda")
    return at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")


def unreadable(data, words="the JPEG file is damaged or truncated"):
    status, sentence = fault_of(decode_image, data)
    return status is Status.UNREADABLE and words in sentence


@pytest.mark.parametrize("name", WHOLE)
def test_half_a_file_with_an_end_mark_is_unreadable(name):
    data = WHOLE[name]
    start = scan_start(data)
    for share in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9):
        cut = start + int((len(data) - 2 - start) * share)
        assert unreadable(data[:cut] + END), share
        assert unreadable(data[:cut] + END + data[cut:]), share  # the rest behind the mark is not read


@pytest.mark.parametrize("name", ["restarts", "restarts of a row", "progressive restarts"])
def test_a_cut_at_a_restart_is_unreadable(name):
    data = WHOLE[name]
    places = [found.start() for found in re.finditer(rb"\xff[\xd0-\xd7]", data[scan_start(data) :])]
    assert len(places) > 5
    for place in (places[0], places[len(places) // 2], places[-2]):
        cut = scan_start(data) + place
        assert unreadable(data[:cut] + END) and unreadable(data[: cut + 2] + END)


@pytest.mark.parametrize("name", ["progressive", "progressive restarts", "grey progressive"])
def test_a_progressive_file_without_all_scans_is_unreadable(name):
    """Cut just before a scan, what is there is whole but coarse."""
    data = WHOLE[name]
    scans = [
        found.start() for found in re.finditer(b"\xff\xda|\xff\xc4", data) if found.start() > scan_start(data)
    ]
    assert len(scans) > 4
    for place in scans:
        assert unreadable(data[:place] + END, "scans are missing"), place


def test_a_progressive_file_cut_within_its_last_bits_is_unreadable():
    data = WHOLE["progressive"]
    for lost in (20, 50, 200):
        assert unreadable(data[: -2 - lost] + END), lost


@pytest.mark.parametrize("name", WHOLE)
def test_what_follows_the_end_mark_does_not_matter(name):
    data = WHOLE[name]
    whole = decode_image(data, LIMITS)
    for more in (b"\0" * 9, b"\xff\xff", END, data, b"trailing text \xff\xda\0\x03\x01"):
        assert np.array_equal(decode_image(data + more, LIMITS), whole)
    assert np.array_equal(decode_image(data[:-2] + b"\xff\xff\xff" + END, LIMITS), whole)  # fill bytes


def flat(kind):
    """Pictures whose lower part is of one colour, as of scans, screenshots and masked photographs."""
    picture = np.array(texture(96, 130))
    if kind == "frame":
        picture[-24:], picture[:, -24:] = 255, 255
    elif kind == "grey below":
        picture[40:] = 128
    elif kind == "grey corner":
        picture[-40:, -40:] = 128
    else:
        picture[:] = {"black": 0, "white": 255, "grey": 128, "near grey": (129, 128, 127)}[kind]
    return picture


@pytest.mark.parametrize("options", KINDS.values(), ids=list(KINDS))
@pytest.mark.parametrize(
    "kind", ["frame", "grey below", "grey corner", "black", "white", "grey", "near grey"]
)
def test_a_whole_file_that_ends_in_one_colour_is_read(kind, options):
    picture = flat(kind)
    for pixels in (picture, picture[:, :, 0].copy(), np.array(Image.fromarray(picture).convert("CMYK"))):
        image = Image.fromarray(pixels, "CMYK" if pixels.shape[2:] == (4,) else None)
        data = save(image, "JPEG", **options)
        with Image.open(io.BytesIO(data)) as opened:
            expected = np.array(opened.convert("RGB")).astype(int)
        assert np.abs(decode_image(data, LIMITS) - expected).max() <= 2
        assert decode_image(data + b"more" + data, LIMITS).shape == expected.shape


@pytest.mark.parametrize("progressive", [False, True])
def test_a_thumbnail_inside_is_not_taken_for_the_picture(progressive):
    thumbnail = save(texture(32, 32), "JPEG", progressive=not progressive)
    exif = b"Exif\0\0" + with_orientation(6).tobytes()[6:] + thumbnail
    for pixels in (np.array(texture()), flat("grey")):
        data = save(Image.fromarray(pixels), "JPEG", progressive=progressive, exif=exif)
        assert decode_image(data, LIMITS).shape == (pixels.shape[1], pixels.shape[0], 3)
    assert unreadable(data[: len(data) * 3 // 4] + END)


def test_several_pictures_in_one_file_are_read_like_the_first():
    for first in (texture(), Image.fromarray(flat("grey"))):
        data = save(first, "MPO", save_all=True, append_images=[texture(40, 40)])
        assert decode_image(data, LIMITS).shape == (first.height, first.width, 3)


@pytest.mark.parametrize("name", ["baseline", "progressive", "17 wide"])
@pytest.mark.parametrize("scale", [2, 4, 8])
def test_reduced_pictures_are_looked_at_as_well(name, scale):
    data = WHOLE[name]

    def fewer(size_hw):
        return (max(1, size_hw[0] // scale), max(1, size_hw[1] // scale))

    pixels, size_hw, _ = decode_scaled(data, LIMITS, fewer)
    assert pixels.shape[0] < size_hw[0]
    start = scan_start(data)
    cut = start + (len(data) - start) // 2
    assert fault_of(lambda data, limits: decode_scaled(data, limits, fewer), data[:cut] + END)[0] is (
        Status.UNREADABLE
    )
    grey = save(Image.fromarray(flat("grey")), "JPEG", progressive=name == "progressive")
    assert (decode_scaled(grey, LIMITS, fewer)[0] == 128).all()


@given(
    size_hw=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    value=st.sampled_from([0, 127, 128, 129, 255, None]),
    options=st.sampled_from(list(KINDS.values())),
    quality=st.sampled_from([5, 60, 100]),
    grey=st.booleans(),
)
def test_no_whole_file_of_any_size_is_refused(size_hw, value, options, quality, grey):
    shape = size_hw if grey else (*size_hw, 3)
    pixels = np.random.default_rng(size_hw[1]).integers(0, 256, shape, dtype=np.uint8)
    if value is not None:
        pixels[size_hw[0] // 2 :] = value
    data = save(Image.fromarray(pixels), "JPEG", **{"quality": quality, **options})
    assert decode_image(data, LIMITS).shape == (*size_hw, 3)
