"""A sample: uniform, the same for the same seed, in the order of the listing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchseg.config.source import FolderSource, ManifestSource
from batchseg.source.open import open_source
from batchseg.source.sample import sampled


def drawn(count: int, seed: int, names: list[str], table_rows: int = 7) -> list[str]:
    tables = (
        pa.table({"id": names[start : start + table_rows]}) for start in range(0, len(names), table_rows)
    )
    return [name for table in sampled(tables, count, seed) for name in table["id"].to_pylist()]


NAMES = [f"{index:05d}.jpg" for index in range(40)]


def test_a_sample_is_the_same_for_the_same_seed_and_in_order() -> None:
    one = drawn(10, 1, NAMES)
    assert one == drawn(10, 1, NAMES, table_rows=3)
    assert (len(one), one) == (10, sorted(one))
    assert one != drawn(10, 2, NAMES)


@pytest.mark.parametrize("count", [40, 41, 1000])
def test_a_sample_of_all_is_all(count: int) -> None:
    assert drawn(count, 0, NAMES) == NAMES
    assert drawn(count, 0, []) == []


def test_every_image_is_as_likely() -> None:
    """400 samples of 10 of 40: each image 100 times in the mean, with a standard deviation of 8.7."""
    counts = Counter(name for seed in range(400) for name in drawn(10, seed, NAMES))
    assert sum(counts.values()) == 4000
    assert all(abs(counts[name] - 100) < 5 * 8.7 for name in NAMES)
    pairs = Counter(
        name for seed in range(400) for name in drawn(10, seed, NAMES) if NAMES[0] in drawn(10, seed, NAMES)
    )
    assert max(count for name, count in pairs.items() if name != NAMES[0]) < counts[NAMES[0]] * 0.6


def test_no_more_than_the_sample_is_kept_of_many() -> None:
    many = [f"{index:06d}" for index in range(60_000)]
    few = drawn(100, 3, many, table_rows=8192)
    assert (len(few), few) == (100, sorted(few))
    assert few == drawn(100, 3, many, table_rows=60_000)
    quarters = Counter(int(name) // 15_000 for name in few)
    assert all(10 <= quarters[at] <= 40 for at in range(4))  # 25 in the mean, standard deviation 4.3


def test_a_growing_listing_keeps_most_of_its_sample() -> None:
    before, after = drawn(20, 5, NAMES), drawn(20, 5, sorted([*NAMES, "new.jpg", "00003b.jpg"]))
    assert len({*before} & {*after}) >= 18


def test_of_folders_and_of_manifests(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).touch()
    (tmp_path / "notes.txt").touch()
    folder = open_source(FolderSource(path=str(tmp_path), sample=6, seed=1))
    pq.write_table(pa.table({"image": NAMES, "n": range(40)}), tmp_path / "x.parquet", row_group_size=9)
    manifest = open_source(ManifestSource(path=str(tmp_path / "x.parquet"), sample=6, seed=1))
    tables = [pa.concat_tables(source.tables()) for source in (folder, manifest)]
    assert tables[0]["id"].to_pylist() == tables[1]["id"].to_pylist() == drawn(6, 1, NAMES)
    assert tables[1]["n"].to_pylist() == [NAMES.index(name) for name in tables[1]["id"].to_pylist()]
