"""COCO panoptic: a PNG an image, whose colours are the numbers of segments, and one JSON file that says what
these are (https://cocodataset.org/#format-data).

    OUT/panoptic.json
    OUT/panoptic/000000000001.png    R + 256 G + 65536 B is the number of a segment, or 0 where there is none

Every object is a segment. What is left over, the background, is one segment and no thing. The PNGs are
numbered as the images are, for an id need not be the name of a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from batchseg.exports.coco import about, image_entry
from batchseg.exports.labelled import Add, ExportJob, Labelled
from batchseg.exports.stream import JsonList, as_json, two_lists


@contextmanager
def write_panoptic(path: str, job: ExportJob) -> Iterator[Add]:
    """A folder, which is there already. Raises OSError."""
    folder = os.path.join(path, "panoptic")
    os.makedirs(folder)
    categories = [
        {
            **{"id": each, "name": name, "supercategory": name},
            **{"isthing": int(each in job.classes), "color": list(job.label_map.colours[each])},
        }
        for each, name in enumerate(job.label_map.names)
    ]
    above = {**about(job), "categories": categories}
    with two_lists(os.path.join(path, "panoptic.json"), above, "images", "annotations") as lists:
        yield _Writer(folder, job.backgrounds, *lists).add


class _Writer:
    def __init__(self, folder: str, backgrounds: list[int], images: JsonList, annotations: JsonList) -> None:
        self._folder, self._backgrounds, self._lists = folder, backgrounds, (images, annotations)
        self._images = 0

    def add(self, picture: Labelled) -> None:
        self._images += 1
        numbers_HW, segments = self._segments(picture)
        name = f"{self._images:012d}.png"
        colours_HWC = np.stack([numbers_HW >> shift & 255 for shift in (0, 8, 16)], 2).astype(np.uint8)
        Image.fromarray(colours_HWC).save(os.path.join(self._folder, name), "PNG", compress_level=1)
        self._lists[0].add([as_json(image_entry(self._images, picture))])
        entry = {"image_id": self._images, "file_name": name, "segments_info": segments}
        self._lists[1].add([as_json(entry)])

    def _segments(self, picture: Labelled) -> tuple[NDArray[np.int32], list[dict[str, Any]]]:
        objects = picture.objects
        facts = (fact.tolist() for fact in (objects.classes, objects.areas, picture.boxes))
        segments = [_segment(number, *each) for number, each in enumerate(zip(*facts, strict=True), 1)]
        numbers_HW = objects.numbers_HW.copy()
        for class_id in self._backgrounds:
            of_class_HW = picture.labels_HW == class_id
            if not (area := int(np.count_nonzero(of_class_HW))):
                continue
            rows, columns = (np.flatnonzero(of_class_HW.any(axis)) for axis in (1, 0))
            left, top = int(columns[0]), int(rows[0])
            box = [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top]
            segments.append(_segment(len(segments) + 1, class_id, area, box))
            numbers_HW[of_class_HW] = len(segments)
        return numbers_HW, segments


def _segment(number: int, class_id: int, area: int, box: list[int]) -> dict[str, Any]:
    return {"id": number, "category_id": class_id, "area": area, "bbox": box, "iscrowd": 0}
