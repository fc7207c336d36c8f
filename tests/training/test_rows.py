"""Which images trained and which judged: every image of the source is told, and why one is left out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchseg.config.load import read_config
from batchseg.config.train import TrainConfig
from batchseg.errors import SourceError
from batchseg.schema import SPLIT
from batchseg.source.listing import LISTING
from batchseg.source.plan import Listing, write_listing
from batchseg.storage.location import locate
from batchseg.training.rows import Rows, split_rows
from batchseg.training.start import seen_before

COUNT = 20


def listing(
    folder: Path, *rows: dict[str, Any], split: list[Any] | None = None, **columns: pa.Array
) -> Listing:
    """Images 00 .. 19 with their truth, changed by `rows`."""
    base = [
        {"id": f"{number:02d}", "uri": f"/i/{number:02d}", "truth": f"/t/{number:02d}"}
        for number in range(COUNT)
    ]
    table = pa.Table.from_pylist(
        [{**usual, **changed} for usual, changed in zip(base, [*rows, *[{}] * COUNT], strict=False)],
        schema=LISTING,
    )
    if split is not None:
        columns["split"] = pa.array((split * COUNT)[:COUNT])
    for name, values in columns.items():
        table = table.append_column(name, values)
    return write_listing([table], locate(str(folder / "listing.arrow")), "full")


def parted(listed: Listing, **settings: Any) -> Rows:
    base = {"source": "photos", "output": "out", "model": {"mode": "none"}, "validation": 0.25}
    return split_rows(read_config(TrainConfig, overrides={**base, **settings}), listed)


def parts(rows: Rows) -> Counter[str]:
    return Counter(rows.table["split"].to_pylist())


def test_every_image_of_the_source_is_in_one_part(tmp_path: Path) -> None:
    listed = listing(tmp_path, {"truth": None}, {"status": "missing", "error": "no such file"})
    rows = parted(listed, train_fraction=0.5)
    assert rows.table.schema == SPLIT
    assert rows.table["id"].to_pylist() == [f"{number:02d}" for number in range(COUNT)]
    # of 18 with truth a quarter judges, rounded half to even; of the other 14 half are learnt from
    assert parts(rows) == {"train": 7, "validation": 4, "left_out": 9}
    reasons = {row["id"]: row["reason"] for row in rows.table.to_pylist() if row["split"] == "left_out"}
    assert reasons.pop("00") == "it has no ground truth" and reasons.pop("01") == "no such file"
    assert set(reasons.values()) == {"train_fraction is 0.5"} and len(reasons) == 7
    assert sorted(rows.left_out()) == [
        "1 image is left out: it has no ground truth",
        "1 image is left out: no such file",
        "7 images are left out: train_fraction is 0.5",
    ]
    assert rows.train.column_names == rows.validation.column_names == ["id", "uri", "truth"]


def test_the_same_seed_parts_alike_and_another_does_not(tmp_path: Path) -> None:
    listed = listing(tmp_path)
    assert parted(listed, seed=3).table.equals(parted(listed, seed=3).table)
    assert not parted(listed, seed=3).table.equals(parted(listed, seed=4).table)


def test_globs_name_what_judges(tmp_path: Path) -> None:
    assert parted(listing(tmp_path), validation=["1*"]).validation["id"].to_pylist() == [
        f"{number:02d}" for number in range(10, 20)
    ]


@pytest.mark.parametrize("word", ["val", "valid", "validation", "Validation", " VAL "])
def test_a_manifest_says_itself_in_whatever_case(tmp_path: Path, word: str) -> None:
    rows = parted(listing(tmp_path, split=["Train", word, "test", None]))
    assert parts(rows) == {"train": 5, "validation": 5, "left_out": 10}
    assert sorted(rows.left_out()) == [
        "5 images are left out: its column split is empty",
        "5 images are left out: its column split says test",
    ]


@pytest.mark.parametrize(
    ("settings", "split", "sentence"),
    [
        ({"validation": ["x*"]}, None, "no image is for validation: there are 20 images with ground truth"),
        ({}, ["train", "test"], "its column split holds test, train; it must hold train and validation"),
        ({}, ["val"], "no image is left to learn from: its column split holds val"),
    ],
    ids=str,
)
def test_a_part_without_an_image_is_refused(
    tmp_path: Path, settings: dict[str, Any], split: list[str | None] | None, sentence: str
) -> None:
    with pytest.raises(SourceError, match=sentence):
        parted(listing(tmp_path, split=split), **settings)


def test_judges_that_trained_the_model_before_are_counted(tmp_path: Path) -> None:
    known = tmp_path / "known"
    known.mkdir()
    earlier = parted(listing(tmp_path), validation=["1*"])
    pq.write_table(earlier.table, known / "split.parquet")
    config = read_config(TrainConfig, overrides={"source": "photos", "output": "out", "model": str(known)})
    assert list(seen_before(config, earlier)) == []
    (sentence,) = seen_before(config, parted(listing(tmp_path), validation=["0[0-2]", "1[0-4]"]))
    assert sentence.startswith(
        f"3 of the 8 images for validation trained {known}, so figures on them flatter"
    )


# --- groups beside a column split ---


def test_a_group_on_both_sides_of_the_column_split_is_refused(tmp_path: Path) -> None:
    split = ["train", "val", "train", "val", "test"]
    sites = pa.array(["north", "south", "north", "south", "south"] * 4)
    apart = listing(tmp_path, split=split, site=sites)
    assert parts(parted(apart, group="site")) == {"train": 8, "validation": 8, "left_out": 4}
    sites = pa.array(["north", "south", "south", "south", "east"] * 4)
    mixed = listing(tmp_path, split=split, site=sites)
    with pytest.raises(SourceError, match=r"on both sides of the column split \(1, 'south' among them\)"):
        parted(mixed, group="site")


def test_globs_and_a_column_split_are_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="validation gives globs, and the manifest's column split"):
        parted(listing(tmp_path, split=["train", "val"]), validation=["00*"])


@pytest.mark.parametrize(
    "groups",
    [pa.array(["a", "b", " ", "", "c"] * 4), pa.array([1.0, 2.0, float("nan"), float("nan"), 3.0] * 4)],
    ids=["blank", "nan"],
)
def test_a_group_without_a_name_is_none(tmp_path: Path, groups: pa.Array) -> None:
    with pytest.raises(
        SourceError, match="the column site is empty for 8 images with ground truth, 02 among"
    ):
        parted(listing(tmp_path, site=groups), group="site")


@pytest.mark.parametrize("split", [[["train"]], [b"train", b"\xff\xfe"]], ids=["lists", "bytes"])
def test_a_column_split_that_is_no_text_is_refused(tmp_path: Path, split: list[Any]) -> None:
    with pytest.raises(SourceError, match="split: the column split cannot be read as text: "):
        parted(listing(tmp_path, split=split))
