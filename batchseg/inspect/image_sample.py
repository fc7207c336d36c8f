"""A sample of the images, spread evenly over the source: how bright they are, and of which range they use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from batchseg.config.base import Limits
from batchseg.config.source import ImageReading
from batchseg.errors import RowFault
from batchseg.images.decode import TRANSPOSED, Size, decode_scaled
from batchseg.images.rgb import brightest_of
from batchseg.inspect.image_sizes import Header, look
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
        mean_rgb: of all their pixels, 0 to 255, each image weighing the same; None where none was decoded.
        wide: those of more than 8 bits.
        brightest: the highest of their samples as a share of what counts as white; None without such.
        highest: that sample as stored.
        looked_at: images whose header was read.
        shrunk: those of them that the model sees more than `SHRUNK` times smaller along a side.
        most_shrunk: the largest such factor; None without such.
        seen_hw: the size at which the model sees that image.
        warnings: what is likely not as it is meant, a sentence each.
    """

    files: int = 0
    mean_rgb: tuple[float, float, float] | None = None
    wide: int = 0
    brightest: float | None = None
    highest: float | None = None
    looked_at: int = 0
    shrunk: int = 0
    most_shrunk: float | None = None
    seen_hw: Size | None = None
    warnings: list[str] = field(default_factory=list)


def sample_images(
    listing: Listing,
    count: int,
    reading: ImageReading,
    limits: Limits,
    models: Sequence[Resizing] = (),
) -> ImageSample:
    """Decode `count` images at most. Those that cannot be read are passed over, and so are large ones while
    there are others. Raises nothing of an image.

    Args:
        models: that are to see the images, each at a size of its own.
    """
    sample, reader, means = ImageSample(), image_reader(), []
    headers: list[Header] = []
    for uri in _chosen(listing, count, reader, limits, headers):
        try:
            data = reader.read(uri)
            pixels_HWC = decode_scaled(data, limits, _reduced, reading).pixels_HWC
            found = brightest_of(data, limits, reading)
        except RowFault:
            continue
        means.append(pixels_HWC.mean(axis=(0, 1)))
        if found is not None:
            sample.wide += 1
            if sample.brightest is None or found.share > sample.brightest:
                sample.brightest, sample.highest = found.share, found.value
    sample.files = len(means)
    if means:
        red, green, blue = np.mean(means, axis=0).tolist()
        sample.mean_rgb = (red, green, blue)
    sample.warnings = [*_warnings(sample, reading)]
    sample.looked_at = len(headers)
    if headers:
        _note_shrunk(sample, [_upright(header, reading) for header in headers], models)
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


def _warnings(sample: ImageSample, reading: ImageReading) -> Iterator[str]:
    if sample.brightest is None or sample.highest is None:
        return
    found = f"brightest of the 16-bit images: {sample.brightest:.0%} of white"
    if reading.scale is not None and not DARK < sample.brightest <= 1:
        yield f"{found}; look at source.scale"
    elif sample.brightest < DARK:
        white = 2 ** max(int(sample.highest).bit_length(), 8) - 1
        yield f"{found}; if their white is {white} say source.scale: {white}"


def _reduced(size_hw: Size) -> Size:
    """Half of the image at most: then neither torch nor much time is needed."""
    height, width = ((min(side // 2, ENOUGH) or 1) for side in size_hw)
    return height, width


def _chosen(
    listing: Listing, count: int, reader: Reader, limits: Limits, headers: list[Header]
) -> Iterator[str]:
    """Images of moderate size by their headers, which are kept; of large ones alone, the smallest."""
    large: list[tuple[int, str]] = []
    taken = 0
    for uri in _spread(listing, count):
        try:
            header = look(reader, uri, limits)
        except RowFault:
            continue
        headers.append(header)
        if header.width * header.height > LARGE:
            large.append((header.width * header.height, uri))
        elif taken < count:
            taken += 1
            yield uri
    if not taken and large and count:
        yield min(large)[1]


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
