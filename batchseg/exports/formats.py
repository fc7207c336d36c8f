"""The formats by name. A new one is a file beside this one, an entry here, and its name in `ExportConfig`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from batchseg.exports.coco import write_coco
from batchseg.exports.coco_panoptic import write_panoptic
from batchseg.exports.cvat import write_cvat
from batchseg.exports.geojson import write_geojson
from batchseg.exports.geoparquet import write_geoparquet
from batchseg.exports.label_studio import labelling_interface, write_label_studio
from batchseg.exports.labelled import Add, ExportJob


@dataclass(frozen=True)
class Format:
    """How a format is written.

    Attributes:
        write: opens a path on this machine, and gives what is called with each image; at its end the file is
            complete.
        names: what it consists of where the path is that of a folder, which is there and empty.
        is_placed: whether it asks where images lie on the map.
        has_void: whether it tells pixels where a mask abstains from the background.
        advice: what its user needs to know besides, or None.
    """

    write: Callable[[str, ExportJob], AbstractContextManager[Add]]
    names: frozenset[str] = frozenset()
    is_placed: bool = False
    has_void: bool = False
    advice: Callable[[ExportJob], str] | None = None

    @property
    def is_folder(self) -> bool:
        """Whether it is one, and not a file."""
        return bool(self.names)


FORMATS = {
    "coco": Format(write_coco),
    "coco-panoptic": Format(write_panoptic, names=frozenset({"panoptic.json", "panoptic"}), has_void=True),
    "geojson": Format(write_geojson, is_placed=True),
    "geoparquet": Format(write_geoparquet, is_placed=True),
    "cvat": Format(write_cvat),
    "label-studio": Format(
        write_label_studio, advice=lambda job: f"labelling interface: {labelling_interface(job)}"
    ),
}
