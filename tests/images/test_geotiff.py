"""Masks as GeoTIFFs, read back with rasterio and Pillow: pixels, palette, overviews and their place."""

from __future__ import annotations

import errno
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.rpc import RPC
from rasterio.transform import Affine

from batchseg.errors import RowFault
from batchseg.images import geotiff
from batchseg.images.encode import png_palette
from batchseg.images.geotiff import (
    Georeference,
    check_truth_place,
    georeference_of,
    rows_at_once,
    write_label_tiff,
)
from batchseg.images.raster import open_raster
from batchseg.images.tiff_pages import repaint_tiff
from batchseg.schema import TruthStatus

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

COLOURS = [(20 * index, index, 255 - index) for index in range(11)]
LABELS = np.random.default_rng(0).integers(0, 12, (1300, 700), dtype=np.uint8)  # 11: void
UTM = CRS.from_epsg(32632)
NORTH_UP = Affine(10, 0, 500_000, 0, -10, 5_000_000)


def bands(labels_HW, rows):
    return (labels_HW[top : top + rows] for top in range(0, len(labels_HW), rows))


def write(path: Path, labels_HW=LABELS, *, rows=200, ignore_index=255, source=None, colours=COLOURS) -> None:
    facts = {"colours": colours, "ignore_index": ignore_index, "source": source}
    write_label_tiff(str(path), bands(labels_HW, rows), labels_HW.shape, **facts)


def test_its_pixels_are_ids_in_the_classes_colours(tmp_path: Path) -> None:
    write(tmp_path / "a.tif")
    expected = np.where(LABELS == 11, 255, LABELS)
    with rasterio.open(tmp_path / "a.tif") as mask:
        assert np.array_equal(mask.read(1), expected)
        assert [mask.colormap(1)[index][:3] for index in range(11)] == COLOURS
        assert (mask.nodata, mask.count, mask.dtypes[0]) == (255, 1, "uint8")
        assert (mask.compression.value, mask.block_shapes) == ("DEFLATE", [(512, 512)])
        assert mask.crs is None and mask.transform.is_identity
    with Image.open(tmp_path / "a.tif") as picture:
        assert picture.mode == "P" and np.array_equal(np.array(picture), expected)
        assert picture.getpalette()[: 3 * 11] == [value for colour in COLOURS for value in colour]


def test_overviews_are_by_nearest(tmp_path: Path) -> None:
    write(tmp_path / "a.tif")
    expected = np.where(LABELS == 11, 255, LABELS)
    with rasterio.open(tmp_path / "a.tif") as mask:
        assert mask.overviews(1) == [2, 4]
    for level, factor in enumerate([2, 4]):
        with rasterio.open(tmp_path / "a.tif", overview_level=level) as overview:
            assert np.array_equal(overview.read(1), expected[::factor, ::factor])
            assert overview.colorinterp[0].name == "palette"


@pytest.mark.parametrize("side", [1, 16, 511, 512, 513])
def test_small_ones_are_whole(tmp_path: Path, side: int) -> None:
    write(tmp_path / "a.tif", LABELS[:side, :side])
    with rasterio.open(tmp_path / "a.tif") as mask:
        assert mask.overviews(1) == ([2] if side > 512 else [])
        assert np.array_equal(mask.read(1), np.where(LABELS == 11, 255, LABELS)[:side, :side])


def test_many_classes_are_16_bit_grey(tmp_path: Path) -> None:
    labels_HW = np.random.default_rng(1).integers(0, 301, (70, 60), dtype=np.uint16)
    write(tmp_path / "a.tif", labels_HW, ignore_index=65535, colours=[(0, 0, 0)] * 300)
    with rasterio.open(tmp_path / "a.tif") as mask:
        assert np.array_equal(mask.read(1), np.where(labels_HW == 300, 65535, labels_HW))
        assert (mask.nodata, mask.dtypes[0], mask.colorinterp[0].name) == (65535, "uint16", "gray")


