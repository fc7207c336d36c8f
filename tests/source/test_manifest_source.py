"""The manifest as a source: what its columns mean, what is carried along, and what is refused."""

from __future__ import annotations

import hashlib
import os
import tracemalloc
import uuid
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchseg.config.source import ManifestSource
from batchseg.errors import SourceError
from batchseg.results.folder import Results
from batchseg.schema import IMAGES
from batchseg.source.listing import LISTING
from batchseg.source.manifest import Manifest
from batchseg.source.open import open_source
from batchseg.source.plan import Plan, write_chosen, write_listing, write_plan
from batchseg.stages.item import Item
from batchseg.stages.write import Stamp, row_schema, to_table
from batchseg.storage.location import locate
from batchseg.storage.reader import image_reader, truth_reader


def save(path: Path, table: pa.Table | dict[str, Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), path, **options)
    return path


def source(path: Path | str, **options: Any) -> Manifest:
    opened = open_source(ManifestSource(path=str(path), **options))
    assert isinstance(opened, Manifest)
    return opened


def listed(path: Path | str, **options: Any) -> list[dict[str, Any]]:
    opened = source(path, **options)
    tables = list(opened.tables())
    assert all(table.schema == opened.schema and len(table) <= 8192 for table in tables)
    return pa.concat_tables(tables).to_pylist() if tables else []


def column(path: Path | str, name: str, **options: Any) -> list[Any]:
    return [row[name] for row in listed(path, **options)]


def planned(opened: Manifest, folder: Path) -> Plan:
    """Everything the manifest lists, in one chunk."""
    listing = write_listing(opened.tables(), locate(str(folder / "listing.arrow")), "stem")
    chosen = write_chosen(listing.tables(), locate(str(folder / "chosen.arrow")))
    return write_plan(chosen, locate(str(folder / "plan.arrow")), 9999)


# -- which files


def test_one_file(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"12345")
    manifest = save(tmp_path / "list.parquet", {"image": ["a.jpg", "b/c.png"], "truth": ["t/a.png", None]})
    version = f"5-{(tmp_path / 'a.jpg').stat().st_mtime_ns}"
    nothing = {"status": None, "error": None}
    assert listed(manifest) == [
        {
            "id": "a.jpg",
            "uri": str(tmp_path / "a.jpg"),
            "truth": str(tmp_path / "t/a.png"),
            "truth_version": None,
            "source_version": version,
            "size": 5,
            **nothing,
        },
        {
            "id": "b/c.png",
            "uri": str(tmp_path / "b/c.png"),
            "truth": None,
            "truth_version": None,
            "source_version": None,
            "size": None,
            **nothing,
        },
    ]


def test_a_folder_and_a_glob_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("2", "10", "1"):
        save(tmp_path / f"{name}.parquet", {"image": [f"{name}.jpg"]})
    save(tmp_path / "sub/0.pq", {"image": ["sub.jpg"]})
    save(tmp_path / "_hidden.parquet", {"image": ["hidden"]})
    save(tmp_path / ".tmp/x.parquet", {"image": ["hidden"]})
    (tmp_path / "README.md").write_text("not a manifest")
    (tmp_path / "1.jpg").write_bytes(b"an image beside its manifest")
    assert column(tmp_path, "id") == ["1.jpg", "10.jpg", "2.jpg", "sub.jpg"]
    assert column(tmp_path / "1*.parquet", "id") == ["1.jpg", "10.jpg"]
    assert column(tmp_path / "1*.parquet", "uri")[0] == str(tmp_path / "1.jpg")


def test_partition_columns_are_carried(tmp_path: Path) -> None:
    table = pa.table({"image": ["a", "b", "c"], "site": ["x", "y", "x"], "year": [2024, 2024, 2025]})
    pq.write_to_dataset(table, tmp_path / "user=me" / "list", partition_cols=["site", "year"])
    opened = source(tmp_path / "user=me" / "list")
    assert opened.carried == ["site", "year"]  # and nothing of the folders above
    assert opened.schema.field("site").type == pa.string()
    rows = sorted((row["id"], row["site"], row["year"]) for row in listed(tmp_path / "user=me" / "list"))
    assert rows == [("a", "x", 2024), ("b", "y", 2024), ("c", "x", 2025)]
    assert set(column(tmp_path / "user=me" / "list", "uri")) == {
        str(tmp_path / "user=me" / "list" / name) for name in "abc"
    }


