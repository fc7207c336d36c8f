"""What it costs to find out which images are rasters: headers of TIFFs, and no more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from image_files import FILES
from tiff_files import tiff_of

from batchseg.config.looks import Tiling
from batchseg.pipeline import rasters
from batchseg.pipeline.rasters import Rasters, set_apart
from batchseg.results.verdict import Key
from batchseg.source.listing import LISTING
from batchseg.source.plan import Listing, write_listing
from batchseg.stages.part_file import FOLDER
from batchseg.storage.location import locate

LARGE, SMALL = (tiff_of(np.zeros((40, width, 3), np.uint8)) for width in (90, 30))
KEY, TILING = Key("model", "truths"), Tiling(size=32, overlap=0, part=64)


def listed(folder: Path, files: dict[str, bytes]) -> Listing:
    columns = {field.name: pa.nulls(len(files), field.type) for field in LISTING}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    columns["id"] = pa.array(files)
    columns["uri"] = pa.array([str(folder / name) for name in files])
    columns["source_version"] = pa.array(["v1"] * len(files))
    table = pa.table([columns[name] for name in LISTING.names], schema=LISTING)
    return write_listing([table], locate(str(folder / "listing.arrow")), "stem", "of tiffs")


def apart(folder: Path, listing: Listing) -> tuple[list[str], Rasters | None]:
    root = locate(str(folder))
    at_once, found = set_apart(listing, TILING, KEY, root / "results", root)
    return [name for table in at_once.tables() for name in table["id"].to_pylist()], found


def test_only_tiffs_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = rasters.tiff_head
    monkeypatch.setattr(rasters, "tiff_head", lambda file: opened.append(str(file)) or real(file))
    listing = listed(tmp_path, {"a.png": FILES["png"], "b.tif": SMALL, "c.tif": LARGE})
    names, found = apart(tmp_path, listing)
    assert names == ["a.png", "b.tif"] and found is not None and [*found.folders] == ["c.tif"]
    assert sorted(opened) == [str(tmp_path / name) for name in ("b.tif", "c.tif")]  # once each


def test_only_parts_that_lie_there_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = rasters.kept_numbers
    monkeypatch.setattr(rasters, "kept_numbers", lambda place: asked.append(place.name) or real(place))
    listing = listed(tmp_path, {"a.tif": LARGE, "b.tif": LARGE})
    _, found = apart(tmp_path, listing)
    assert found is not None and (found.parts.images, found.kept, asked) == (4, 0, [])
    folder = tmp_path / "results" / FOLDER / found.folders["b.tif"]
    folder.mkdir(parents=True)
    (folder / "1.npz").touch()
    (folder.parent / "of another model").mkdir()
    _, found = apart(tmp_path, listing)
    assert found is not None and (found.parts.images, found.kept, asked) == (3, 1, [folder.name])
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
