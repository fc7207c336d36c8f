"""Which fold predicts which image: every one once, groups together, and nothing judged by what it trained."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from batchseg.config.load import read_config
from batchseg.config.train import TrainConfig
from batchseg.errors import ConfigError, SourceError
from batchseg.source.listing import LISTING
from batchseg.source.plan import Listing, write_listing
from batchseg.storage.location import locate
from batchseg.training.fold_rows import Folds, part_folds
from batchseg.training.rows import split_rows

COUNT = 23


def listing(folder: Path, *changes: dict[str, Any], **columns: list[Any]) -> Listing:
    """Images 00 .. 22 with their truth, changed one after another, and columns of a manifest's own."""
    base = [
        {"id": f"{number:02d}", "uri": f"/i/{number:02d}", "truth": f"/t/{number:02d}"}
        for number in range(COUNT)
    ]
    rows = [{**usual, **changed} for usual, changed in zip(base, [*changes, *[{}] * COUNT], strict=False)]
    table = pa.Table.from_pylist(rows, schema=LISTING)
    for name, values in columns.items():
        table = table.append_column(name, pa.array((values * COUNT)[:COUNT]))
    return write_listing([table], locate(str(folder / "listing.arrow")), "full")


def config(**settings: Any) -> TrainConfig:
    base = {"source": "photos", "output": "out", "model": {"mode": "none"}, "folds": 5}
    return read_config(TrainConfig, overrides={**base, **settings})


def parts(folds: Folds, fold: int, given: TrainConfig) -> dict[str, set[str]]:
    table = folds.rows(fold, given).table.to_pylist()
    return {
        part: {row["id"] for row in table if row["split"] == part}
        for part in ("train", "validation", "left_out")
    }


def test_every_image_is_held_out_once_and_then_not_learnt_from(tmp_path: Path) -> None:
    given = config()
    folds = part_folds(given, listing(tmp_path))
    held = [folds.held_out(fold)["id"].to_pylist() for fold in range(1, 6)]
    assert sorted(name for names in held for name in names) == [f"{number:02d}" for number in range(COUNT)]
    assert sorted(map(len, held)) == [4, 4, 5, 5, 5] and folds.count == 5
    for fold, names in enumerate(held, 1):
        found = parts(folds, fold, given)
        assert found["left_out"] == {*names}
        assert len(found["validation"]) == round(0.1 * (COUNT - len(names)))
        assert len(found["train"] | found["validation"]) == COUNT - len(names)
        assert not found["train"] & found["validation"]


def test_groups_are_never_parted(tmp_path: Path) -> None:
    patients = [f"p{number}" for number in (0, 0, 0, 1, 2, 2, 3, 4, 5, 6)]
    given = config(group="patient", folds=3, validation=0.3)
    folds = part_folds(given, listing(tmp_path, patient=patients))
    patient = dict(zip(folds.table["id"].to_pylist(), folds.table["group"].to_pylist(), strict=True))
    assert patient["03"] == "p1"
    for fold in (1, 2, 3):
        found = {part: {patient[name] for name in names} for part, names in parts(folds, fold, given).items()}
        assert found["train"] and found["validation"] and found["left_out"]
        assert sum(map(len, found.values())) == len(set.union(*found.values())) == 7
    # 9, 2, 4, 2, 2, 2 and 2 images of a patient: the first fills a fold
    assert sorted(Counter(folds.table["fold"].to_pylist()).values()) == [6, 8, 9]


def test_the_same_seed_parts_alike_and_another_does_not(tmp_path: Path) -> None:
    first, again, other = (part_folds(config(seed=seed), listing(tmp_path)).table for seed in (1, 1, 2))
    assert first.equals(again) and not first["fold"].equals(other["fold"])


def test_what_cannot_be_used_is_in_no_fold(tmp_path: Path) -> None:
    listed = listing(
        tmp_path,
        {"truth": None},
        {"status": "missing", "error": "no such file"},
        split=["train", "val", "test"],
    )
    given = config()
    folds = part_folds(given, listed)
    rows = {row["id"]: row for row in folds.table.to_pylist()}
    assert rows["00"]["fold"] is None and rows["00"]["reason"] == "it has no ground truth"
    assert rows["01"]["fold"] is None and rows["01"]["reason"] == "no such file"
    assert rows["02"]["fold"] is None and rows["02"]["reason"] == "its column split says test"
    assert rows["03"]["fold"] in range(1, 6) and rows["03"]["reason"] is None
    left = parts(folds, rows["03"]["fold"], given)["left_out"]
    assert {"00", "01", "02", "03"} <= left


