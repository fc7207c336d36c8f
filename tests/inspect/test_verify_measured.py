"""Verify, where tables of boundaries and objects lie beside the rows: their damage is found and mended."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image

import batchseg
from batchseg.errors import OutputError
from batchseg.inspect.verify import verify

pytestmark = [pytest.mark.usefixtures("in_tasks")]

IMAGES = 4


def run(folder: Path) -> batchseg.RunResult:
    return batchseg.run(
        folder / "images",
        model="threshold",
        truth=folder / "truth",
        output=folder / "results",
        settings={"metrics": ["boundary", "objects"]},
    )


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the last image there is no truth."""
    folder = tmp_path_factory.mktemp("measured")
    rng = np.random.default_rng(5)
    for index in range(IMAGES):
        pixels = rng.integers(0, 256, (8, 12), dtype=np.uint8)
        pictures = {"images": pixels, "truth": (pixels > 90).astype(np.uint8)}
        for name in ("images", "truth")[: 1 + (index < IMAGES - 1)]:
            (folder / name).mkdir(exist_ok=True)
            Image.fromarray(pictures[name]).save(folder / name / f"{index}.png")
    run(folder)
    return folder


@pytest.fixture
def scene(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    run(tmp_path)  # truths at another place are other ones
    return tmp_path


def part(results: Path, kind: str) -> Path:
    (found,) = (results / kind).glob("*.parquet")
    return found


def change(results: Path, kind: str, how: Callable[[pa.Table], pa.Table]) -> None:
    path = part(results, kind)
    pq.write_table(how(pq.read_table(path, partitioning=None)), path)


def contents(results: Path) -> list[list[str]]:
    opened = batchseg.open_results(str(results))
    tables = [opened.objects, opened.boundary, opened.pixels]
    tables.append(opened.images.drop_columns(["run_id", "finished_at", "segment_s", "uri"]))
    return [sorted(map(str, table.to_pylist())) for table in tables]


def stray(table: pa.Table) -> pa.Table:
    """Once more, of an image that has no row."""
    place = table.column_names.index("id")
    other = table.slice(0, 2).set_column(place, table.schema.field("id"), pa.array(["gone.png"] * 2))
    return pa.concat_tables([table, other])


def with_value(name: str, value: Any) -> Callable[[pa.Table], pa.Table]:
    """In the first row."""

    def how(table: pa.Table) -> pa.Table:
        values = [value, *table[name].to_pylist()[1:]]
        place = table.column_names.index(name)
        return table.set_column(
            place, table.schema.field(name), pa.array(values, table.schema.field(name).type)
        )

    return how


def truncate(results: Path, kind: str) -> None:
    data = part(results, kind).read_bytes()
    part(results, kind).write_bytes(data[: len(data) // 2])


def of_another_table(results: Path, kind: str) -> None:
    pq.write_table(pa.table({"id": ["0.png"]}), part(results, kind))


def orphan(results: Path, kind: str) -> None:
    path = part(results, kind)
    shutil.copy(path, path.with_name("20200101T000000-000000-00000.parquet"))


DAMAGE = [
    (lambda results: change(results, "objects", stray), {"part": 1}, 0),
    (lambda results: change(results, "boundary", stray), {"part": 1}, 0),
    (lambda results: truncate(results, "objects"), {"part": 1}, IMAGES),
    (lambda results: truncate(results, "boundary"), {"part": 1}, IMAGES),
    (lambda results: of_another_table(results, "boundary"), {"part": 1}, IMAGES),
    (lambda results: orphan(results, "objects"), {"part": 1}, 0),
    (lambda results: part(results, "boundary").unlink(), {"metrics": 3}, IMAGES),
    (lambda results: part(results, "objects").unlink(), {"metrics": 3}, IMAGES),
    (lambda results: change(results, "boundary", with_value("nsd", 0.1)), {"metrics": 1}, 1),
    (lambda results: change(results, "images", with_value("hd95", 3.25)), {"metrics": 1}, 1),
    (lambda results: change(results, "images", with_value("panoptic_quality", 0.25)), {"metrics": 1}, 1),
]


@pytest.mark.parametrize(("damage", "counts", "scored"), DAMAGE)
def test_damage_is_found_and_mended_without_the_model(
    scene: Path, damage: Callable[[Path], None], counts: dict[str, int], scored: int
) -> None:
    results = scene / "results"
    before = contents(results)
    assert verify(str(results)).counts == {}
    damage(results)
    found = verify(str(results))
    assert found.counts.keys() == counts.keys()
    assert not found.ok
    if "part" in counts:
        assert found.counts == counts
    assert verify(str(results), repair=True).ok
    result = run(scene)
    assert (result.segmented, result.scored) == (0, scored)
    assert verify(str(results)).counts == {}
    assert contents(results) == before


def test_a_file_of_someone_else_is_left_alone(scene: Path) -> None:
    results = scene / "results"
    place = results / "objects" / "mine.parquet"
    pq.write_table(pa.table({"x": [1]}), place)
    assert verify(str(results)).counts == {"foreign": 1}
    with pytest.raises(OutputError, match="is no part of these results"):
        verify(str(results), repair=True)
    assert pc.sum(pq.read_table(place, partitioning=None)["x"]).as_py() == 1


def test_calibration_beside_no_image_is_found(scene: Path) -> None:
    results = scene / "results"
    name = part(results, "images").name
    (results / "calibration").mkdir(exist_ok=True)
    known = {"truth": [0], "predicted": [0], "bin": [1], "pixels": [1], "top_sum": [1.0], "truth_sum": [1.0]}
    from batchseg.schema import CALIBRATION

    table = pa.Table.from_pydict({"id": ["gone.png"], **known}, schema=CALIBRATION)
    pq.write_table(table, results / "calibration" / name)
    assert verify(str(results)).counts == {"part": 1}
    verify(str(results), repair=True)
    assert verify(str(results)).counts == {}
    assert run(scene).done_before == IMAGES
