"""Label TIFFs read by window: every kind means what it means where the file is decoded whole."""

from __future__ import annotations

import io
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from batchseg.errors import RowFault
from batchseg.images.label_files import decode_labels
from batchseg.images.label_rasters import open_labels
from batchseg.images.overlay import nearest
from batchseg.images.raster import Area
from batchseg.schema import TruthStatus
from tests.image_files import FILES, IDS, LIMITS, NOISE, samples_of, save, tiff, with_orientation
from tests.tiff_files import DEFLATE, PALETTE, tiff_of

KINDS = {name: data for name, data in FILES.items() if name.startswith("tiff")} | {
    **{
        f"{depth} bits, photometric {photometric}, {order}": tiff(
            samples_of(depth, (13, 21)), depth, order, photometric
        )
        for depth in (1, 2, 4, 8, 16)
        for photometric in (0, 1)
        for order in "<>"
    },
    "int32": save(Image.fromarray(IDS.astype(np.int32) * 1000), "TIFF"),
    "float": save(Image.fromarray(IDS.astype(np.float32)), "TIFF"),
    "grey and alpha": save(Image.fromarray(NOISE[..., :2].copy(), "LA"), "TIFF"),
    "colours and alpha": save(np.dstack([NOISE, NOISE[..., 0]]), "TIFF"),
    "alpha alone": save(np.dstack([NOISE * 0, NOISE[..., 0]]), "TIFF"),
    "tiled palette": tiff_of(
        np.pad(IDS, ((0, 30), (0, 30))),
        PALETTE,
        tile=16,
        compression=DEFLATE,
        tags={320: [257 * value for value in range(256)] * 3},
    ),
    "no TIFF": FILES["png"],
    "cut off": FILES["tiff palette"][:200],
}
REFUSED = {"tiff cmyk", "tiff pages", "float", "alpha alone", "no TIFF", "cut off"}


def by_window(data):
    """All of it from four windows."""
    with open_labels(data) as labels:
        height, width = labels.hw
        down, across = (0, height // 3, height), (0, width // 2, width)
        files = [
            [labels.read(Area(top, left, bottom - top, right - left)) for left, right in pairwise(across)]
            for top, bottom in pairwise(down)
        ]
    whole = np.concatenate([np.concatenate([file.values for file in row], axis=1) for row in files])
    return whole, files[0][0]


@pytest.mark.parametrize("name", [name for name in KINDS if name not in REFUSED])
def test_windows_are_what_the_whole_is(name: str) -> None:
    expected = decode_labels(KINDS[name], LIMITS)
    values, file = by_window(KINDS[name])
    assert np.array_equal(values, expected.values)
    assert (file.white, file.lossy) == (expected.white, expected.lossy)
    assert (file.palette is None) == (expected.palette is None)
    if file.palette is not None and expected.palette is not None:
        used = expected.values.max() + 1
        assert np.array_equal(file.palette[:used], expected.palette[:used])


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_is_refused_whole_is_refused(name: str) -> None:
    if name != "no TIFF":
        with pytest.raises(RowFault):
            decode_labels(KINDS[name], LIMITS)
    with pytest.raises(RowFault, match=r"^label file: ") as caught:
        by_window(KINDS[name])
    assert caught.value.status is TruthStatus.UNREADABLE


def test_a_turned_file_is_refused() -> None:
    data = save(IDS, "TIFF", exif=with_orientation(6))
    with pytest.raises(RowFault, match=r"stored turned \(Orientation 6\); save it upright"):
        by_window(data)


def test_what_opens_a_file_is_read_as_bytes_are() -> None:
    with open_labels(partial(io.BytesIO, KINDS["tiled palette"])) as labels:
        assert np.array_equal(labels.read(Area(0, 0, *IDS.shape)).values, IDS)


def test_a_smaller_picture_of_it_has_its_values() -> None:
    with open_labels(KINDS["tiled palette"]) as labels:
        smaller = labels.read_smaller((20, 25)).values
    assert np.array_equal(smaller, nearest(np.pad(IDS, ((0, 30), (0, 30))), (20, 25)))


def test_a_damaged_block_costs_its_windows_alone() -> None:
    data = bytearray(KINDS["tiled palette"])
    data[8:16] = b"\xff" * 8  # the first of its tiles
    with open_labels(bytes(data)) as labels:
        assert labels.read(Area(16, 16, 8, 8)).values.shape == (8, 8)
    with (
        pytest.raises(RowFault, match=r"^label file: the TIFF cannot be read"),
        open_labels(bytes(data)) as labels,
    ):
        labels.read(Area(0, 0, 20, 20))