def test_a_later_file_may_have_more_columns(tmp_path: Path) -> None:
    save(tmp_path / "1.parquet", pa.table({"image": ["a"], "n": pa.array([1], pa.int16())}))
    camera = pa.field("camera", pa.string(), nullable=False)
    later = pa.table(
        [["b"], pa.array([70_000], pa.int32()), ["left"]],
        schema=pa.schema([("image", pa.string()), ("n", pa.int32()), camera]),
    )
    save(tmp_path / "2.parquet", later)
    rows = [(row["id"], row["n"], row["camera"]) for row in listed(tmp_path)]
    assert rows == [("a", 1, None), ("b", 70_000, "left")]


def test_files_whose_columns_contradict_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "1.parquet", {"image": ["a"], "n": [1]})
    save(tmp_path / "2.parquet", {"image": ["b"], "n": ["one"]})
    with pytest.raises(SourceError, match=r"Field n has incompatible types"):
        source(tmp_path)


def test_limit(tmp_path: Path) -> None:
    manifest = save(tmp_path / "list.parquet", {"image": [f"{i}.jpg" for i in range(9)]}, row_group_size=2)
    assert column(manifest, "id", limit=5) == [f"{i}.jpg" for i in range(5)]
    assert len(listed(manifest, limit=100)) == 9


def test_a_manifest_behind_a_uri() -> None:
    folder = locate(f"mock://{uuid.uuid4().hex}/data")
    folder.make_folder()
    sink = pa.BufferOutputStream()
    elsewhere = f"mock://{uuid.uuid4().hex}/d.jpg"
    names = ["a b.jpg", "/c.jpg", elsewhere]
    pq.write_table(pa.table({"image": names}), sink)
    (folder / "list.parquet").write(sink.getvalue().to_pybytes())
    for path in (folder / "list.parquet", folder, folder / "*.parquet"):
        assert column(str(path), "uri") == [f"{folder}/a b.jpg", f"{folder}/c.jpg", elsewhere]
        assert column(str(path), "source_version") == [None] * 3


# -- what the columns mean


def test_uris_are_relative_to_the_manifest_or_root(tmp_path: Path) -> None:
    (tmp_path / "sp ace.jpg").write_bytes(b"123")
    elsewhere = f"mock://{uuid.uuid4().hex}/c.jpg"
    names = ["a.jpg", "/abs/b.jpg", elsewhere, (tmp_path / "sp ace.jpg").as_uri()]
    manifest = save(tmp_path / "lists/x.parquet", {"image": names, "truth": [*names[:3], None]})
    expected = [
        str(tmp_path / "lists/a.jpg"),
        "/abs/b.jpg",
        elsewhere,
        str(tmp_path / "sp ace.jpg"),
    ]
    assert column(manifest, "uri") == expected
    assert column(manifest, "truth") == [*expected[:3], None]
    assert column(manifest, "id") == names
    assert column(manifest, "size") == [None, None, None, 3]
    moved = [str(tmp_path / "a.jpg"), *expected[1:]]
    assert column(manifest, "uri", root=str(tmp_path)) == moved


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array(["x", "y"]), ["x", "y"]),
        (pa.array(["x", "y"]).dictionary_encode(), ["x", "y"]),
        (pa.array(["x", "y"], pa.large_string()), ["x", "y"]),
        (pa.array([7, 8], pa.uint16()), ["7", "8"]),
    ],
)
def test_ids_and_versions_may_be_strings_or_numbers(
    tmp_path: Path, values: pa.Array, expected: list[str]
) -> None:
    manifest = save(tmp_path / "x.parquet", {"image": ["a", "b"], "id": values, "version": values})
    assert column(manifest, "id") == column(manifest, "source_version") == expected
    assert source(manifest).carried == []


def test_the_version_column_outranks_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"12345")
    table = pa.table({"image": ["a.jpg", "a.jpg"], "id": ["1", "2"], "version": ["v2", None]})
    rows = listed(save(tmp_path / "x.parquet", table))
    known = os.stat(tmp_path / "a.jpg")
    of_file = f"5-{known.st_mtime_ns}"  # where the column says nothing, for a null is never done
    assert [(row["source_version"], row["size"]) for row in rows] == [("v2", 5), (of_file, 5)]


