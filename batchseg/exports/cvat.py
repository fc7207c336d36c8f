"""CVAT: a zip with annotations.xml of its format "CVAT for images 1.1", a `mask` an object.

(https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/) Its runs go along the rows of the object's
box and start with those outside of the object. CVAT finds the image of a task by its name, which is the id.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO
from xml.sax.saxutils import escape, quoteattr

from batchseg.exports.labelled import Add, ExportJob, Labelled
from batchseg.images.run_lengths import run_lengths

# what XML 1.0 cannot say at all, not even escaped
_UNSPEAKABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


@contextmanager
def write_cvat(path: str, job: ExportJob) -> Iterator[Add]:
    """One zip. Raises OSError."""
    entry = zipfile.ZipInfo("annotations.xml")  # without a date: the same masks make the same bytes
    entry.compress_type = zipfile.ZIP_DEFLATED
    with (
        zipfile.ZipFile(path, "w") as archive,
        archive.open(entry, "w", force_zip64=True) as opened,
        io.TextIOWrapper(opened, encoding="utf-8") as file,
    ):
        file.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n')
        file.writelines(_meta(job))
        yield _Writer(file, job.label_map.names).add
        file.write("</annotations>\n")


def _meta(job: ExportJob) -> Iterator[str]:
    yield "<meta><task><mode>annotation</mode><labels>\n"
    for class_id in job.classes:
        colour = "#{:02x}{:02x}{:02x}".format(*job.label_map.colours[class_id])
        name = escape(_spoken(job.label_map.names[class_id]))
        yield f"<label><name>{name}</name><color>{colour}</color><type>mask</type>"
        yield "<attributes></attributes></label>\n"
    yield "</labels></task></meta>\n"


class _Writer:
    def __init__(self, file: IO[str], names: Sequence[str]) -> None:
        self._file, self._names, self._images = file, names, 0

    def add(self, picture: Labelled) -> None:
        height, width = picture.labels_HW.shape
        place = f'id="{self._images}" name={_attribute(picture.id)} width="{width}" height="{height}"'
        self._file.write(f"<image {place}>\n")
        self._file.writelines(self._masks(picture))
        self._file.write("</image>\n")
        self._images += 1

    def _masks(self, picture: Labelled) -> Iterator[str]:
        runs, boxes = picture.objects.runs, picture.boxes
        left, top, width, _ = boxes[runs.numbers].T
        start = (runs.rows - top) * width - left
        sizes = boxes[:, 2] * boxes[:, 3]
        counts = run_lengths(runs.numbers, start + runs.begins, start + runs.ends, sizes)
        facts = zip(picture.objects.classes.tolist(), boxes.tolist(), counts, strict=True)
        for class_id, box, each in facts:
            label = _attribute(self._names[class_id])
            where = 'left="{}" top="{}" width="{}" height="{}"'.format(*box)
            rle = ", ".join(map(str, each))
            yield f'<mask label={label} source="auto" occluded="0" rle="{rle}" {where} z_order="0"></mask>\n'


def _spoken(text: str) -> str:
    return _UNSPEAKABLE.sub(lambda found: f"%{ord(found[0]):02X}", text)


def _attribute(text: str) -> str:
    return quoteattr(_spoken(text), {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})
