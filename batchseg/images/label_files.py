"""Label files, a ground truth or a mask, to the pixels they store; what these mean is `labels.Reading`'s.

- Ids are palette indices (PNG, TIFF, GIF, BMP), grey of 1 to 16 bits, TIFF of 32 bits, and integer `.npy`.
- Grey is taken as stored: a TIFF whose white is 0 is not inverted, 2 and 4 bits are not stretched.
- An EXIF orientation is not applied (but for TIFF, whose orientation is a tag of the format itself).
- What a label file cannot be is refused: several pages, colours of 16 bits, information in the alpha alone.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL.TiffImagePlugin import TiffImageFile

from batchseg.errors import RowFault
from batchseg.images.annotation import (
    Annotation,
    Names,
    draw_areas,
    is_annotation,
    of_colours,
    read_annotation,
)
from batchseg.images.headers import check_size, decoding, open_picture, raw_mode, sniff
from batchseg.schema import TruthStatus

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

    from batchseg.config.base import Limits

_LOSSY_FORMATS = {"JPEG", "WebP"}
_LOSSY_TIFF = {"jpeg", "tiff_jpeg", "webp"}
# Pillow stretches 2-bit and 4-bit grey over 0 .. 255
_STRETCH = {"L;2": 255 // 3, "L;4": 255 // 15}
_INVERTED = {"L;I", "L;IR", "L;2I", "L;2IR", "L;4I", "L;4IR", "1;I", "1;IR"}  # Pillow makes white of its 0
_FAX = {"group3", "group4", "tiff_ccitt"}  # where 0 is white by the compression's own nature
ALPHA_ALONE = (
    "all its pixels have one colour, and only its transparency (alpha) tells them apart; write the alpha as "
    "the pixel values"
)
_SUBFILE_TYPE, _REDUCED_OR_MASK = 254, 0b101


@dataclass(frozen=True)
class LabelFile:
    """The pixels of a label file as they are stored.

    Attributes:
        values: ids [H, W] of an integer type or bool, or colours uint8 [H, W, 3].
        palette: uint8 [N, 3], the colours of the ids 0 .. N-1; None where the file has no palette.
        lossy: the name of a compression that changes pixel values; None where there is none.
        white: the value of white in grey; less than 255 where pixels have 1, 2 or 4 bits.
        names: of an annotation, the names of the classes, of which `values` are the places; None stands for
            pixels that nobody annotated.
    """

    values: NDArray[Any]
    palette: NDArray[np.uint8] | None = None
    lossy: str | None = None
    white: int = 255
    names: Names | None = None


def decode_labels(data: bytes | memoryview, limits: Limits) -> LabelFile:
    """A ground truth or mask as stored, or an annotation, which is drawn.

    Raises:
        RowFault: of the truth, unreadable, whatever the cause; of an annotation also as its module says.
    """
    if is_annotation(data):
        return _annotated(data, limits)
    try:
        name = sniff(data, limits)
        with decoding(name):
            return LabelFile(_npy(data, limits)) if name == ".npy" else _labels(name, data, limits)
    except RowFault as fault:
        raise RowFault(TruthStatus.UNREADABLE, f"label file: {fault}") from fault


def _annotated(data: bytes | memoryview, limits: Limits) -> LabelFile:
    try:
        with decoding("annotation"):
            annotation = read_annotation(data)
            if annotation.problem is not None:
                raise RowFault(TruthStatus.UNREADABLE, annotation.problem)
            if annotation.picture is not None:
                return _of_picture(annotation, annotation.picture, limits)
            check_size(*(annotation.hw or (0, 0)), limits)
            return LabelFile(draw_areas(annotation), names=annotation.names)
    except RowFault as fault:
        if isinstance(fault.status, TruthStatus):
            raise
        raise RowFault(TruthStatus.UNREADABLE, f"annotation: {fault}") from fault


def _of_picture(annotation: Annotation, picture: bytes, limits: Limits) -> LabelFile:
    file = decode_labels(picture, limits)
    if file.lossy is not None:
        raise unfit(f"{file.lossy} compression changes the colours of its classes")
    return LabelFile(of_colours(annotation, file.values, file.palette), names=annotation.names)


def _labels(name: str, data: bytes | memoryview, limits: Limits) -> LabelFile:
    picture = open_picture(name, data, limits)
    _refuse_pages(picture)
    lossy = picture.info.get("compression") in _LOSSY_TIFF or (
        name in _LOSSY_FORMATS and not _is_lossless_webp(data)
    )
    compression = name if lossy else None
    if picture.mode in ("RGB", "RGBA"):
        return LabelFile(_colours(picture), lossy=compression)
    white = 1 if picture.mode == "1" else 255 // _STRETCH.get(raw_mode(picture)[:3], 1)
    values = _ids(picture)  # with which Pillow forgets the depth
    if picture.mode not in ("P", "PA"):
        return LabelFile(values, lossy=compression, white=white)
    palette = np.array(picture.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    return LabelFile(values, palette, compression)


def _is_lossless_webp(data: bytes | memoryview) -> bool:
    """Whether the pixels are in a chunk VP8L, which extended files have behind others (RFC 9649, 2.7)."""
    data, at = memoryview(data), 12
    if bytes(data[:4]) != b"RIFF":
        return False
    while at + 8 <= len(data):
        name, size = bytes(data[at : at + 4]), int.from_bytes(data[at + 4 : at + 8], "little")
        if name in (b"VP8L", b"VP8 "):
            return name == b"VP8L"
        at += 8 + size + size % 2
    return False


def _refuse_pages(picture: ImageFile) -> None:
    """Pages of a label file may be classes, depths or times; overviews and masks of a TIFF are no pages."""
    pages = getattr(picture, "n_frames", 1)
    if pages > 1 and isinstance(picture, TiffImageFile):
        pages = sum(_is_page(picture, index) for index in range(pages))
        picture.seek(0)
    if pages > 1:
        raise unfit(several(pages))


def several(pages: int) -> str:
    """What is wrong with a label file of several pages."""
    return f"it has {pages} pages, and a ground truth is one; write the classes as ids into it"


def _is_page(picture: TiffImageFile, index: int) -> bool:
    picture.seek(index)
    return not picture.tag_v2.get(_SUBFILE_TYPE, 0) & _REDUCED_OR_MASK


def _ids(picture: ImageFile) -> NDArray[Any]:
    raw = raw_mode(picture)
    stretch = _STRETCH.get(raw[:3], 1)
    if picture.mode in ("1", "L", "P"):
        ids_HW: NDArray[Any] = np.array(picture)
        if raw in _INVERTED and picture.info.get("compression") not in _FAX:
            ids_HW = ~ids_HW  # of bool and of uint8 alike
        ids_HW = ids_HW.astype(np.uint8, copy=False)
        return ids_HW if stretch == 1 else ids_HW // np.uint8(stretch)
    if picture.mode in ("LA", "PA"):
        ids_HW = np.array(picture.getchannel(0))
        _refuse_bare_alpha(ids_HW[..., np.newaxis], np.array(picture.getchannel("A")))
        return ids_HW
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        ids_HW = np.array(picture)
        return ids_HW.astype(ids_HW.dtype.newbyteorder("="), copy=False)
    raise unfit(f"{picture.format} pixels of mode {picture.mode} are neither class ids nor colours")


def _colours(picture: ImageFile) -> NDArray[np.uint8]:
    if ";16" in raw_mode(picture):
        raise unfit("its colours have 16 bits a channel, which are neither class ids nor colours of 8 bits")
    if picture.mode != "RGBA":
        return np.array(picture)
    pixels_HWC = np.array(picture)
    _refuse_bare_alpha(pixels_HWC[..., :3], pixels_HWC[..., 3])
    return np.ascontiguousarray(pixels_HWC[..., :3])


def _refuse_bare_alpha(colours_HWC: NDArray[np.uint8], alpha_HW: NDArray[np.uint8]) -> None:
    if (colours_HWC == colours_HWC[0, 0]).all() and alpha_HW.min() != alpha_HW.max():
        raise unfit(ALPHA_ALONE)


def _npy(data: bytes | memoryview, limits: Limits) -> NDArray[Any]:
    file = io.BytesIO(data)
    first = np.lib.format.read_magic(file) == (1, 0)
    read_header = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    if len(shape) != 2 or dtype.kind not in "iub":
        raise unfit(f"its array is {dtype} of shape {shape}, not integer class ids [H, W]")
    check_size(*shape, limits)
    file.seek(0)
    ids_HW: NDArray[Any] = np.load(file, allow_pickle=False)
    return np.ascontiguousarray(ids_HW, dtype=dtype.newbyteorder("="))


def unfit(sentence: str) -> RowFault:
    """A label file that is sound, and none."""
    return RowFault(
        TruthStatus.UNREADABLE, f"{sentence}; save it as PNG, TIFF, BMP, GIF or integer .npy, without loss"
    )
