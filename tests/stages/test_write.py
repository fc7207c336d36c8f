"""Masks on their way to the disk: a name that is taken costs one image, a full disk the job."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from batchseg.errors import OutputError
from batchseg.labels.label_map import LabelMap
from batchseg.schema import Status
from batchseg.segmentors.base import Prediction
from batchseg.stages.item import Item
from batchseg.stages.write import write_mask
from batchseg.storage.location import Location, locate
from batchseg.storage.lock import Lock, exclusive


def written(results: Path, mask: str, lock: Lock | None = None) -> Item:
    item = Item({"id": "a.jpg", "mask": mask}, prediction=Prediction(np.zeros((2, 3), np.uint8)))
    stage = write_mask(locate(str(results)), LabelMap.from_names(("dark", "bright")), lock)
    (done,) = stage(iter([item]))
    return done


@pytest.mark.parametrize("refused", ["make_folder", "write"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_full_or_read_only_disk_ends_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str, code: int
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(code, "refused")

    monkeypatch.setattr(Location, refused, fail)
    with pytest.raises(OutputError, match=r"masks/each/own/a\.png: cannot be written: refused"):
        written(tmp_path, "each/own/a.png")


def test_a_folder_of_the_masks_name_costs_one_image(tmp_path: Path) -> None:
    (tmp_path / "masks" / "a.png").mkdir(parents=True)
    fault = written(tmp_path, "a.png").fault
    assert fault is not None and fault.status is Status.NAME_COLLISION


def test_a_file_where_a_folder_should_be_costs_one_image(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a").write_bytes(b"")
    fault = written(tmp_path, "a/b.png").fault
    assert fault is not None and fault.status is Status.NAME_COLLISION


def test_nothing_is_written_once_another_run_holds_the_folder(tmp_path: Path) -> None:
    with exclusive(locate(str(tmp_path))) as lock:
        stolen = (tmp_path / ".lock").read_text().replace(lock.token, "0" * 16)
        (tmp_path / ".lock").write_text(stolen)
        with pytest.raises(OutputError, match="was taken over by process"):
            written(tmp_path, "a.png", lock)
    assert not (tmp_path / "masks").exists()
    assert (tmp_path / ".lock").read_text() == stolen
