"""COCO instances: one annotation an object, as compressed run lengths (https://cocodataset.org/#format-data).

The ids of categories are those of the classes. Runs go down the columns and start with those outside of the
object, as pycocotools has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from batchseg.errors import ConfigError
from batchseg.exports.labelled import Add, ExportJob, Labelled
from batchseg.exports.stream import JsonList, as_json, two_lists
from batchseg.images.run_lengths import run_lengths
from batchseg.images.runs import runs_of


def about(job: ExportJob) -> dict[str, Any]:
    """What COCO files begin with."""
    made_by = f" by {job.model}" if job.model else ""
    return {"info": {"description": f"Predicted{made_by}, written by batchseg"}, "licenses": []}


def image_entry(number: int, picture: Labelled) -> dict[str, Any]:
    """An image of a COCO file."""
    height, width = picture.labels_HW.shape
    facts = {"id": number, "file_name": picture.id, "width": width, "height": height}
    return {**facts, "uri": picture.row["uri"], **picture.told}


@contextmanager
def write_coco(path: str, job: ExportJob) -> Iterator[Add]:
    """One JSON file. Raises ConfigError where pycocotools is not installed, and OSError."""
    masks, names = _load_masks(), job.label_map.names
    categories = [{"id": each, "name": names[each], "supercategory": names[each]} for each in job.classes]
    with two_lists(path, {**about(job), "categories": categories}, "images", "annotations") as lists:
        yield _Writer(masks, *lists).add


class _Writer:
    def __init__(self, masks: Any, images: JsonList, annotations: JsonList) -> None:
        self._masks, self._lists = masks, (images, annotations)
        self._images = self._annotations = 0

    def add(self, picture: Labelled) -> None:
        self._images += 1
        self._lists[0].add([as_json(image_entry(self._images, picture))])
        self._lists[1].add(map(as_json, self._entries(picture)))

    def _entries(self, picture: Labelled) -> list[dict[str, Any]]:
        objects = picture.objects
        if not objects.count:
            return []  # which pycocotools cannot encode
        height, width = objects.hw
        runs = runs_of(objects.numbers_HW.T)
        down = runs.rows * height
        sizes = np.full(objects.count, height * width)
        counts = run_lengths(runs.numbers, down + runs.begins, down + runs.ends, sizes)
        shape = [height, width]
        packed = self._masks.frPyObjects([{"counts": each, "size": shape} for each in counts], *shape)
        entries = []
        facts = (objects.classes, objects.areas, picture.boxes)
        for each, class_id, area, box in zip(packed, *(fact.tolist() for fact in facts), strict=True):
            self._annotations += 1
            mask = {"size": shape, "counts": each["counts"].decode("ascii")}
            ids = {"id": self._annotations, "image_id": self._images, "category_id": class_id}
            entries.append({**ids, "area": area, "bbox": box, "iscrowd": 0, "segmentation": mask})
        return entries


def _load_masks() -> Any:
    try:
        from pycocotools import mask
    except ImportError as exc:
        raise ConfigError(
            "COCO's run lengths need the package pycocotools: pip install 'batchseg[export]'"
        ) from exc
    return mask
