"""A sample of the images, spread evenly over the source: how bright they are, and of which range they use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from batchseg.config.base import Limits
from batchseg.config.looks import Tiling
from batchseg.config.source import RGB_CHANNELS, ImageReading
from batchseg.errors import RowFault
from batchseg.images.bands import BandPicture, decode_bands
from batchseg.images.decode import TRANSPOSED, Size, decode_scaled
from batchseg.images.raster import has_rasterio, open_raster
from batchseg.images.raster_picture import some_pixels
from batchseg.images.rgb import Brightest, brightest_of
from batchseg.inspect.image_sizes import Header, look
from batchseg.schema import Status
from batchseg.segmentors.base import Resizing
from batchseg.source.plan import Listing
from batchseg.storage.reader import Reader, image_reader

LARGE = 20_000_000
ENOUGH = 512  # pixels a side, of a JPEG, which libjpeg scales at little cost
DARK = 0.3  # 14 bits in a file of 16 are 0.25 of its range
SHRUNK = 4  # times along a side, above which small things are gone
CANDIDATES = 4  # looked at for each image that is decoded


@dataclass
class ImageSample:
    """Pixels of the sampled images.

    Attributes:
        files: images that were decoded.
        mean_rgb: of all their pixels, 0 to 255, each image weighing the same; None where none was decoded. Of
            bands: of each of them.
        wide: those of more than 8 bits.
        brightest: the highest of their samples as a share of what counts as white; None without such.
        highest: that sample as stored.
        looked_at: images whose header was read.
        shrunk: those of them that the model sees more than `SHRUNK` times smaller along a side.
        most_shrunk: the largest such factor; None without such.
        seen_hw: the size at which the model sees that image.
        unsupported: those that cannot be read by bands, and why.
        warnings: what is likely not as it is meant, a sentence each.
    """

    files: int = 0
    mean_rgb: tuple[float, ...] | None = None
    wide: int = 0
    brightest: float | None = None
    highest: float | None = None
    looked_at: int = 0
    shrunk: int = 0
    most_shrunk: float | None = None
    seen_hw: Size | None = None
    unsupported: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def channels(self) -> str:
        """What `mean_rgb` is of, in words."""
        return "red, green and blue" if len(self.mean_rgb or ()) == RGB_CHANNELS else "its bands"


def sample_images(
    listing: Listing,
    count: int,
    reading: ImageReading,
    limits: Limits,
    *,
    models: Sequence[Resizing] = (),
    tiling: Tiling | None = None,
) -> ImageSample:
    """Decode `count` images at most. Those that cannot be read are passed over, and so are large ones while
    there are others; of large TIFFs some pixels are read. Raises nothing of an image.

    Args:
        models: that are to see the images, each at a size of its own.
        tiling: with it TIFFs may be of any size.
    """
    sample, reader, means = ImageSample(), image_reader(), []
    header_of = partial(look, reader, limits=limits, by_band=reading.is_by_band, tiling=tiling)
    headers = [*_headers(listing, count, header_of)]
    for uri, is_raster in _moderate(headers, count):
        try:
            mean_C, found = _seen(reader, uri, limits, reading, is_raster)
        except RowFault as fault:
            if reading.is_by_band and fault.status is Status.UNSUPPORTED:
                sample.unsupported.append((uri, str(fault)))
            continue
        means.append(mean_C)
        if found is not None:
            sample.wide += 1
            if sample.brightest is None or found.share > sample.brightest:
                sample.brightest, sample.highest = found.share, found.value
    sample.files = len(means)
    if means:
        common = [mean_C for mean_C in means if len(mean_C) == len(means[0])]
        sample.mean_rgb = tuple(np.mean(common, axis=0).tolist())
    sample.warnings = [*_warnings(sample, reading)]
    sample.looked_at = len(headers)
    if headers:
        _note_shrunk(sample, [_upright(header, reading) for _, header in headers], models)
    return sample


def _upright(header: Header, reading: ImageReading) -> Size:
    turned = header.orientation in TRANSPOSED and not reading.as_stored
    return (header.width, header.height) if turned else (header.height, header.width)


def _note_shrunk(sample: ImageSample, sizes: Sequence[Size], models: Sequence[Resizing]) -> None:
    resizes = [model.resizing() for model in models]
    for size_hw in sizes:
        seen = [(_factor(size_hw, resize(size_hw)), resize(size_hw)) for resize in resizes]
        factor, seen_hw = max(seen, default=(1.0, size_hw))
        if factor > SHRUNK:
            sample.shrunk += 1
            if sample.most_shrunk is None or factor > sample.most_shrunk:
                sample.most_shrunk, sample.seen_hw = factor, seen_hw


def _factor(size_hw: Size, seen_hw: Size) -> float:
    return max(side / seen for side, seen in zip(size_hw, seen_hw, strict=True))


def _seen(
    reader: Reader, uri: str, limits: Limits, reading: ImageReading, is_raster: bool
) -> tuple[NDArray[np.float64], Brightest | None]:
    """The mean of each channel, 0 to 255, and what is brightest among samples that are scaled."""
    return _look_at_some(reader, uri, reading) if is_raster else _look(reader.read(uri), limits, reading)


def _look(data: bytes, limits: Limits, reading: ImageReading) -> tuple[NDArray[np.float64], Brightest | None]:
    """The mean of each channel, 0 to 255, and what is brightest among samples that are scaled."""
    if not reading.is_by_band:
        mean_C = decode_scaled(data, limits, _reduced, reading).pixels_HWC.mean(axis=(0, 1))
        return mean_C, brightest_of(data, limits, reading)
    picture = decode_bands(data, limits, reading, _reduced)
    return picture.mean, None if reading.percentiles else picture.brightest


def _look_at_some(
    reader: Reader, uri: str, reading: ImageReading
) -> tuple[NDArray[np.float64], Brightest | None]:
    """The same of a large TIFF, by some of its pixels."""
    with open_raster(reader.by_window(uri)) as dataset:
        pixels_HWC, scale, nodata_HW = some_pixels(dataset, reading)
    picture = BandPicture(pixels_HWC, pixels_HWC.shape[:2], 1, scale, nodata_HW)
    return picture.mean, None if reading.percentiles else picture.brightest


def _warnings(sample: ImageSample, reading: ImageReading) -> Iterator[str]:
    if sample.brightest is None or sample.highest is None:
        return
    found = f"brightest of the 16-bit images: {sample.brightest:.0%} of white"
    if (reading.scale or reading.scales) and not DARK < sample.brightest <= 1:
        yield f"{found}; look at source.scale"
    elif sample.brightest < DARK:
        white = 2 ** max(int(sample.highest).bit_length(), 8) - 1
        yield f"{found}; if their white is {white} say source.scale: {white}"


def _reduced(size_hw: Size) -> Size:
    """Half of the image at most: then neither torch nor much time is needed."""
    height, width = ((min(side // 2, ENOUGH) or 1) for side in size_hw)
    return height, width


def _headers(
    listing: Listing, count: int, header_of: Callable[[str], Header]
) -> Iterator[tuple[str, Header]]:
    """Of images that are there, some more than `count`."""
    for uri in _spread(listing, count):
        with suppress(RowFault):
            yield uri, header_of(uri)


def _moderate(headers: Sequence[tuple[str, Header]], count: int) -> list[tuple[str, bool]]:
    """Images of moderate size, and large TIFFs, of which it is said; where there are other large ones alone,
    the smallest of them."""
    by_window = has_rasterio()
    found, large = [], []
    for uri, header in headers:
        pixels = header.width * header.height
        if pixels <= LARGE or (by_window and header.name == "TIFF"):
            found.append((uri, pixels > LARGE))
        else:
            large.append((pixels, uri))
    return found[:count] or [(uri, False) for _, uri in sorted(large)[: min(count, 1)]]


def _spread(listing: Listing, count: int) -> Iterator[str]:
    """More than are needed: first as many as are, evenly over the source, then some between them."""
    several = min(CANDIDATES * count, listing.images)
    places = np.linspace(0, max(listing.images - 1, 0), several).astype(int).tolist()
    wanted, uris, start = set(places), dict[int, str](), 0
    for table in listing.tables():
        for place in sorted(wanted & {*range(start, start + len(table))}):
            if table["status"][place - start].as_py() is None:
                uris[place] = table["uri"][place - start].as_py()
        start += len(table)
    step = -(-several // count) if count else 1
    for first in range(step):
        yield from (uris[place] for place in places[first::step] if place in uris)
