"""Label Studio: tasks with predictions, one brush a class, which reviewers take over and correct.

(https://labelstud.io/guide/predictions) The run lengths of a brush are those of
https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack, of pixels with four channels: bits, most
significant first. Values are words of 8 bits; what says how many of them are alike takes 3, 4, 8 or 16 bits.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from batchseg.exports.labelled import Add, ExportJob, Labelled
from batchseg.exports.run_lengths import run_lengths
from batchseg.exports.stream import JsonList, as_json
from batchseg.images.runs import runs_of
from batchseg.storage.location import is_uri

_CHANNELS, _OPAQUE, _LONGEST = 4, 255, 2**16
_SIZES = np.array([3, 4, 8, 16])  # bits of a length, by the two bits that say which
_HEAD = (32, 5, 4, 4, 4, 4)  # bits of: how many values, and one less than the bits of a word and of the sizes
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
        data = {"image": _shown(picture.row["uri"]), "id": picture.id}
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
                "value": {"format": "rle", "rle": packed(each).tolist(), "brushlabels": [name]},
            }
            for number, each, name in zip(found, counts, names, strict=True)
        ]


def packed(counts: list[int]) -> NDArray[np.uint8]:
    """Bytes of a brush, from the run lengths of its mask, beginning with those of pixels outside of it."""
    lengths = np.array(counts, np.int64) * _CHANNELS
    values = np.where(np.arange(len(lengths)) % 2, _OPAQUE, 0)
    pieces = -(-lengths // _LONGEST)
    values, rest = np.repeat(values, pieces), np.repeat(lengths, pieces)
    is_last = np.zeros(len(rest), np.bool_)
    is_last[np.cumsum(pieces)[pieces > 0] - 1] = True
    length = np.where(is_last, (rest - 1) % _LONGEST + 1, _LONGEST)
    which = np.searchsorted(2**_SIZES, length)
    bits = _SIZES[which]
    words = ((1 << 2 | which) << bits | length - 1) << 8 | values  # a run, its kind, its length, its value
    head = [int(lengths.sum()), 7, *(_SIZES - 1)]
    return _as_bytes(np.append(head, words), np.append(_HEAD, bits + 11))


def _as_bytes(words: NDArray[np.int64], bits: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Words of so many bits each, one behind the other."""
    ends = np.cumsum(bits)
    shift = np.repeat(ends, bits) - 1 - np.arange(ends[-1])
    return np.packbits((np.repeat(words, bits) >> shift & 1).astype(np.uint8))


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
