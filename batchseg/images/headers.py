"""What an encoded file is, and how large: found from its first bytes, before a pixel is decoded.

The format is what the content says, never the file's name. Of the formats recognised here only those with
a reader are ever opened: each reader is called by itself, so that Pillow tries no other decoder on the data
and its process-wide limit on pixels has no say in `Limits`.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Image import DecompressionBombError
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from batchseg.errors import RowFault
from batchseg.images.tiff import open_tiff
from batchseg.schema import Status

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

    from batchseg.config.base import Limits

_READERS: dict[str, type[ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WebP": WebPImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
}
_SIGNATURES = {
    name: re.compile(signature, re.DOTALL)
    for name, signature in {
        "JPEG": rb"\xff\xd8\xff",
        "PNG": rb"\x89PNG\r\n\x1a\n",
        "WebP": rb"RIFF.{4}WEBP",
        "TIFF": rb"II[*+]\0|MM\0[*+]",
        "GIF": rb"GIF8[79]a",
        "BMP": rb"BM.{12}.\0{3}",
        ".npy": rb"\x93NUMPY",
        # recognised only to be refused by name
        "AVIF": rb".{4}ftypavi[fs]",
        "HEIF": rb".{4}ftyp(he|mif1|msf1)",
        "JPEG 2000": rb"\0{3}\x0cjP  |\xffO\xffQ",
        "JPEG XL": rb"\0{3}\x0cJXL |\xff\x0a",
        "Photoshop": rb"8BPS",
        "PostScript": rb"%!PS|\xc5\xd0\xd3\xc6",
        "PDF": rb"%PDF",
        "ICO": rb"\0\0[\x01\x02]\0",
        "ICNS": rb"icns",
        "Netpbm": rb"P[1-7]\s",
        "OpenEXR": rb"v/1\x01",
        "DICOM": rb".{128}DICM",
        "DDS": rb"DDS ",
        "QOI": rb"qoif",
        "GIMP": rb"gimp xcf",
    }.items()
}
_LONGEST_SIGNATURE = 132
# how Pillow words that a file is sound but beyond it; the words choose between two statuses, nothing else
_BEYOND_PILLOW = re.compile(
    "unsupported|not supported|unknown pixel mode|cannot handle|value for samples per pixel", re.IGNORECASE
)


def sniff(data: bytes | memoryview, limits: Limits) -> str:
    """The format's name, from the first bytes.

    Raises:
        RowFault: the file is empty or in no known format (unreadable), or over `max_bytes` (too_large).
    """
    if len(data) == 0:
        raise RowFault(Status.UNREADABLE, "the file is empty")
    if len(data) > limits.max_bytes:
        raise RowFault(
            Status.TOO_LARGE, f"the file has {len(data):,} bytes; limits.max_bytes is {limits.max_bytes:,}"
        )
    start = bytes(data[:_LONGEST_SIGNATURE])
    for name, signature in _SIGNATURES.items():
        if signature.match(start):
            return name
    raise RowFault(
        Status.UNREADABLE, f"the file is not an image in a known format: it begins with {start[:12]!r}"
    )


def open_picture(name: str, data: bytes | memoryview, limits: Limits) -> ImageFile:
    """The picture with its header read and its size within the limits; no pixel is decoded yet.

    Raises:
        RowFault: the format is not one of those read here (unsupported), or the picture is too_large.
        Exception: anything the reader throws at a damaged header; call it inside `decoding`.
    """
    if name not in _READERS and name != "TIFF":
        raise RowFault(Status.UNSUPPORTED, f"{name} files are not read; convert it to PNG")
    if name == "PNG" and len(data) >= 24:
        # Pillow's header ends where pixels begin; the size stands in the first chunk, and alone it is enough
        width, height = struct.unpack(">II", data[16:24])
        check_size(height, width, limits)
    picture = open_tiff(data) if name == "TIFF" else _READERS[name](io.BytesIO(data))
    check_size(picture.height, picture.width, limits)
    return picture


def raw_mode(picture: ImageFile) -> str:
    """How a PNG, TIFF, BMP or GIF stores its samples, in Pillow's notation; to be asked before loading."""
    arguments = picture.tile[0][3] if picture.tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def check_size(height: int, width: int, limits: Limits) -> None:
    """Raise RowFault where there is no pixel (unreadable) or more than `max_pixels` (too_large)."""
    if height * width == 0:
        raise RowFault(Status.UNREADABLE, f"the image is {width} x {height}: it has no pixels")
    if height * width > limits.max_pixels:
        raise RowFault(
            Status.TOO_LARGE,
            f"the image is {width:,} x {height:,} = {width * height:,} pixels; "
            f"limits.max_pixels is {limits.max_pixels:,}",
        )


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Whatever a decoder throws at the data becomes a RowFault; what it warns of (metadata) is dropped."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except (RowFault, ImportError):  # a broken installation is no property of the image
            raise
        except MemoryError as exc:
            raise RowFault(Status.TOO_LARGE, f"there is not enough memory to decode the {name} file") from exc
        except DecompressionBombError as exc:
            raise RowFault(Status.TOO_LARGE, f"Pillow refuses the {name} file: {exc}") from exc
        except Exception as exc:  # decoders throw nearly every type there is at damaged data
            raise _fault(name, exc) from exc


def _fault(name: str, exc: Exception) -> RowFault:
    reason = str(exc) or type(exc).__name__
    if _BEYOND_PILLOW.search(reason):
        bands = "say which of its bands the model reads (source.bands), or " if name == "TIFF" else ""
        return RowFault(
            Status.UNSUPPORTED,
            f"the {name} file is of a kind that is not read ({reason}); {bands}convert it to 8-bit RGB",
        )
    return RowFault(Status.UNREADABLE, f"the {name} file is damaged or truncated ({reason})")
