"""A results folder for analysis in Python: its tables as Arrow, its masks as arrays."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchseg.config.base import Limits
from batchseg.errors import OutputError, RowFault
from batchseg.images.label_files import decode_labels
from batchseg.results.explanations import read_explanations
from batchseg.results.folder import Results
from batchseg.results.tables import TYPE_CLASHES, read_columns, read_images
from batchseg.schema import BESIDE, CLASSES, IMAGES
from batchseg.storage.keys import keys, superseded


def open_results(path: str) -> OpenedResults:
    """Open a results folder, a path or a URI; nothing is read before it is asked for.

        results = batchseg.open_results("results/")
        results.images.sort_by("mean_iou").to_pandas()
        labels_HW = results.mask("day/a/scene_01.jpg")

    Raises OutputError where there are no results.
    """
    results = Results(path)
    results.refuse_strangers()
    return OpenedResults(results)


class OpenedResults:
    """The tables and masks of a results folder, each table read once, when it is first asked for.

    Whatever is asked for raises OutputError where it cannot be read.
    """

    def __init__(self, results: Results) -> None:
        self._results = results

    def __repr__(self) -> str:
        return f"OpenedResults({self.path!r})"

    @property
    def path(self) -> str:
        """The folder: an absolute path, or a URI."""
        return str(self._results.root)

    @cached_property
    def record(self) -> dict[str, Any] | None:
        """The record of the last run, as run.json holds it; None where no run has come to its end."""
        return self._results.record()

    @cached_property
    def images(self) -> pa.Table:
        """One row an image; where a run was cut off and has left two, the later one."""
        tables = [read_images(self._results.images / name).filter(pa.array(rows)) for name, rows in self.kept]
        if not tables:
            return IMAGES.empty_table()
        try:
            return pa.concat_tables(tables, promote_options="permissive")
        except TYPE_CLASHES as exc:
            raise OutputError(
                f"{self._results.images}: a column of the manifests has types that do not go together "
                f"({exc}); read its parts one by one"
            ) from exc

    @cached_property
    def pixels(self) -> pa.Table:
        """One row an image and pair of classes: the confusion matrix of every image."""
        return self._beside("pixels")

    @cached_property
    def objects(self) -> pa.Table:
        """One row an object of truth or prediction; none where `metrics` did not ask for objects."""
        return self._beside("objects")

    @cached_property
    def boundary(self) -> pa.Table:
        """One row an image and class: its boundary; none where `metrics` did not ask for it."""
        return self._beside("boundary")

    @cached_property
    def calibration(self) -> pa.Table:
        """One row an image, true class, most probable class and bin of its probability."""
        return self._beside("calibration")

    def _beside(self, kind: str) -> pa.Table:
        schema = BESIDE[kind]
        tables = [schema.empty_table()]
        for name, rows in self.kept:
            place = self._results.root / kind / name
            if kind != "pixels" and not place.exists():  # of these images there is nothing to say
                continue
            table = read_columns(place, schema, schema.names)
            if not rows.all():
                ids = read_images(self._results.images / name, ["id"])["id"].filter(pa.array(rows))
                table = table.filter(pc.is_in(table["id"], ids.combine_chunks()))
            tables.append(table)
        return pa.concat_tables(tables)

    @cached_property
    def classes(self) -> pa.Table:
        """One row a class over the whole data set, as of the last run that finished."""
        return read_columns(self._results.root / "classes.parquet", CLASSES, CLASSES.names)

    @cached_property
    def explanations(self) -> pa.Table:
        """One row an image and method of `batchseg explain`; none where it was not called."""
        return read_explanations(self._results.root)

    def mask(self, image_id: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """The class ids of an image, uint8 or uint16 [H, W]; a value that is no class is where it abstains.

        Raises OutputError where the image has no row or no mask, or the mask cannot be read.
        """
        place = pc.index(self.images["id"], image_id).as_py()
        if place < 0:
            raise OutputError(f"{self.path}: has no row of {image_id}; ids are in the column id of images")
        row = self.images.select(["mask", "status", "uri", "width", "height"]).slice(place, 1).to_pylist()[0]
        if row["mask"] is None:
            why = f"its mask is {row['uri']}" if row["status"] == "ok" else f"its status is {row['status']}"
            raise OutputError(f"{self.path}: holds no mask of {image_id}; {why}")
        file = self._results.root / row["mask"]
        # the run may have had a higher limit than the default
        limits = Limits(max_pixels=max(Limits().max_pixels, row["width"] * row["height"]))
        try:
            ids_HW: NDArray[np.uint8] | NDArray[np.uint16] = decode_labels(file.read(), limits).values
        except OSError as exc:
            raise OutputError(f"{file}: cannot be read: {exc.strerror or exc}") from exc
        except RowFault as fault:
            raise OutputError(f"{file}: cannot be read: {str(fault).removeprefix('label file: ')}") from fault
        return ids_HW

    @cached_property
    def kept(self) -> list[tuple[str, NDArray[np.bool_]]]:
        """Each part by name, and which of its rows count."""
        parts = [file.name for file in self._results.images.files(".parquet")]
        ids = (keys(read_images(self._results.images / name, ["id"])["id"]) for name in parts)
        return [(name, ~again) for name, again in zip(parts, superseded(ids), strict=True)]
