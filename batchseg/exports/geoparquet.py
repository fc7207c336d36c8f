"""GeoParquet 1.1: one row an object, in the CRS of the images (https://geoparquet.org/releases/v1.1.0/)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batchseg.exports.labelled import Add, ExportJob, Labelled
from batchseg.exports.polygons import Placing
from batchseg.images.outlines import load_shapely
from batchseg.schema import OBJECTS

ROWS = 50_000  # of a row group, at least
_SCHEMA = pa.schema(
    [
        *(OBJECTS.field(name).remove_metadata() for name in ("id", "object", "class_id")),
        pa.field("class_name", pa.string(), nullable=False),
        OBJECTS.field("area").remove_metadata(),
        pa.field("geometry", pa.binary(), nullable=False),
    ]
)


@contextmanager
def write_geoparquet(path: str, job: ExportJob) -> Iterator[Add]:
    """One Parquet file. Raises ConfigError where a package is not installed, OutputError and OSError."""
    writer = _Writer(path, Placing(job), job)
    try:
        yield writer.add
        writer.write()
    finally:
        writer.close()


class _Writer:
    def __init__(self, path: str, placing: Placing, job: ExportJob) -> None:
        self._path, self._placing = path, placing
        self._names = np.array(job.label_map.names, np.object_)
        self._waiting: list[pa.Table] = []
        self._file: Any = None

    def add(self, picture: Labelled) -> None:
        objects = picture.objects
        polygons = self._placing.polygons(picture)
        columns = [
            np.full(objects.count, picture.id, np.object_),
            np.arange(1, objects.count + 1),
            objects.classes,
            self._names[objects.classes],
            objects.areas,
            load_shapely().to_wkb(polygons),
        ]
        arrays = [pa.array(each, field.type) for each, field in zip(columns, _SCHEMA, strict=True)]
        self._waiting.append(pa.Table.from_arrays(arrays, schema=_SCHEMA))
        if sum(map(len, self._waiting)) >= ROWS:
            self.write()

    def write(self) -> None:
        """Write what waits as a row group; the CRS is known by then."""
        if self._file is None:
            schema = _SCHEMA.with_metadata({"geo": json.dumps(self._geo())})
            self._file = pq.ParquetWriter(self._path, schema, compression="zstd")
        rows = pa.concat_tables([_SCHEMA.empty_table(), *self._waiting])
        self._file.write_table(rows.replace_schema_metadata(self._file.schema.metadata))
        self._waiting = []

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _geo(self) -> dict[str, Any]:
        crs = self._placing.crs
        geometry = {
            "encoding": "WKB",
            "geometry_types": ["Polygon", "MultiPolygon"],
            "crs": None if crs is None else crs.to_json_dict(),  # null: unknown; without it, it were WGS84
            "orientation": "counterclockwise",
            "edges": "planar",
        }
        return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": geometry}}