def test_bytes_are_addressed_where_they_lie(tmp_path: Path) -> None:
    images = [bytes([index]) * (index * 1000) for index in range(7)]
    labels = [bytes([100 + index]) if index != 3 else None for index in range(7)]
    save(tmp_path / "a.parquet", {"image_bytes": images[:5], "truth_bytes": labels[:5]}, row_group_size=2)
    save(tmp_path / "b.parquet", {"image_bytes": images[5:], "truth_bytes": labels[5:]})
    rows = listed(tmp_path)
    assert [row["id"] for row in rows] == [
        "a.parquet/0/0", "a.parquet/0/1", "a.parquet/1/0", "a.parquet/1/1", "a.parquet/2/0",
        "b.parquet/0/0", "b.parquet/0/1",
    ]  # fmt: skip
    reader, truths = image_reader(), truth_reader()
    assert [reader.read(row["uri"]) for row in rows] == images
    assert [truths.read(row["truth"]) for row in rows if row["id"] != "a.parquet/1/1"] == [
        label for label in labels if label
    ]


def test_bytes_without_a_version_have_their_digest(tmp_path: Path) -> None:
    def versions(images: list[bytes], truths: list[bytes | None]) -> list[tuple[str | None, str | None]]:
        columns = {"id": ["x", "y", "z"], "image_bytes": images, "truth_bytes": truths}
        rows = listed(save(tmp_path / "x.parquet", pa.table(columns), row_group_size=2))
        return [(row["source_version"], row["truth_version"]) for row in rows]

    before = versions([b"1", b"2", b"3"], [b"t", None, b"u"])
    assert before[0][0] == f"blake2b-{hashlib.blake2b(b'1', digest_size=16).hexdigest()}"
    assert len({*before}) == 3 and before[1][1] is None
    after = versions([b"1", b"changed", b"3"], [b"t", b"late", b"corrected"])
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, False]
    assert (before[2][0], before[1][0] == after[1][0]) == (after[2][0], False)


def test_a_truth_has_the_version_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"12345")
    table = pa.table({"image": ["a", "b"], "truth": ["a.png", "gone.png"], "version": ["v1", "v2"]})
    rows = listed(save(tmp_path / "x.parquet", table))
    written = (tmp_path / "a.png").stat().st_mtime_ns
    assert [row["source_version"] for row in rows] == ["v1", "v2"]
    assert rows[0]["truth_version"].startswith(f"5-{written}@")
    assert rows[1]["truth_version"] is None


def test_bytes_may_have_ids_and_versions_and_carry_columns(tmp_path: Path) -> None:
    table = pa.table({"id": ["x", "y"], "image_bytes": [b"1", b"2"], "version": [1, 2], "site": ["n", "s"]})
    rows = listed(save(tmp_path / "x.parquet", table))
    assert [(row["id"], row["source_version"], row["site"]) for row in rows] == [
        ("x", "1", "n"),
        ("y", "2", "s"),
    ]


def test_bytes_behind_a_uri_have_short_ids() -> None:
    folder = locate(f"mock://{uuid.uuid4().hex}/data")
    folder.make_folder()
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"image_bytes": [b"first", b"second"]}), sink)
    (folder / "list.parquet").write(sink.getvalue().to_pybytes())
    rows = listed(str(folder))
    assert [row["id"] for row in rows] == ["list.parquet/0/0", "list.parquet/0/1"]
    assert [image_reader().read(row["uri"]) for row in rows] == [b"first", b"second"]


# -- columns of the user's own

MOMENT = datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=timezone.utc)
OWN = {
    "moment": pa.array([MOMENT, None], pa.timestamp("us", "UTC")),
    "fine": pa.array([1_700_000_000_123_456_789, None], pa.timestamp("ns")),
    "day": pa.array([date(2024, 2, 29), None]),
    "tags": pa.array([["a", None], []], pa.list_(pa.string())),
    "place": pa.array(
        [{"lat": 1.5, "name": "x"}, None], pa.struct([("lat", pa.float32()), ("name", pa.string())])
    ),
    "price": pa.array([Decimal("12345678901234567.89"), None], pa.decimal128(20, 2)),
    "small": pa.array([-7, None], pa.int8()),
    "raw": pa.array([b"\x00\xff", None]),
    "flag": pa.array([True, None]),
    "pairs": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int32())),
    "nothing": pa.nulls(2),
    "_private": pa.array(["kept", None]),
    "__index_level_0__": pa.array([4, 5]),
    "with space.and.dot": pa.array([1.25, None], pa.float16()),
    "nested": pa.array([[{"x": [1]}], None], pa.list_(pa.struct([("x", pa.list_(pa.int16()))]))),
}


