"""Label files of any size, read by window through rasterio: TIFFs, as `label_files` reads them whole."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from batchseg.errors import RowFault
from batchseg.images.geotiff import Georeference, georeference_of, rows_at_once
from batchseg.images.label_files import ALPHA_ALONE, LabelFile, several, unfit
from batchseg.images.raster import Area, RasterFile, load_rasterio, open_raster, spread_areas
from batchseg.images.tiff import MIN_IS_BLACK, MIN_IS_WHITE, PALETTE_COLOUR, RGB, YCBCR
from batchseg.images.tiff_pages import Head, head_of
from batchseg.schema import TruthStatus

_GREY = (MIN_IS_WHITE, MIN_IS_BLACK, PALETTE_COLOUR, -1)
_RGB = ("red", "green", "blue")
_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_WHITE = {"1": 1, "2": 3, "4": 15}  # by bits a pixel


@dataclass(frozen=True)
class LabelRaster:
    """An open label file.

    Attributes:
        hw: height and width.
        georeference: where it lies.
    """

    dataset: Any
    hw: tuple[int, int]
    georeference: Georeference
    palette: NDArray[np.uint8] | None
    lossy: str | None
    white: int
    inverted: bool

    def read(self, area: Area | None = None) -> LabelFile:
        """The pixels of a rectangle that lies within it (None: the whole), as `decode_labels` gives them.

        Raises RowFault where a block of it is damaged.
        """
        with _faults():
            return self._file(self.dataset.read(self._bands, window=area and area.slices))

    def read_smaller(self, hw: tuple[int, int]) -> LabelFile:
        """The whole at another size, by nearest, and from its overviews where it has them."""
        with _faults():
            return self._file(self.dataset.read(self._bands, out_shape=(len(self._bands), *hw)))

    def read_some(self) -> LabelFile:
        """Some of its pixels, in blocks that are spread over it."""
        with _faults():
            blocks_CHW = [
                [self.dataset.read(self._bands, window=area.slices) for area in row]
                for row in spread_areas(self.hw)
            ]
        return self._file(np.concatenate([np.concatenate(row, axis=2) for row in blocks_CHW], axis=1))

    @property
    def _bands(self) -> list[int]:
        return [1, 2, 3] if self.dataset.count > 2 else [1]

    def _file(self, pixels_CHW: NDArray[Any]) -> LabelFile:
        values = (
            pixels_CHW[0] if len(pixels_CHW) == 1 else np.ascontiguousarray(pixels_CHW.transpose(1, 2, 0))
        )
        if self.inverted:
            values = values ^ np.uint8(self.white)
        return LabelFile(values, self.palette, self.lossy, self.white)


@contextmanager
def open_labels(file: RasterFile, head: Head | None = None) -> Iterator[LabelRaster]:
    """A ground truth or mask: a TIFF, as `open_raster` takes it.

    Args:
        head: its `tiff_head`, where that was read already.

    Raises:
        RowFault: of the truth, unreadable, whatever the cause; also for what is read inside the block.
        ConfigError: rasterio is not installed.
    """
    with ExitStack() as stack:
        with _faults():
            head = head or tiff_head(file) or Head()
            labels = _opened(stack.enter_context(open_raster(file)), head)
        yield labels


@contextmanager
def _faults() -> Iterator[None]:
    """Of a truth, whatever cannot be read."""
    errors = load_rasterio().errors
    try:
        yield
    except RowFault as fault:
        raise RowFault(TruthStatus.UNREADABLE, f"label file: {fault}") from fault
    except errors.RasterioError as exc:
        sentence = f"label file: the TIFF cannot be read ({exc.__cause__ or exc})"
        raise RowFault(TruthStatus.UNREADABLE, sentence) from exc


def _opened(dataset: Any, head: Head) -> LabelRaster:
    if head.orientation != 1:  # GDAL reads pixels as they are stored
        raise unfit(f"its pixels are stored turned (Orientation {head.orientation}); save it upright")
    if (pages := len(dataset.subdatasets)) > 1:
        raise unfit(several(pages))
    kind, structure = np.dtype(dataset.dtypes[0]), dataset.tags(ns="IMAGE_STRUCTURE")
    if kind.kind not in "iu" or not _has_meaning(dataset, head):
        raise unfit(f"TIFF pixels of {dataset.count} bands of type {kind} are neither class ids nor colours")
    if dataset.count in (2, 4) and dataset.colorinterp[-1].name == "alpha":
        _refuse_bare_alpha(dataset)
    bits = dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", "8")
    palette = _palette(dataset) if head.photometric == PALETTE_COLOUR else None
    compression = structure.get("COMPRESSION", "")
    height, width = dataset.shape
    return LabelRaster(
        dataset=dataset,
        hw=(height, width),
        georeference=georeference_of(dataset),
        palette=palette,
        lossy="TIFF" if _is_lossy(compression, structure) else None,
        white=255 if palette is not None else _WHITE.get(bits, 255),
        # by the compression's own nature its 0 is white
        inverted=compression.startswith("CCITT") and structure.get("MINISWHITE") == "YES",
    )


def _has_meaning(dataset: Any, head: Head) -> bool:
    if dataset.count <= 2:
        return head.photometric in _GREY
    names = tuple(each.name for each in dataset.colorinterp[:3])
    in_colour = names == _RGB and head.photometric in (RGB, YCBCR)
    return dataset.count <= 4 and in_colour and dataset.dtypes[0] == "uint8"


def _is_lossy(compression: str, structure: dict[str, str]) -> bool:
    if structure.get("COMPRESSION_REVERSIBILITY", "").startswith("LOSSLESS"):
        return False
    if compression.startswith("LERC"):
        return float(structure.get("MAX_Z_ERROR", 0)) > 0
    return compression.endswith("JPEG") or compression in ("WEBP", "JXL")


def _palette(dataset: Any) -> NDArray[np.uint8]:
    try:
        colours = dataset.colormap(1)
    except ValueError as exc:
        raise RowFault(TruthStatus.UNREADABLE, "its palette is missing or damaged") from exc
    return np.array([colours[index][:3] for index in sorted(colours)], np.uint8).reshape(-1, 3)


def _refuse_bare_alpha(dataset: Any) -> None:
    """As `label_files` does, by a pass over the file that mostly ends with its first rows."""
    colour, alphas = None, set[int]()
    for start, stop in rows_at_once(dataset.height):
        pixels_CHW = dataset.read(window=((start, stop), (0, dataset.width)))
        colour = pixels_CHW[:-1, :1, :1] if colour is None else colour
        if (pixels_CHW[:-1] != colour).any():
            return
        alphas |= {int(pixels_CHW[-1].min()), int(pixels_CHW[-1].max())}
    if len(alphas) > 1:
        raise unfit(ALPHA_ALONE)


def tiff_head(file: RasterFile) -> Head | None:
    """Of a TIFF, by its content; None where it is none. Needs no rasterio."""
    try:
        with _stream(file) as opened:
            return open_tiff_head(opened)
    except OSError:
        return Head()  # what is wrong with it is told by whoever opens it


def open_tiff_head(file: BinaryIO) -> Head | None:
    """The same of a file that is open, at its beginning."""
    try:
        return head_of(file) if file.read(4) in _SIGNATURES else None
    except (struct.error, OSError):
        return Head()


def _stream(file: RasterFile) -> BinaryIO:
    if callable(file):
        return file()
    return open(file, "rb") if isinstance(file, str) else io.BytesIO(file)