@pytest.mark.parametrize("rows", [1, 100, 512, 513, 1300])
def test_the_same_labels_make_the_same_bytes(
    tmp_path: Path, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Georeference(crs=UTM, transform=NORTH_UP, point=True)
    write(tmp_path / "a.tif", source=source)
    monkeypatch.setenv("GDAL_NUM_THREADS", "2")
    monkeypatch.setenv("COMPRESS_OVERVIEW", "LZW")
    write(tmp_path / "b.tif", rows=rows, source=source)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif", "b.tif"]


def test_what_is_read_from_other_tiffs_makes_the_same_bytes(tmp_path: Path) -> None:
    """As parts are joined: each is open while the whole is written."""
    source = Georeference(crs=UTM, transform=NORTH_UP)
    write(tmp_path / "a.tif", source=source)
    for number, top in enumerate(range(0, 1300, 400)):
        write(tmp_path / f"part{number}.tif", LABELS[top : top + 400])

    def joined() -> Iterator[np.ndarray]:
        for number in range(4):
            with open_raster(str(tmp_path / f"part{number}.tif")) as part:
                for start, stop in rows_at_once(part.height, 100):
                    ids_HW = part.read(1, window=((start, stop), (0, 700)))
                    yield np.where(ids_HW == 255, 11, ids_HW).astype(np.uint8)

    facts = {"colours": COLOURS, "ignore_index": 255, "source": source}
    write_label_tiff(str(tmp_path / "b.tif"), joined(), LABELS.shape, **facts)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


@pytest.mark.parametrize("rows", [LABELS[:-1], np.vstack([LABELS, LABELS]), LABELS[:, :-1]])
def test_bands_that_are_not_the_whole_are_refused(tmp_path: Path, rows: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"rows, the raster 1300|more rows than|the raster 700 wide"):
        write_label_tiff(
            str(tmp_path / "a.tif"), bands(rows, 512), LABELS.shape, colours=COLOURS, ignore_index=255
        )


OWN_CRS = CRS.from_proj4("+proj=laea +lat_0=48.3 +lon_0=11.1 +x_0=1234.5 +y_0=77 +ellps=GRS80 +units=m")
TURNED = Affine.translation(5e5, 5e6) @ Affine.rotation(17) @ Affine.scale(0.3, -0.3)
DEGREES = Affine(1 / 3600, 0, 7 + 1 / 7, 0, -1 / 3600, 47.1)
PLACES = {
    "nothing": {},
    "north up": {"crs": UTM, "transform": NORTH_UP},
    "in degrees": {"crs": CRS.from_epsg(4326), "transform": DEGREES},
    "no crs": {"transform": NORTH_UP},
    "no transform": {"crs": UTM},
    "rotated": {"crs": UTM, "transform": TURNED},
    "south up": {"crs": UTM, "transform": Affine(10, 0, 500_000, 0, 10, 5_000_000)},
    "oblong": {"crs": UTM, "transform": Affine(10.1, 0, 500_000.123, 0, -9.7, 5_000_000.456)},
    "a crs of its own": {"crs": OWN_CRS, "transform": NORTH_UP},
}
GCPS = [
    GroundControlPoint(r, c, 1e5 + 10 * c + r, 2e5 - 10 * r, 0, id=str(r + c))
    for r in (0, 60)
    for c in (0, 50)
]
COEFFICIENTS = [0.1 * index for index in range(20)]
SCALES = {"height_off": 1.0, "height_scale": 2.0, "lat_off": 3.0, "lat_scale": 4.0, "line_off": 5.0}
SCALES |= {"line_scale": 6.0, "long_off": 7.0, "long_scale": 8.0, "samp_off": 9.0, "samp_scale": 10.0}
COEFFS = {f"{axis}_{part}_coeff": COEFFICIENTS for axis in ("line", "samp") for part in ("num", "den")}


def source_of(path: Path, point=False, gcps=None, rpcs=None, nodata=None, **place) -> Path:
    with rasterio.open(
        path, "w", driver="GTiff", width=50, height=60, count=3, dtype="uint8", nodata=nodata, **place
    ) as image:
        image.write(np.ones((3, 60, 50), np.uint8))
        if point:
            image.update_tags(AREA_OR_POINT="Point")
        if gcps:
            image.gcps = gcps
        if rpcs:
            image.rpcs = rpcs
    return path


def read_place(path: Path):
    with rasterio.open(path) as file:
        gcps, crs = file.gcps
        points = [(each.row, each.col, each.x, each.y, each.z) for each in gcps]
        return file.crs, file.transform, points, crs, file.rpcs, file.tags().get("AREA_OR_POINT")


def mask_beside(source: Path) -> Path:
    mask = source.with_name("mask.tif")
    with open_raster(str(source)) as dataset:
        place = pickle.loads(pickle.dumps(georeference_of(dataset)))
    write(mask, LABELS[:60, :50], source=place)
    return mask


@pytest.mark.parametrize("point", [False, True])
@pytest.mark.parametrize("name", PLACES)
def test_a_mask_lies_where_its_image_lies(tmp_path: Path, name: str, point: bool) -> None:
    source = source_of(tmp_path / "image.tif", point, **PLACES[name])
    expected, found = read_place(source), read_place(mask_beside(source))
    if name in ("nothing", "no transform", "no crs"):  # GDAL writes no word on points beside these
        expected, found = expected[:-1], found[:-1]
    assert found == expected


def test_the_place_is_kept_to_the_last_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for point in (False, True):
        for _ in range(20):
            width, left, top = rng.uniform(1e-5, 1), *rng.uniform(-180, 180, 2)
            place = Affine(width, 0, left, 0, -width * rng.uniform(0.5, 2), top)
            source = source_of(tmp_path / "image.tif", point, crs=CRS.from_epsg(4326), transform=place)
            assert read_place(mask_beside(source))[1] == read_place(source)[1]


def test_control_points_and_coefficients_travel(tmp_path: Path) -> None:
    source = source_of(tmp_path / "image.tif", gcps=(GCPS, UTM), rpcs=RPC(**SCALES, **COEFFS))
    expected = read_place(source)
    assert len(expected[2]) == 4 and expected[4] is not None
    assert read_place(mask_beside(source)) == expected
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".tif"] == []