def test_own_columns_reach_the_plan_with_their_types_and_values(tmp_path: Path) -> None:
    own = pa.table(OWN)
    manifest = save(tmp_path / "x.parquet", pa.table({"image": ["a", "b"], **OWN}), row_group_size=1)
    plan = planned(source(manifest), tmp_path)
    assert plan.carried.equals(own.schema)
    found = plan.read(0).select(own.schema.names)
    assert found.schema.equals(own.schema)
    assert found.combine_chunks().equals(own.combine_chunks())


def test_own_columns_reach_the_results_with_their_types_and_values(tmp_path: Path) -> None:
    own = pa.table(OWN)
    manifest = save(tmp_path / "x.parquet", pa.table({"image": ["a", "b"], **OWN}))
    plan = planned(source(manifest), tmp_path)
    items = [Item.from_plan(row) for row in plan.read(0).to_pylist()]
    rows = to_table(items, row_schema(plan.carried), Stamp("m", "f", "s", "r"))
    Results(str(tmp_path / "results")).open().commit("p.parquet", rows)
    written = pq.read_table(tmp_path / "results/images/p.parquet")
    assert written.schema.names == [*IMAGES.names, *own.schema.names]
    assert written.select(own.schema.names).equals(own)


def test_dictionaries_are_carried_as_their_values(tmp_path: Path) -> None:
    colours = pa.array(["red", "blue", "red"]).dictionary_encode()
    manifest = save(tmp_path / "x.parquet", {"image": ["a", "b", "c"], "colour": colours}, row_group_size=1)
    plan = planned(source(manifest), tmp_path)
    assert plan.carried.field("colour").type == pa.string()
    assert plan.read(0)["colour"].to_pylist() == ["red", "blue", "red"]


# -- what is refused


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({"path": ["a"], "n": [1]}, r"no column `image` or `image_bytes`; the columns are: path, n"),
        ({"image": ["a"], "image_bytes": [b"a"]}, r"columns image and image_bytes exclude each other"),
        (
            {"image": ["a"], "truth": ["a"], "truth_bytes": [b"a"]},
            r"truth and truth_bytes exclude each other",
        ),
        ({"image": [1]}, r"column `image` holds int64; it must hold paths or URIs as strings"),
        ({"image": [{"width": 1, "path": 2}]}, r"column `image` holds struct<.*it must hold paths or URIs"),
        ({"image": [["a"]]}, r"column `image` holds list<.*it must hold paths or URIs"),
        ({"image": ["a"], "truth": [b"x"]}, r"column `truth` holds binary.*\{truth_bytes: truth\}"),
        ({"image": ["a"], "truth": [0.5]}, r"column `truth` holds double"),
        ({"image": ["a", "b"], "truth": [None, 3]}, r"column `truth` holds int64"),
        ({"image_bytes": ["text"]}, r"column `image_bytes` holds string; it must hold the bytes"),
        ({"image": ["a"], "id": [[1]]}, r"column `id` holds list<.*it must hold strings or numbers"),
    ],
)
def test_columns_that_do_not_fit_are_refused(tmp_path: Path, table: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SourceError, match=rf"x\.parquet: .*{sentence}"):
        source(save(tmp_path / "x.parquet", table))


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ({"image": ["a", "b"], "id": ["1", None]}, 1),
        ({"image_bytes": [b"", b""], "id": ["", "2"]}, 0),
        ({"image": ["a"] * 5, "id": ["1", "2", "3", "4", None]}, 4),
        ({"image": ["a"] * 5, "id": [1.0, 2.0, float("nan"), 4.0, None]}, 2),
    ],
)
def test_empty_ids_are_refused_and_the_row_is_named(tmp_path: Path, table: dict[str, Any], row: int) -> None:
    with pytest.raises(SourceError, match=rf"column `id` has empty values, first in row {row} of x\.parquet"):
        listed(save(tmp_path / "x.parquet", table, row_group_size=2))


