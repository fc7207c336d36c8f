"""GeoJSON: one feature an object, in the CRS of the images.

RFC 7946 knows longitude and latitude alone. As GDAL and geopandas do, the CRS is named by the member `crs`
of the format's first edition, which both of them read; `--crs EPSG:4326` writes what the RFC says. Images
without a georeference have polygons in pixels, with y down from the upper edge. GDAL would take these for
degrees, even where the member is null, so it holds a local CRS of that name.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from batchseg.errors import OutputError
from batchseg.exports.labelled import Add, ExportJob, Labelled
from batchseg.exports.polygons import Placing
from batchseg.exports.stream import JsonList, as_json
from batchseg.images.outlines import load_shapely

_WGS84 = ("EPSG", "4326"), ("OGC", "CRS84")
_LOCAL = (
    'ENGCRS["{}",EDATUM["image"],CS[Cartesian,2],AXIS["column",unspecified],AXIS["row",unspecified],'
    'LENGTHUNIT["pixel",1]]'
)


@contextmanager
def write_geojson(path: str, job: ExportJob) -> Iterator[Add]:
    """One JSON file. Raises ConfigError where a package is not installed, OutputError and OSError."""
    placing = Placing(job)
    with open(path, "w", encoding="ascii") as file:
        writer = _Writer(file, placing, job)
        yield writer.add
        writer.begin()
        file.write("\n]}\n")


class _Writer:
    def __init__(self, file: IO[str], placing: Placing, job: ExportJob) -> None:
        self._file, self._placing, self._names = file, placing, job.label_map.names
        self._features: JsonList | None = None

    def add(self, picture: Labelled) -> None:
        polygons = self._placing.polygons(picture)
        self.begin().add(self._entries(picture, polygons))

    def begin(self) -> JsonList:
        """Write what stands above the features, once the CRS is known."""
        if self._features is None:
            self._file.write(f'{{"type":"FeatureCollection","crs":{as_json(_member(self._placing))},')
            self._file.write('"features":[')
            self._features = JsonList(self._file)
        return self._features

    def _entries(self, picture: Labelled, polygons: Any) -> Iterator[str]:
        objects = picture.objects
        geometries = load_shapely().to_geojson(polygons)
        facts = zip(objects.classes.tolist(), objects.areas.tolist(), geometries, strict=True)
        for number, (class_id, area, geometry) in enumerate(facts, 1):
            ids = {"id": picture.id, "object": number, "class_id": class_id}
            properties = {**ids, "class_name": self._names[class_id], "area": area, **picture.told}
            yield f'{{"type":"Feature","properties":{as_json(properties)},"geometry":{geometry}}}'


def _member(placing: Placing) -> dict[str, Any]:
    """The member `crs`. Raises OutputError where the CRS has no name that readers know."""
    return {"type": "name", "properties": {"name": _name(placing)}}


def _name(placing: Placing) -> str:
    crs = placing.crs
    if crs is None:
        return _LOCAL.format("pixels, y down" if placing.in_pixels else "unknown")
    authority: tuple[str, str] | None = crs.to_authority()
    if authority is None:
        raise OutputError(
            f"the CRS of the images, {crs.name}, has no number of an authority, and GeoJSON has no other "
            "name for it; write geoparquet, which holds it whole, or name another with --crs"
        )
    name = "OGC:1.3:CRS84" if authority in _WGS84 else "::".join(authority)
    return f"urn:ogc:def:crs:{name}"