@pytest.mark.parametrize("nodata", [None, 0, 7, 255])
def test_nodata_is_void_whatever_the_image_has(tmp_path: Path, nodata: int | None) -> None:
    source = source_of(tmp_path / "image.tif", nodata=nodata)
    with rasterio.open(mask_beside(source)) as mask:
        assert mask.nodata == 255


def test_a_truth_of_another_crs_is_a_mismatch() -> None:
    image = Georeference(crs=UTM, transform=NORTH_UP)
    other = Georeference(crs=CRS.from_epsg(4326), transform=NORTH_UP)
    with pytest.raises(RowFault, match="the image is in EPSG:32632, its truth in EPSG:4326; warp") as caught:
        check_truth_place(image, other)
    assert caught.value.status is TruthStatus.MISMATCH


@pytest.mark.parametrize(
    "moved",
    [
        NORTH_UP @ Affine.translation(0.5, 0),
        NORTH_UP @ Affine.scale(1.001),
        NORTH_UP @ Affine.rotation(0.1),
        NORTH_UP @ Affine.scale(1, -1),
    ],
)
def test_a_truth_at_another_place_is_a_mismatch(moved: Affine) -> None:
    image, truth = Georeference(crs=UTM, transform=NORTH_UP), Georeference(crs=UTM, transform=moved)
    with pytest.raises(RowFault, match=r"the image lies at \(500000, 5000000\) with pixels of 10 x -10, its"):
        check_truth_place(image, truth)


@pytest.mark.parametrize(
    "truth",
    [
        None,
        Georeference(),
        Georeference(crs=UTM),
        Georeference(transform=NORTH_UP),
        Georeference(crs=CRS.from_wkt(UTM.to_wkt()), transform=NORTH_UP),
        Georeference(crs=UTM, transform=Affine(10 + 1e-9, 0, 500_000.000001, 0, -10, 5_000_000)),
        Georeference(crs=UTM, transform=NORTH_UP, point=True, nodata=3),
    ],
)
def test_a_truth_at_the_same_place_or_nowhere_is_none(truth: Georeference | None) -> None:
    check_truth_place(Georeference(crs=UTM, transform=NORTH_UP), truth)
    check_truth_place(None, truth)


WRITE = """
import resource, signal, sys
import numpy as np
from batchseg.images.geotiff import write_label_tiff
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
labels = np.random.default_rng(0).integers(0, 12, (1300, 700), dtype=np.uint8)
black = [(0, 0, 0)] * 11
for size in map(int, sys.argv[2:]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        write_label_tiff(sys.argv[1], iter([labels]), labels.shape, colours=black, ignore_index=255)
        print("whole")
    except OSError as exc:
        print(exc.strerror.partition(" (")[0])
"""


def test_a_file_that_did_not_arrive_whole_is_an_error(tmp_path: Path) -> None:
    """GDAL itself tells of the first alone: the last bytes of a file are lost without a word."""
    write(tmp_path / "whole.tif")
    size = (tmp_path / "whole.tif").stat().st_size
    limits = [str(limit) for limit in (size // 3, size * 9 // 10, size - 1, size)]
    child = [sys.executable, "-c", WRITE, tmp_path / "a.tif", *limits]
    done = subprocess.run(child, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["not all of it arrived on the disk"] * 3 + ["whole"]


def test_a_full_disk_is_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geotiff.shutil, "disk_usage", lambda _: type("usage", (), {"free": 0}))
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_label_tiff(
            str(tmp_path / "missing" / "a.tif"),
            iter([LABELS]),
            LABELS.shape,
            colours=COLOURS,
            ignore_index=255,
        )
    assert caught.value.errno == errno.ENOSPC


def test_a_palette_is_replaced_in_place(tmp_path: Path) -> None:
    write(tmp_path / "a.tif")
    write(tmp_path / "b.tif", colours=COLOURS[::-1])
    palette = png_palette(COLOURS[::-1])
    with open(tmp_path / "a.tif", "r+b") as file:
        assert repaint_tiff(file, palette)
        assert not repaint_tiff(file, palette)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()
