"""Label Studio: tasks with predictions, one brush a class, which reviewers take over and correct.

(https://labelstud.io/guide/predictions)
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np

from batchseg.exports.labelled import Add, ExportJob, Labelled
from batchseg.exports.stream import JsonList, as_json
from batchseg.images.run_lengths import packed_brush, run_lengths
from batchseg.images.runs import runs_of
from batchseg.storage.location import is_uri

_LOCAL = "/data/local-files/?d="  # where Label Studio serves the files of its own machine


@contextmanager
def write_label_studio(path: str, job: ExportJob) -> Iterator[Add]:
    """One JSON file. Raises OSError."""
    with open(path, "w", encoding="ascii") as file:
        file.write("[")
        yield _Writer(JsonList(file), job).add
        file.write("\n]\n")


class _Writer:
    def __init__(self, tasks: JsonList, job: ExportJob) -> None:
        self._tasks, self._job = tasks, job

    def add(self, picture: Labelled) -> None:
        prediction = {"model_version": self._job.model or "batchseg", "result": self._brushes(picture)}
        if (score := picture.row["confidence_mean"]) is not None:
            prediction["score"] = score
        data = {"image": _shown(picture.row["uri"]), "id": picture.id, **picture.told}
        self._tasks.add([as_json({"data": data, "predictions": [prediction]})])

    def _brushes(self, picture: Labelled) -> list[dict[str, Any]]:
        numbers = np.zeros(self._job.label_map.num_classes + 1, np.int32)
        numbers[self._job.classes] = np.arange(1, len(self._job.classes) + 1)
        height, width = picture.labels_HW.shape
        runs = runs_of(numbers[picture.labels_HW])
        above = runs.rows * width
        found = runs.numbers[runs.firsts].tolist()
        sizes = np.full(len(found), picture.labels_HW.size)
        counts = run_lengths(runs.numbers, above + runs.begins, above + runs.ends, sizes)
        names = [self._job.label_map.names[self._job.classes[number]] for number in found]
        return [
            {
                **{
                    "id": f"class_{number + 1}",
                    "type": "brushlabels",
                    "from_name": "label",
                    "to_name": "image",
                },
                **{"original_width": width, "original_height": height, "image_rotation": 0},
                "value": {"format": "rle", "rle": packed_brush(each).tolist(), "brushlabels": [name]},
            }
            for number, each, name in zip(found, counts, names, strict=True)
        ]


def _shown(uri: str) -> str:
    return uri if is_uri(uri) else _LOCAL + quote(os.path.abspath(uri).lstrip("/"))


def labelling_interface(job: ExportJob) -> str:
    """The project's settings that go with the tasks."""
    labels = "".join(
        "<Label value={} background={}/>".format(
            quoteattr(job.label_map.names[each]),
            quoteattr("#{:02x}{:02x}{:02x}".format(*job.label_map.colours[each])),
        )
        for each in job.classes
    )
    brush = f'<BrushLabels name="label" toName="image">{labels}</BrushLabels>'
    return f'<View><Image name="image" value="$image" zoom="true"/>{brush}</View>'
