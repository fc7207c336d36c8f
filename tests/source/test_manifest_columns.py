"""A manifest's columns: other names, bytes and paths in one, names that clash, cells that are empty."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchseg.config.load import validate
from batchseg.config.run import RunConfig
from batchseg.config.source import ManifestSource
from batchseg.errors import ConfigError, SourceError
from batchseg.schema import IMAGES
from batchseg.source.manifest import Manifest
from batchseg.storage.location import locate
from batchseg.storage.reader import image_reader, truth_reader

HF = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def save(path: Path, table: pa.Table | dict[str, Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), path, **options)
    return path


def listed(path: Path, **options: Any) -> list[dict[str, Any]]:
    tables = list(Manifest(ManifestSource(path=str(path), **options)).tables())
    return pa.concat_tables(tables).to_pylist()


# -- other names


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    table = {
        "file_name": ["a", "b"],
        "key": [1, 2],
        "mask": ["t/a", None],
        "etag": ["x", "y"],
        "site": [3, 4],
    }
    columns = {"image": "file_name", "id": "key", "truth": "mask", "version": "etag"}
    rows = listed(save(tmp_path / "x.parquet", table), columns=columns)
    assert [(row["id"], row["uri"], row["truth"], row["source_version"], row["site"]) for row in rows] == [
        ("1", str(tmp_path / "a"), str(tmp_path / "t/a"), "x", 3),
        ("2", str(tmp_path / "b"), None, "y", 4),
    ]
    assert not {"file_name", "key", "etag"} & {*rows[0]}


def test_bytes_may_have_other_names(tmp_path: Path) -> None:
    table = {"jpg": [b"1", b"2"], "label:#0:1": [b"t", None], "image": ["own", "column"]}
    columns = {"image_bytes": "jpg", "truth_bytes": "label:#0:1"}
    rows = listed(save(tmp_path / "x.parquet", table, row_group_size=1), columns={**columns, "id": "image"})
    assert [(row["id"], row["truth_version"] is None) for row in rows] == [("own", False), ("column", True)]
    assert [image_reader().read(row["uri"]) for row in rows] == [b"1", b"2"]
    assert truth_reader().read(rows[0]["truth"]) == b"t"
    assert rows[1]["truth"] is None


def test_a_name_that_is_mapped_away_is_an_own_column(tmp_path: Path) -> None:
    table = {"image": ["thumb.jpg"], "id": ["their id"], "path": ["a.jpg"], "key": ["k"]}
    (row,) = listed(save(tmp_path / "x.parquet", table), columns={"image": "path", "id": "key"})
    assert (row["id"], row["uri"]) == ("k", str(tmp_path / "a.jpg"))
    assert (row["image"], row["manifest_id"]) == ("thumb.jpg", "their id")


def test_a_mapped_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    manifest = save(tmp_path / "x.parquet", {"path": ["a"], "n": [1]})
    with pytest.raises(
        SourceError, match=r"no column `file`, which source\.columns names for image; the col.*path, n"
    ):
        listed(manifest, columns={"image": "file"})


@pytest.mark.parametrize(
    ("table", "advice"),
    [
        ({"n": [1], "file_name": ["a"]}, r"\{image: file_name\} \(--column image=file_name\)"),
        ({"url": ["a"], "path": ["b"]}, r"--column image=path"),
        ({"Image": ["a"]}, r"--column image=Image"),
        ({"img": [b"x"]}, r"--column image_bytes=img"),
        ({"path": [1], "url": ["a"]}, r"--column image=url"),
        ({"n": [1]}, r"such as \{image: file_name\}"),
    ],
)
def test_the_likeliest_column_is_suggested(tmp_path: Path, table: dict[str, Any], advice: str) -> None:
    with pytest.raises(SourceError, match=rf"no column `image` or `image_bytes`.*{advice}"):
        listed(save(tmp_path / "x.parquet", table))


def test_only_names_of_ours_can_be_mapped() -> None:
    source = {"path": "x.parquet", "columns": {"picture": "p"}}
    with pytest.raises(ConfigError, match=r"source\.columns\.picture"):
        validate(RunConfig, {"source": source, "segmentor": "threshold", "output": "o"}, "the test")


# -- Hugging Face's struct


def test_bytes_else_the_path_and_the_id_from_the_path(tmp_path: Path) -> None:
    (tmp_path / "c.jpg").write_bytes(b"on disk")
    images = [
        {"bytes": b"first", "path": "a.jpg"},
        {"bytes": b"second", "path": None},
        {"bytes": None, "path": "c.jpg"},
        {"bytes": None, "path": None},
        None,
    ]
    truths = [{"bytes": b"t", "path": "t.png"}, None, {"bytes": None, "path": "t/c.png"}, None, None]
    table = pa.table({"image": pa.array(images, HF), "label": pa.array(truths, HF), "n": range(5)})
    rows = listed(save(tmp_path / "x.parquet", table, row_group_size=3), columns={"truth": "label"})
    assert [row["id"] for row in rows] == [
        "a.jpg",
        "x.parquet/0/1",
        "c.jpg",
        "x.parquet/1/0",
        "x.parquet/1/1",
    ]
    assert [row["status"] for row in rows] == [None, None, None, "missing", "missing"]
    assert "names no image in this row" in rows[3]["error"]
    assert [image_reader().read(row["uri"]) for row in rows[:3]] == [b"first", b"second", b"on disk"]
    assert rows[2]["uri"] == str(tmp_path / "c.jpg")
    assert [row["n"] for row in rows] == [*range(5)]
    assert truth_reader().read(rows[0]["truth"]) == b"t"
    assert [row["truth"] for row in rows[1:]] == [None, str(tmp_path / "t/c.png"), None, None]
    assert rows[0]["source_version"].startswith("blake2b-")
    assert rows[2]["source_version"].startswith("7-")
    assert rows[0]["truth_version"].startswith("blake2b-")


@pytest.mark.parametrize(
    "kind", [[("bytes", pa.binary())], [("path", pa.string()), ("bytes", pa.large_binary())]]
)
def test_structs_of_other_shapes(tmp_path: Path, kind: list[Any]) -> None:
    images = pa.array([{"bytes": b"1", "path": "p"}, {"bytes": b"2", "path": "q"}], pa.struct(kind))
    rows = listed(save(tmp_path / "x.parquet", {"id": ["x", "y"], "image": images}))
    assert [image_reader().read(row["uri"]) for row in rows] == [b"1", b"2"]


def test_a_changed_image_in_a_struct_has_another_version_unless_the_manifest_says_so(tmp_path: Path) -> None:
    def versions(data: bytes, **more: Any) -> str:
        images = pa.array([{"bytes": data, "path": "a"}], HF)
        return str(listed(save(tmp_path / "x.parquet", {"image": images, **more}))[0]["source_version"])

    assert versions(b"1") != versions(b"2")
    assert versions(b"1", version=["v"]) == versions(b"2", version=["v"]) == "v"


# -- columns of the user's own


def test_clashing_columns_are_carried_under_a_prefix(tmp_path: Path) -> None:
    own = {
        "width": [640], "Status": ["raw"], "mask": ["m.png"], "ID": [7], "_pixels": [1],
        "manifest_mask": ["x"], "Site": ["a"], "site": ["b"], "SITE": ["c"], "size": [3],
    }  # fmt: skip
    manifest = save(tmp_path / "x.parquet", {"image": ["a"], "id": ["i"], **own})
    opened = Manifest(ManifestSource(path=str(manifest)))
    assert opened.carried == [
        "manifest_width", "manifest_Status", "manifest_manifest_mask", "manifest_ID", "manifest__pixels",
        "manifest_mask", "Site", "manifest_site", "manifest_manifest_SITE", "manifest_size",
    ]  # fmt: skip
    (row,) = listed(manifest)
    assert [row[name] for name in opened.carried] == [value for (value,) in own.values()]
    assert (row["id"], row["status"]) == ("i", None)
    folded = [name.lower() for name in (*IMAGES.names, *opened.carried)]
    assert len({*folded}) == len(folded)


# -- cells that are empty


@pytest.mark.parametrize("column", ["truth", "truth_bytes"])
@pytest.mark.parametrize(
    "values",
    [
        pa.nulls(3),
        pa.nulls(3, pa.string()),
        pa.nulls(3, pa.binary()),
        pa.nulls(3, pa.float64()),
        pa.array([float("nan")] * 3),
        pa.array([float("nan"), None, float("nan")], pa.float32()),
        pa.nulls(3, pa.int64()),
        pa.nulls(3, pa.bool_()),
        pa.nulls(3, pa.list_(pa.string())),
        pa.nulls(3, pa.timestamp("us")),
        pa.nulls(3, HF),
    ],
    ids=str,
)
def test_a_truth_column_without_values_is_no_truth(tmp_path: Path, column: str, values: pa.Array) -> None:
    rows = listed(save(tmp_path / "x.parquet", {"image": ["a", "b", "c"], column: values}, row_group_size=2))
    assert [(row["truth"], row["truth_version"], row["status"]) for row in rows] == [(None, None, None)] * 3
    assert column not in {*rows[0]} - {"truth"}


@pytest.mark.parametrize("empty", [None, ""])
def test_one_empty_image_is_one_row_with_a_status(tmp_path: Path, empty: str | None) -> None:
    for name in "ac":
        (tmp_path / name).write_bytes(b"1")
    manifest = save(tmp_path / "x.parquet", {"image": ["a", empty, "c"], "n": [1, 2, 3]})
    rows = listed(manifest)
    assert [(row["id"], row["status"], row["n"]) for row in rows] == [
        ("a", None, 1), ("x.parquet/0/1", "missing", 2), ("c", None, 3),
    ]  # fmt: skip
    assert rows[1]["source_version"] is None
    with_id = {"image": ["a", empty, "c"], "id": ["1", "2", "3"], "version": ["v"] * 3}
    rows = listed(save(tmp_path / "y.parquet", with_id))
    assert [(row["id"], row["status"], row["source_version"]) for row in rows] == [
        ("1", None, "v"), ("2", "missing", None), ("3", None, "v"),
    ]  # fmt: skip


def test_null_bytes_are_one_row_with_a_status(tmp_path: Path) -> None:
    rows = listed(save(tmp_path / "x.parquet", {"image_bytes": [b"1", None], "truth_bytes": [None, b"t"]}))
    assert [(row["id"], row["status"]) for row in rows] == [
        ("x.parquet/0/0", None), ("x.parquet/0/1", "missing"),
    ]  # fmt: skip
    assert [row["truth"] is None for row in rows] == [True, False]


# -- partitions that the files know as well


@pytest.mark.parametrize("kind", [pa.int64(), pa.int16(), pa.string()])
def test_the_type_and_the_values_of_the_file_win(tmp_path: Path, kind: pa.DataType) -> None:
    for year in (2024, 2025):
        table = pa.table({"image": [f"{year}.jpg"], "year": pa.array([str(year + 1)]).cast(kind)})
        save(tmp_path / f"year={year}" / "x.parquet", table)
    opened = Manifest(ManifestSource(path=str(tmp_path)))
    assert opened.schema.field("year").type == kind
    years = [row["year"] for row in listed(tmp_path)]
    assert years == pa.array(["2025", "2026"]).cast(kind).to_pylist()


def test_files_without_the_column_have_what_their_folder_says(tmp_path: Path) -> None:
    save(tmp_path / "year=2024/site=a%20b" / "x.parquet", {"image": ["a"], "year": [1999]})
    save(tmp_path / "year=2025/site=__HIVE_DEFAULT_PARTITION__" / "x.parquet", {"image": ["b"]})
    rows = [(row["id"], row["year"], row["site"]) for row in listed(tmp_path)]
    assert rows == [("a", 1999, "a b"), ("b", 2025, None)]


def test_a_partition_that_the_type_of_the_files_cannot_hold_is_one_sentence(tmp_path: Path) -> None:
    save(tmp_path / "year=2024" / "x.parquet", {"image": ["a"], "year": [1]})
    save(tmp_path / "year=late" / "x.parquet", {"image": ["b"]})
    with pytest.raises(SourceError, match=r"cannot be read as Parquet: .*late"):
        listed(tmp_path)


def test_an_address_without_a_column_means_the_usual_one(tmp_path: Path) -> None:
    manifest = save(tmp_path / "x.parquet", {"image_bytes": [b"1", b"2"]})
    assert [row["uri"] for row in listed(manifest)] == [f"{locate(str(manifest))}#0:{row}" for row in (0, 1)]