def test_folds_are_kept_in_a_file(tmp_path: Path) -> None:
    folds = part_folds(config(), listing(tmp_path))
    folds.write(tmp_path / "folds.parquet")
    assert Folds.read(tmp_path / "folds.parquet").table.equals(folds.table)


def test_prompts_of_an_image_stay_together(tmp_path: Path) -> None:
    rows = [{"uri": f"/i/{number // 3}"} for number in range(COUNT)]
    folds = part_folds(config(folds=4), listing(tmp_path, *rows, prompt=["a", "b", "c"]))
    of_image: dict[str, set[int]] = {}
    for row in folds.table.to_pylist():
        of_image.setdefault(row["uri"], set()).add(row["fold"])
    assert len(of_image) == 8 and all(len(found) == 1 for found in of_image.values())
    assert "prompt" in folds.rows(1, config(folds=4)).train.column_names


@pytest.mark.parametrize(
    ("settings", "columns", "sentence"),
    [
        ({"group": "site"}, {"site": ["a"]}, "the column site has one value for all images, 'a'"),
        (
            {"group": "site"},
            {"site": ["a", "b", "c"]},
            "folds is 5, and there are 3 values of the column",
        ),
        ({"group": "site"}, {"site": ["a", None, "b"]}, "site is empty for 8 images .*, 01 among them"),
        ({"group": "site"}, {"ward": ["a"]}, "group names the column site, and its own columns are ward"),
        ({"group": "site"}, {}, "the column site, and it has no columns of its own, as a manifest may have"),
        ({"group": "tags"}, {"tags": [["x"]]}, "the column tags cannot be read as text"),
        ({}, {"split": ["test"]}, "its column split names no image train or validation"),
    ],
    ids=str,
)
def test_what_cannot_be_parted_says_so(
    tmp_path: Path, settings: dict[str, Any], columns: dict[str, list[Any]], sentence: str
) -> None:
    with pytest.raises(SourceError, match=sentence):
        part_folds(config(**settings), listing(tmp_path, **columns))


def test_more_folds_than_images_are_refused(tmp_path: Path) -> None:
    listed = listing(tmp_path, *[{"truth": None}] * (COUNT - 3))
    with pytest.raises(SourceError, match="folds is 5, and there are 3 images with ground truth"):
        part_folds(config(), listed)
    two = config(folds=2, validation=0.9)
    listed = listing(tmp_path, *[{"truth": None}] * (COUNT - 2))
    with pytest.raises(SourceError, match="fold 1 would have 1 images, all of them for validation, and none"):
        part_folds(two, listed).rows(1, two)


@pytest.mark.parametrize(("key", "value"), [("folds", 3), ("group", "patient")])
def test_globs_part_the_images_themselves(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{key} parts the images, and so do the globs of validation"):
        config(**{"folds": None, key: value}, validation=["a/*"])


@pytest.mark.parametrize("folds", [1, 17])
def test_folds_are_2_to_16(folds: int) -> None:
    with pytest.raises(ConfigError, match="folds"):
        config(folds=folds)


def test_groups_stay_together_in_a_plain_training_too(tmp_path: Path) -> None:
    given = config(folds=None, group="patient", validation=0.3)
    rows = split_rows(given, listing(tmp_path, patient=["a", "b", "c", "d"])).table
    of_part = {
        part: np.flatnonzero(np.array(rows["split"].to_pylist()) == part) % 4
        for part in ("train", "validation")
    }
    assert not {*of_part["train"].tolist()} & {*of_part["validation"].tolist()}
    assert len({*of_part["validation"].tolist()}) == 1


def test_a_fold_that_learns_from_one_group_says_so(tmp_path: Path) -> None:
    given = config(folds=2, group="site")
    folds = part_folds(given, listing(tmp_path, site=["north", "south"]))
    assert folds.rows(1, given).notes == (
        "fold 1 learns from one group alone, so images of it also judge its epochs",
    )
    of_three = part_folds(config(folds=3, group="site"), listing(tmp_path, site=["a", "b", "c"]))
    assert of_three.rows(1, given).notes == ()
