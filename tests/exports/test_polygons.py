"""GeoJSON and GeoParquet, as geopandas opens them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
from exported import LABELS, NAMES, blobs, label_maps, objects_of, write_masks
from rasterio.crs import CRS
from rasterio.features import rasterize
from rasterio.transform import Affine

import batchseg
from batchseg.errors import BatchsegError, ConfigError, OutputError
from batchseg.exports import coverage, geoparquet
from batchseg.images.geotiff import Georeference, write_label_tiff

FORMATS = ("geojson", "geoparquet")
UTM = Georeference(CRS.from_epsg(32632), Affine(10, 0, 5e5, 0, -10, 5e6))
TURNED = Georeference(CRS.from_epsg(32632), Affine(8, 3, 6e5, 2, -9, 5e6))
DEGREES = Georeference(CRS.from_epsg(4326), Affine(1e-4, 0, 9.0, 0, -1e-4, 47.0))


def on_map(folder: Path, places: dict[str, Georeference | None]) -> Path:
    """Results whose masks are TIFFs."""
    maps = {name: blobs(seed) for seed, name in enumerate(places)}
    masks = {name: {"mask": f"masks/{name}"} for name in places}
    results = write_masks(folder / "results", maps, masks)
    for name, labels_HW in maps.items():
        path, size = results / "masks" / name, labels_HW.shape
        style: dict[str, Any] = {"colours": LABELS.colours, "ignore_index": 255, "source": places[name]}
        write_label_tiff(str(path), [labels_HW], size, **style)
    return results


def exported(results: Path, to: str, **settings: Any) -> geopandas.GeoDataFrame:
    out = results.parent / f"out.{to}"
    report = batchseg.export(str(results), to=to, output=out, settings={"overwrite": True, **settings})
    assert report.lacking == 0
    return geopandas.read_file(out) if to == "geojson" else geopandas.read_parquet(out)


@pytest.mark.parametrize("to", FORMATS)
def test_objects_of_all_images_in_pixels(tmp_path: Path, to: str) -> None:
    maps = label_maps()
    found = exported(write_masks(tmp_path / "results", maps), to)
    assert found.crs is None or found.crs.name == "pixels, y down"
    assert found.is_valid.all()
    assert set(found["id"]) == set(maps) - {"empty.png"}
    for name, labels_HW in maps.items():
        mine, wanted = found[found["id"] == name], objects_of(labels_HW)
        assert mine["object"].tolist() == list(range(1, len(wanted) + 1))
        assert mine["class_id"].tolist() == [class_id for class_id, _ in wanted]
        assert mine["class_name"].tolist() == [NAMES[class_id] for class_id, _ in wanted]
        np.testing.assert_allclose(mine.area, [mask_HW.sum() for _, mask_HW in wanted], rtol=1e-6)
        assert (mine.area == mine["area"]).all()
        for polygon, (_, mask_HW) in zip(mine.geometry, wanted, strict=True):
            np.testing.assert_array_equal(rasterize([polygon], mask_HW.shape), mask_HW)


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("place", [UTM, TURNED, DEGREES], ids=["utm", "turned", "degrees"])
@pytest.mark.filterwarnings("ignore:Geometry is in a geographic CRS:UserWarning")
def test_polygons_lie_where_the_raster_lies(tmp_path: Path, to: str, place: Georeference) -> None:
    found = exported(on_map(tmp_path, {"a.tif": place}), to)
    assert found.crs == place.crs.to_epsg() and found.is_valid.all()
    pixel = abs(place.transform.determinant)
    np.testing.assert_allclose(found.area, found["area"] * pixel, rtol=1e-6)
    labels_HW = blobs(0)
    drawn = rasterize(
        zip(found.geometry, found["class_id"], strict=True), labels_HW.shape, transform=place.transform
    )
    np.testing.assert_array_equal(drawn, np.where(labels_HW == len(NAMES), 0, labels_HW))
    assert all(each.exterior.is_ccw for each in found.explode().geometry)


@pytest.mark.parametrize("to", FORMATS)
def test_simplified_neighbours_keep_their_common_border(tmp_path: Path, to: str) -> None:
    results = on_map(tmp_path, {"a.tif": UTM})
    exact, found = exported(results, to), exported(results, to, simplify=15)
    assert found.is_valid.all() and shapely.coverage_is_valid(found.geometry.to_numpy())
    assert (
        shapely.get_num_coordinates(found.geometry).sum() < shapely.get_num_coordinates(exact.geometry).sum()
    )
    assert not found.geometry.equals(exact.geometry)


def test_a_noisy_map_is_simplified_group_by_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "TOGETHER", 50)
    labels_HW = np.random.default_rng(0).integers(0, 4, (60, 70)).astype(np.uint8)
    results = write_masks(tmp_path / "results", {"a.png": labels_HW})
    found = exported(results, "geoparquet", simplify=1.5)
    assert found.is_valid.all() and shapely.coverage_is_valid(found.geometry.to_numpy())
    assert found["area"].tolist() == [mask_HW.sum() for _, mask_HW in objects_of(labels_HW)]
    assert not found.geometry.equals(exported(results, "geoparquet").geometry)


@pytest.mark.parametrize("to", FORMATS)
def test_a_crs_that_is_named(tmp_path: Path, to: str) -> None:
    results = on_map(tmp_path, {"a.tif": UTM, "b.tif": TURNED})
    found, own = exported(results, to, crs="EPSG:3035"), exported(results, to)
    assert found.crs == 3035 and found.is_valid.all()
    theirs = own.to_crs(3035).geometry
    assert (found.geometry.symmetric_difference(theirs).area < 1e-6 * theirs.area).all()


def test_images_in_the_crs_that_is_named_stay_where_they_are(tmp_path: Path) -> None:
    other = Georeference(CRS.from_epsg(32633), UTM.transform)
    results = on_map(tmp_path, {"a.tif": other, "b.tif": UTM})
    found = exported(results, "geoparquet", crs="EPSG:32632")
    own = exported(results, "geoparquet", where="id = 'b.tif'")
    assert found[found["id"] == "b.tif"].area.tolist() == own.area.tolist()
    assert found[found["id"] == "b.tif"].total_bounds.tolist() == own.total_bounds.tolist()
    assert found[found["id"] == "a.tif"].total_bounds[0] > own.total_bounds[2]


def test_row_groups_hold_every_object_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = write_masks(tmp_path / "results", label_maps())
    whole = exported(results, "geoparquet")
    monkeypatch.setattr(geoparquet, "ROWS", 20)
    assert exported(results, "geoparquet").equals(whole)
    assert pq.ParquetFile(tmp_path / "out.geoparquet").num_row_groups > 2


@pytest.mark.parametrize("to", FORMATS)
def test_images_of_several_crs(tmp_path: Path, to: str) -> None:
    other = Georeference(CRS.from_epsg(32633), UTM.transform)
    results = on_map(tmp_path, {"a.tif": UTM, "b.tif": other})
    with pytest.raises(OutputError, match=r"a\.tif lies in EPSG:32632 and b\.tif in EPSG:32633, .* --crs"):
        exported(results, to)
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
    found = exported(results, to, crs="EPSG:4326")
    assert found.crs == 4326
    assert found.total_bounds[2] - found.total_bounds[0] > 5  # two zones apart


@pytest.mark.parametrize("to", FORMATS)
def test_images_on_the_map_and_others(tmp_path: Path, to: str) -> None:
    results = on_map(tmp_path, {"a.tif": UTM, "b.tif": None})
    with pytest.raises(OutputError, match=r"b\.tif in no CRS but pixels"):
        exported(results, to)
    with pytest.raises(OutputError, match="which cannot be put into EPSG:4326"):
        exported(results, to, crs="EPSG:4326")
    assert exported(results, to, where="id = 'a.tif'").crs == 32632


def test_a_crs_that_nobody_knows(tmp_path: Path) -> None:
    results = on_map(tmp_path, {"a.tif": UTM})
    with pytest.raises(ConfigError, match="crs: 'EPSG:99999999' is no known CRS"):
        exported(results, "geojson", crs="EPSG:99999999")
    with pytest.raises(
        BatchsegError, match=r"crs is for polygons \(geojson, geoparquet\), and coco has none"
    ):
        exported(results, "coco", crs="EPSG:4326")


def test_an_image_outside_of_what_a_crs_covers(tmp_path: Path) -> None:
    nowhere = Georeference(CRS.from_epsg(4326), Affine(1, 0, 9.0, 0, -1, 170.0))
    with pytest.raises(OutputError, match=r"a\.tif lies outside of what EPSG:32632 covers"):
        exported(on_map(tmp_path, {"a.tif": nowhere}), "geojson", crs="EPSG:32632")


def test_a_crs_without_a_number_is_held_whole_by_geoparquet_alone(tmp_path: Path) -> None:
    own = CRS.from_proj4("+proj=laea +lat_0=51 +lon_0=9 +x_0=0 +y_0=0 +ellps=GRS80 +units=m")
    results = on_map(tmp_path, {"a.tif": Georeference(own, UTM.transform)})
    assert 'Latitude of natural origin",51,' in exported(results, "geoparquet").crs.to_wkt()
    with pytest.raises(OutputError, match="has no number of an authority"):
        exported(results, "geojson")


@pytest.mark.parametrize("to", FORMATS)
def test_a_png_mask_lies_where_its_image_lies(tmp_path: Path, to: str) -> None:
    labels_HW = blobs(3)
    image = tmp_path / "image.tif"
    size = {"height": labels_HW.shape[0], "width": labels_HW.shape[1], "count": 1, "dtype": "uint8"}
    with rasterio.open(image, "w", crs=UTM.crs, transform=UTM.transform, **size) as file:
        file.write(labels_HW[None])
    results = write_masks(tmp_path / "results", {"a.tif": labels_HW}, {"a.tif": {"uri": str(image)}})
    found = exported(results, to)
    assert found.crs == 32632
    np.testing.assert_allclose(found.area, found["area"] * 100, rtol=1e-6)
    image.unlink()
    found = exported(results, to)
    assert (found.area == found["area"]).all()  # in pixels


def test_what_the_files_say_of_themselves(tmp_path: Path) -> None:
    results = on_map(tmp_path, {"a.tif": UTM})
    exported(results, "geojson")
    collection = json.loads((tmp_path / "out.geojson").read_text())
    assert collection["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32632"
    exported(results, "geoparquet")
    facts = json.loads(pq.read_schema(tmp_path / "out.geoparquet").metadata[b"geo"])
    assert facts["version"] == "1.1.0" and facts["columns"]["geometry"]["encoding"] == "WKB"
    assert facts["columns"]["geometry"]["crs"]["id"] == {"authority": "EPSG", "code": 32632}


@pytest.mark.parametrize("to", FORMATS)
def test_no_object_at_all(tmp_path: Path, to: str) -> None:
    results = write_masks(tmp_path / "results", {"a.png": np.zeros((4, 5), np.uint8)})
    assert len(exported(results, to)) == 0
