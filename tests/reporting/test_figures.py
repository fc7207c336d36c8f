"""Every figure on a page against the tables: by the page's own SQL in DuckDB, scikit-learn and numpy."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import f1_score, jaccard_score, recall_score

import batchseg
from batchseg.comparison.bootstrap import resampled
from batchseg.comparison.sparse_counts import SparseCounts, class_sums
from batchseg.metrics.calibration import CalibrationSums
from batchseg.reporting.grouping import Grouping
from batchseg.reporting.overview import overview_of
from batchseg.reporting.shown import Change, image_groups
from batchseg.reporting.slices import slices_of
from batchseg.results.folder import Results
from batchseg.results.opened import OpenedResults
from batchseg.results.tables import as_tables, write_table
from batchseg.schema import IMAGES
from batchseg.stages.write import row_schema
from tests.report_pages import CARRIED, NAMES, ReadPage, commit, rich_rows, write_rich
from tests.written_results import finish, row_of

RUN = "20260101T000000-aaaaaa"
# what no table holds: intervals by resampling, and the comparison
NOT_OF_TABLES = ("compared.", "drift.")


def page_of(folder: Path) -> ReadPage:
    return ReadPage.of(batchseg.report(folder, images=0).path)


def by_query(folder: Path, page: ReadPage) -> dict[str, float]:
    """What the SQL on the page answers, by the names of the figures."""
    found: dict[str, float] = {}
    with duckdb.connect() as connection:
        connection.execute(f"SET file_search_path = '{folder}'; SET TimeZone = 'Asia/Tokyo'")
        for prefix, keys, sql in page.queries:
            answer = connection.sql(sql)
            for row in answer.fetchall():
                before = [prefix, *("" if key is None else str(key) for key in row[:keys])]
                for column, value in zip(answer.columns[keys:], row[keys:], strict=True):
                    if value is not None:
                        found[".".join([*before, column])] = float(value)
    return found


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rich(tmp_path_factory.mktemp("rich") / "results")


@pytest.fixture(scope="module")
def rich_page(rich: Path) -> ReadPage:
    return page_of(rich)


def test_every_figure_is_that_of_its_query(rich: Path, rich_page: ReadPage) -> None:
    answers = by_query(rich, rich_page)
    shown = {name for name in rich_page.figures if not name.startswith(NOT_OF_TABLES)}
    assert shown - answers.keys() == set()
    for name in shown:
        assert rich_page.figure(name) == pytest.approx(answers[name], rel=1e-12, abs=1e-15), name
    sections = {name.partition(".")[0] for name in shown}
    assert sections == {
        "images", "failure", "metric", "class", "area", "confusion", "slice", "histogram", "mean", "average",
        "image", "calibration", "reliability", "size",
    }  # fmt: skip


def test_every_query_answers_for_a_figure(rich: Path, rich_page: ReadPage) -> None:
    for prefix, _, sql in rich_page.queries:
        assert any(name.startswith(f"{prefix}.") for name in rich_page.figures), sql


def test_every_column_that_groups_is_there_once(rich_page: ReadPage) -> None:
    columns = {name.split(".")[1] for name in rich_page.figures if name.startswith("slice.")}
    assert columns == {"camera", "lens", "wet", "taken", "folder"}
    assert rich_page.figure("slice.camera.b.c.images") == 13
    assert rich_page.figure("slice.wet.true.images") == 20
    assert rich_page.figure("slice.lens.2.5.scored") == 20
    assert rich_page.figure("slice.taken.2026-01-04.images") == 10  # in UTC, whatever DuckDB's zone


def test_metrics_are_scikit_learns(tmp_path: Path) -> None:
    rng, maps = np.random.default_rng(1), {}
    for number in range(6):
        truth = rng.integers(0, 5, (12, 10)).astype(np.uint8)
        predicted = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(0, 4, truth.shape))
        maps[f"{number}.png"] = (predicted.astype(np.uint8), truth)
    rows = [row_of(name, each, RUN, 4) for name, each in maps.items()]
    finish(commit(tmp_path / "r", rows), RUN, len(rows), NAMES)
    page = page_of(tmp_path / "r")
    predicted, truth = (np.concatenate([each[side].ravel() for each in maps.values()]) for side in (0, 1))
    predicted, truth = predicted[truth < 4], truth[truth < 4]
    given = (truth, predicted)
    how = {"labels": list(range(4)), "zero_division": 0}
    for name, score, average in (
        ("mean_iou", jaccard_score, "macro"),
        ("f1_weighted", f1_score, "weighted"),
        ("recall_macro", recall_score, "macro"),
    ):
        assert page.figure(f"metric.{name}") == pytest.approx(score(*given, average=average, **how))
    for label, iou in enumerate(jaccard_score(*given, average=None, **how)):
        assert page.figure(f"class.{label}.iou") == pytest.approx(iou)
    assert page.figure("images.total") == 6


def test_probes_tell_how_far_confidence_can_be_trusted(rich_page: ReadPage) -> None:
    pixels, confidence, right = Counter[int](), Counter[int](), Counter[int]()
    for row in rich_rows():
        for probe in row.get("_calibration", ()):
            pixels[probe["bin"]] += probe["pixels"]
            confidence[probe["bin"]] += probe["top_sum"]
            right[probe["bin"]] += probe["pixels"] * (probe["truth"] == probe["predicted"])
    total = sum(pixels.values())
    ece = sum(abs(confidence[each] - right[each]) for each in pixels) / total
    assert rich_page.figure("calibration.ece") == pytest.approx(ece)
    for each in pixels:
        assert rich_page.figure(f"reliability.{each}.accuracy") == pytest.approx(right[each] / pixels[each])
    for name in ("brier", "nll"):  # all images have as many probed pixels
        known = [row[name] for row in rich_rows() if row.get(name) is not None]
        assert rich_page.figure(f"calibration.{name}") == pytest.approx(np.mean(known))


def test_objects_by_their_size(rich_page: ReadPage) -> None:
    """Buckets at powers of four: 4^6 - 1 is in the one below."""
    ious: dict[int, list[float]] = {}
    for row in rich_rows():
        for each in row.get("_objects", ()):
            if each["side"] == "truth":
                bucket = next(number for number in range(16) if each["area"] < 4 ** (number + 1))
                ious.setdefault(bucket, []).append(each["iou"])
    assert math.log(4**6, 4) == 6.0
    assert {name.split(".")[1] for name in rich_page.figures if name.startswith("size.")} == set(
        map(str, ious)
    )
    for bucket, values in ious.items():
        assert rich_page.figure(f"size.{bucket}.mean_iou") == pytest.approx(np.mean(values))
        assert rich_page.figure(f"size.{bucket}.recall") == pytest.approx(np.mean(np.array(values) > 0.5))


def test_the_images_that_stand_out(rich: Path) -> None:
    """Each is shown once, for the first of the reasons that there are to show it."""
    results = Results(str(rich))
    asked = {"most": 3, "wished": ["day/broken.png", "day/004.png"]}
    kept, nothing = OpenedResults(results).kept, CalibrationSums.zeros()
    overview = overview_of(results, kept, nothing, len(NAMES), **asked)
    found = image_groups(overview, None, {"day/broken.png": Change(moved=0.5)}, ["day/004.png"])
    expected = {"changed": ["day/broken.png"], "suspect": ["day/004.png"]}
    for kind, figure in (("worst", "mean_iou"), ("uncertain", "confidence_mean")):
        known = {row["id"]: row[figure] for row in rich_rows() if row.get(figure) is not None}
        expected[kind] = sorted(known, key=known.__getitem__)[:3]
    for group in found:
        ids = {image.row["id"] for image in [*group.shown, *group.elsewhere]}
        assert ids == set(expected.get(group.kind, ids)) and len(ids) <= 3
    assert [group.kind for group in found] == ["worst", "changed", "suspect", "uncertain", "chance"]
    shown = [image.row["id"] for group in found for image in group.shown]
    assert len(shown) == len({*shown})
    assert shown[:3] == expected["worst"]


def test_failures_by_cause(rich_page: ReadPage) -> None:
    for cause in ("unreadable", "missing", "truth_mismatch"):
        assert rich_page.figure(f"failure.{cause}.images") == 1
    for sentence in ("PNG: the data end", "there is no such file", "other size"):
        assert sentence in rich_page.text


def test_small_groups_are_marked_and_have_an_interval(rich_page: ReadPage) -> None:
    scored = [name for name in rich_page.figures if name.startswith("slice.") and name.endswith(".scored")]
    assert all(rich_page.figure(name) < 30 for name in scored)
    assert len(rich_page.all("span", **{"class": "tag"})) == len(scored) > 0
    labels = [str(each.get("aria-label")) for each in rich_page.all("svg", role="img")]
    intervals = [label.split(" to ") for label in labels if " to " in label and "bins" not in label]
    assert intervals
    for low, high in intervals:
        assert 0 <= float(low) <= float(high) <= 1


def test_a_later_row_of_an_image_counts_alone(tmp_path: Path) -> None:
    """A run that was cut off may have left two."""
    truth = np.zeros((4, 4), np.uint8)
    first = row_of("a.png", (np.ones((4, 4), np.uint8), truth), RUN, 4)
    again = row_of("a.png", (truth, truth), "20260102T000000-aaaaaa", 4)
    results = commit(tmp_path / "r", [first])
    finish(results, RUN, 1, NAMES)
    tables = as_tables(pa.Table.from_pylist([again], schema=row_schema(CARRIED)))
    for kind, table in tables.items():
        write_table(results.root / kind / "20260102T000000-aaaaaa-00000.parquet", table)
    page = page_of(tmp_path / "r")
    assert (page.figure("images.total"), page.figure("metric.accuracy")) == (1, 1)


def test_many_classes_stay_readable(tmp_path: Path) -> None:
    names = [f"class {number}" for number in range(150)]
    rng, rows = np.random.default_rng(2), []
    for number in range(3):
        truth = rng.integers(0, 150, (60, 60)).astype(np.uint8)
        predicted = np.where(rng.random(truth.shape) < 0.8, truth, rng.integers(0, 150, truth.shape))
        predicted[truth == 140] = 3  # the largest confusion, of a class that is not large
        rows.append(row_of(f"{number}.png", (predicted.astype(np.uint8), truth), RUN, 150))
    finish(commit(tmp_path / "r", rows, names=names), RUN, 3, names)
    page = page_of(tmp_path / "r")
    assert "24 of 150 classes are shown" in page.text
    assert page.figure("confusion.140.3.share") == 1
    assert len(page.all("table", **{"class": "matrix"})) == 1


def test_old_tables_leave_sections_out(tmp_path: Path) -> None:
    """A page on certainty alone where there is no truth, no probes and no objects."""
    rows = []
    for number in range(3):
        labels = np.full((4, 4), number, np.uint8)
        rows.append(row_of(f"{number}.png", (labels, None), RUN, 4, confidence_mean=0.9))
    finish(commit(tmp_path / "r", rows), RUN, 3, NAMES)
    page = page_of(tmp_path / "r")
    sections = [str(each["id"]) for each in page.all("section")]
    assert sections == ["totals", "images", "classes", "distributions", "run", "sql"]
    assert "none has truth, mean confidence 0.900" in page.text
    assert not any(name.startswith(("metric.", "class.", "confusion.")) for name in page.figures)
    assert page.figure("area.1.share") == pytest.approx(1 / 3)


@pytest.mark.parametrize("images", [60, 3000])
def test_the_interval_is_that_of_the_bootstrap(images: int) -> None:
    """Against the resampling of single images that `batchseg compare` does; many are drawn in blocks."""
    rng = np.random.default_rng(3)
    support = rng.integers(50, 200, images * 2)
    right = (support * rng.beta(6, 2, images * 2)).astype(np.int64)
    image, truth = np.arange(images).repeat(2), np.tile([0, 1], images)
    entries = (np.tile(image, 2), np.tile(truth, 2), np.concatenate([truth, 1 - truth]))
    counts = SparseCounts.from_entries(*entries, np.concatenate([right, support - right]), (images, 2))
    (sums,) = resampled([counts], 2000, 7)
    expected = np.quantile(class_sums(sums).averages()["mean_iou"], [0.025, 0.975])
    table = pa.table(
        {
            "id": [f"{at}" for at in range(images)],
            "has_truth": [True] * images,
            "status": ["ok"] * images,
            "confidence_mean": [0.5] * images,
            "site": ["here"] * (images - 1) + ["there"],
        }
    )
    grouping = Grouping(2)
    grouping.add(table, counts)
    (column,) = slices_of(grouping)
    here, there = column.slices
    assert (here.is_small, there.is_small) == (False, True)
    assert np.array([here.low, here.high]) == pytest.approx(expected, abs=0.15 * np.ptp(expected))


@pytest.mark.parametrize("with_truth", [True, False])
def test_columns_of_any_name_make_groups(tmp_path: Path, with_truth: bool) -> None:
    """Also those that the SQL uses itself, and those that are no names in SQL or HTML."""
    names = ("value", "bin", "folder", 'a"b; <i>', "status 2", "$images")
    carried = pa.schema([(name, pa.string()) for name in names])
    rows, rng = [], np.random.default_rng(4)
    for number in range(12):
        truth = rng.integers(0, 4, (5, 5)).astype(np.uint8)
        maps = (np.where(rng.random((5, 5)) < 0.5, truth, 0).astype(np.uint8), truth if with_truth else None)
        values = {name: f"{name[0]}{number % (place + 2)}" for place, name in enumerate(names)}
        confidence = float(rng.random())
        rows.append(row_of(f"{number % 2}/{number}", maps, RUN, 4, confidence_mean=confidence, **values))
    finish(commit(tmp_path / "r", rows, carried=carried), RUN, 12, NAMES)
    page = page_of(tmp_path / "r")
    answers = by_query(tmp_path / "r", page)
    shown = {name: page.figure(name) for name in page.figures if name.startswith("slice.")}
    assert {name.split(".")[1] for name in shown} == {*names, "folder of the id"}
    assert shown == pytest.approx({name: answers[name] for name in shown}, rel=1e-12)
    assert not page.all("i")


def test_tables_without_the_latest_columns(tmp_path: Path) -> None:
    """As the results of last month are: the SQL names no column that they lack."""
    folder = write_rich(tmp_path / "r", 10)
    for kind in ("calibration", "objects"):
        shutil.rmtree(folder / kind)
    names = IMAGES.names[: IMAGES.names.index("probed_pixels")]
    for part in (folder / "images").iterdir():
        table = pq.read_table(part)
        pq.write_table(table.select([*names, *CARRIED.names]), part)
    page = page_of(folder)
    answers = by_query(folder, page)
    for name in page.figures:
        assert page.figure(name) == pytest.approx(answers[name], rel=1e-12, abs=1e-15), name
    assert page.figure("metric.mean_iou") > 0
    assert not any(name.startswith(("calibration", "size", "average")) for name in page.figures)