def test_duplicate_ids_are_refused_and_some_are_named(tmp_path: Path) -> None:
    names = [f"{index % 30_000:05d}" for index in range(60_000)]
    manifest = save(tmp_path / "x.parquet", {"image": ["a.jpg"] * 60_000, "id": names}, row_group_size=10_000)
    listing = locate(str(tmp_path / "listing.arrow"))
    with pytest.raises(
        SourceError, match=r"same id in several rows: 00000, .*00004 and 29995 more; give every"
    ):
        write_listing(source(manifest).tables(), listing, "stem")
    few = save(tmp_path / "y.parquet", {"image": ["a", "b", "c", "a", "b", "a"]})
    with pytest.raises(SourceError, match=r"several rows: a, b; give"):
        write_listing(source(few).tables(), listing, "stem")


@pytest.mark.parametrize(
    "data", [b"", b"PAR1", b"this is not Parquet at all", b"PAR1" + b"x" * 100 + b"PAR1"]
)
def test_what_is_not_parquet_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.parquet").write_bytes(data)
    with pytest.raises(SourceError, match=r"x\.parquet: cannot be read as Parquet: ") as caught:
        source(tmp_path / "x.parquet")
    assert "\n" not in str(caught.value)


def test_damage_that_shows_late_is_one_sentence_too(tmp_path: Path) -> None:
    names = [uuid.UUID(int=index * 7919).hex for index in range(50_000)]
    manifest = save(tmp_path / "x.parquet", {"image": names}, use_dictionary=False)
    data = bytearray(manifest.read_bytes())
    data[1000:3000] = bytes(2000)
    manifest.write_bytes(data)
    with pytest.raises(SourceError, match=r"x\.parquet: cannot be read as Parquet"):
        listed(manifest)


def test_missing_manifests_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, sentence in (
        ("gone.parquet", "no such manifest"),
        ("gone*.parquet", "no such manifest"),
        ("empty", "this folder holds no Parquet file"),
    ):
        with pytest.raises(SourceError, match=sentence):
            source(tmp_path / path)


@pytest.mark.parametrize("kind", [{"image": pa.string()}, {"image_bytes": pa.binary()}])
def test_an_empty_manifest_lists_nothing(tmp_path: Path, kind: dict[str, pa.DataType]) -> None:
    manifest = save(tmp_path / "x.parquet", pa.schema(kind).empty_table())
    assert listed(manifest) == []
    assert write_listing(source(manifest).tables(), locate(str(tmp_path / "l.arrow")), "stem").images == 0


@pytest.mark.parametrize(("versions", "most"), [({"version": range(8)}, 1_000_000), ({}, 9_000_000)])
def test_listing_holds_no_bytes_and_reads_none_where_a_version_tells(
    tmp_path: Path, versions: dict[str, Any], most: int
) -> None:
    """Where none does, it takes the digest of one image after the other."""
    blob = np.random.default_rng(0).bytes(4_000_000)
    columns = {"image_bytes": [blob] * 8, "n": range(8), **versions}
    manifest = save(tmp_path / "x.parquet", columns, use_dictionary=False)
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    tables = list(source(manifest).tables())
    assert tracemalloc.get_traced_memory()[1] < most
    tracemalloc.stop()
    assert pa.total_allocated_bytes() - before < 1_000_000
    assert tables[0]["n"].to_pylist() == list(range(8))
    assert tables[0].schema.names[: len(LISTING)] == LISTING.names


@pytest.mark.parametrize(
    "uri", ["s3://mykey:hush@bucket/a.jpg", "s3://bucket/a.jpg?access_key=mykey&secret_key=hush"]
)
def test_credentials_in_a_row_fail_that_row_and_are_not_told(tmp_path: Path, uri: str) -> None:
    (tmp_path / "b.jpg").write_bytes(b"12345")
    table = pa.table({"image": [uri, "b.jpg"], "id": ["a", "b"]})
    first, second = listed(save(tmp_path / "x.parquet", table))
    assert (first["status"], second["status"]) == ("denied", None)
    assert "credentials" in first["error"]
    assert "hush" not in str(first) and "mykey" not in str(first)
