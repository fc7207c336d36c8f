"""Encoded images and label files for tests: by Pillow, or byte by byte where Pillow cannot write them."""

from __future__ import annotations

import io
import os
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from batchseg.config.base import Limits
from batchseg.errors import RowFault

LIMITS = Limits()
RNG = np.random.default_rng(0)
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
NOISE = RNG.integers(0, 256, (13, 21, 3), dtype=np.uint8)
SMOOTH = np.array(Image.fromarray(RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)).resize((57, 41)))
IDS = RNG.integers(0, 9, (13, 21), dtype=np.uint8)


def samples_of(depth, shape):
    return np.random.default_rng(depth).integers(0, 2**depth, shape, dtype=np.uint16)


def save(picture, kind, **options):
    file = io.BytesIO()
    (Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture).save(file, kind, **options)
    return file.getvalue()


def indexed(ids):
    picture = Image.fromarray(ids)
    picture.putpalette(bytes(np.random.default_rng(1).permutation(768).astype(np.uint8)))
    return picture


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def rows(samples, depth):
    """Scan lines of PNG: each with the filter byte 0, samples packed from the high bit down."""
    bits = np.unpackbits(samples.astype(">u2").reshape(*samples.shape, 1).view(np.uint8), axis=-1)[
        ..., -depth:
    ]
    packed = np.packbits(bits.reshape(len(samples), -1), axis=1)
    return b"".join(b"\0" + line.tobytes() for line in packed)


def png(samples, colour_type, depth, extra=b"", adam7=False):
    height, width = samples.shape[:2]
    steps = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    passes = [samples[y::down, x::across] for y, x, down, across in steps] if adam7 else [samples]
    body = b"".join(rows(part, depth) for part in passes if part.size)
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, int(adam7))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(body))
        + chunk(b"IEND", b"")
    )


def tiff(samples, depth, order="<", photometric=1):
    """One uncompressed strip of grey, packed from the high bit down where a sample is less than a byte."""
    height, width = samples.shape
    bits = np.unpackbits(samples.astype(">u2").reshape(height, width, 1).view(np.uint8), axis=-1)[
        ..., -depth:
    ]
    pixels = np.packbits(bits.reshape(height, -1), axis=1).tobytes()
    if depth == 16:
        pixels = samples.astype(order + "u2").tobytes()
    entries = {
        256: width,
        257: height,
        258: depth,
        259: 1,
        262: photometric,
        273: 8,
        277: 1,
        278: height,
        279: len(pixels),
    }
    fields = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in entries.items())
    directory = struct.pack(order + "H", len(entries)) + fields + struct.pack(order + "I", 0)
    start = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8 + len(pixels))
    return start + pixels + directory


def with_orientation(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def npy(array, version=(1, 0)):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version)
    return file.getvalue()


def fault_of(decode, data, limits=LIMITS):
    with pytest.raises(RowFault) as caught:
        decode(data, limits)
    return caught.value.status, str(caught.value)


FILES = {
    "jpeg": save(SMOOTH, "JPEG"),
    "jpeg progressive": save(SMOOTH, "JPEG", progressive=True),
    "jpeg restarts": save(SMOOTH, "JPEG", restart_marker_blocks=2),
    "jpeg 4:4:4": save(SMOOTH, "JPEG", subsampling=0),
    "jpeg grey": save(SMOOTH[..., 0].copy(), "JPEG"),
    "jpeg cmyk": save(Image.fromarray(SMOOTH).convert("CMYK"), "JPEG"),
    "jpeg rotated": save(SMOOTH, "JPEG", exif=with_orientation(6)),
    "png": save(NOISE, "PNG"),
    "png grey": save(NOISE[..., 0].copy(), "PNG"),
    "png palette": save(indexed(IDS), "PNG", transparency=b"\x00\x80\xff"),
    "png 1 bit": save(Image.fromarray(NOISE).convert("1"), "PNG"),
    "webp lossless": save(NOISE, "WEBP", lossless=True),
    "webp": save(SMOOTH, "WEBP"),
    "bmp": save(NOISE, "BMP"),
    "bmp palette": save(indexed(IDS), "BMP"),
    "bmp 1 bit": save(Image.fromarray(NOISE).convert("1"), "BMP"),
    "gif": save(indexed(IDS), "GIF"),
    "gif frames": save(indexed(IDS), "GIF", save_all=True, append_images=[Image.new("P", (21, 13), 3)]),
    "tiff": save(NOISE, "TIFF"),
    "tiff deflate": save(NOISE, "TIFF", compression="tiff_adobe_deflate"),
    "tiff lzw": save(NOISE[..., 0].copy(), "TIFF", compression="tiff_lzw"),
    "tiff fax": save(Image.fromarray(NOISE).convert("1"), "TIFF", compression="group4"),
    "tiff jpeg": save(SMOOTH, "TIFF", compression="jpeg"),
    "tiff cmyk": save(Image.fromarray(NOISE).convert("CMYK"), "TIFF"),
    "tiff palette": save(indexed(IDS), "TIFF"),
    "tiff pages": save(NOISE, "TIFF", save_all=True, append_images=[Image.new("RGB", (3, 4))]),
}
SIDE = 50_000
HUGE = {
    "png": b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, GREY, 0, 0, 0))
    + chunk(b"IDAT", b""),
    "bmp": b"BM" + struct.pack("<IIIIiiHHIIIIII", 54, 0, 54, 40, SIDE, SIDE, 1, 24, 0, 0, 0, 0, 0, 0),
    "gif": FILES["gif"][:6] + struct.pack("<HH", SIDE, SIDE) + FILES["gif"][10:],
    "tiff": tiff(np.zeros((1, 1)), 8)
    .replace(struct.pack("<HHII", 256, 4, 1, 1), struct.pack("<HHII", 256, 4, 1, SIDE))
    .replace(struct.pack("<HHII", 257, 4, 1, 1), struct.pack("<HHII", 257, 4, 1, SIDE)),
    "jpeg": re.sub(
        rb"(\xff\xc0\0.\x08)....", rb"\1" + struct.pack(">HH", SIDE, SIDE), FILES["jpeg"], flags=re.S
    ),
}


SMALL = Limits(max_pixels=10_000)


@st.composite
def damaged(draw, files):
    data = bytearray(draw(st.sampled_from(files)))
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, min(len(data), draw(st.sampled_from([64, 400, 10_000]))) - 1))
        removed = draw(st.sampled_from([0, 1, 1, 1, 4]))
        data[place : place + removed] = draw(st.binary(max_size=4))
    return bytes(data)


def put(path: Path, pixels: np.ndarray, version: int = 0) -> None:
    """Write a picture, by its extension, and its folder; a version is a time of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    if version:
        os.utime(path, (version, version))


def two_halves(seed: int, hw: tuple[int, int]) -> np.ndarray:
    """Colours [H, W, 3], dark on the left and bright on the right, far from the threshold of 128."""
    image = np.random.default_rng(seed).integers(0, 60, (*hw, 3), dtype=np.uint8)
    image[:, hw[1] // 2 :] += 180
    return image
