"""How to get the figures of the page from the tables: SQL that DuckDB runs in the results folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template

from batchseg.reporting.overview import AVERAGED, Overview

SQL = Path(__file__).parent / "sql"
# columns that were added since are null in older parts
_IMAGES = "read_parquet('images/*.parquet', union_by_name = true)"


@dataclass(frozen=True)
class Query:
    """SQL for some figures of the page.

    A figure is called `prefix`, the values of the first `keys` columns, and the name of its own column, with
    dots between: `class.3.iou`.
    """

    prefix: str
    keys: int
    about: str
    sql: str


def queries_for(overview: Overview) -> list[Query]:
    """Those whose figures are on the page."""
    return [*_of_images(overview), *_of_pixels(overview), *_of_groups(overview), *_beside(overview)]


def _query(prefix: str, name: str, keys: int = 0, **given: object) -> Query:
    """Of the file `name`, whose first line says what it is about."""
    text = Template((SQL / f"{name}.sql").read_text(encoding="utf-8")).substitute(given, images=_IMAGES)
    about, _, sql = text.partition("\n")
    return Query(prefix, keys, about.removeprefix("-- "), sql.strip())


def _of_images(overview: Overview) -> Iterator[Query]:
    yield _query("images", "images")
    if overview.failures:
        yield _query("failure", "failures", 1)
    for name, histogram in overview.histograms.items():
        if histogram.images:
            yield _query(f"mean.{name}", "mean", column=name)
            yield _query(f"histogram.{name}", "histogram", 1, column=name, width=histogram.width)
    averaged = [name for name in AVERAGED if overview.means[name].images]
    if averaged:
        columns = ",\n       ".join(f"avg({name}) AS {name}" for name in averaged)
        yield _query("average", "averages", columns=columns)
    if overview.segmented:
        column = "mean_iou" if overview.scored else "confidence_mean"
        columns = "mean_iou, accuracy, confidence_mean" + (", prompt_iou" if overview.prompted.images else "")
        yield _query("image", "image", 1, column=column, columns=columns)


def _of_pixels(overview: Overview) -> Iterator[Query]:
    if overview.matrix.truth_pixels:
        sums = (SQL / "sums.sql").read_text(encoding="utf-8")
        yield _query("metric", "metrics", sums=sums)
        if overview.prompted.images:
            yield _query("metric", "prompted")
        yield _query("class", "classes", 1, sums=sums)
        yield _query("confusion", "confusion", 2)
    yield _query("area", "areas", 1)


def _of_groups(overview: Overview) -> Iterator[Query]:
    name_of_file = "groups_with_truth" if overview.scored else "groups"
    for name in overview.grouping.useful:
        sql = overview.grouping.sql_of(name)
        yield _query(f"slice.{name}", name_of_file, 1, group=" ".join(name.split()), value=sql)


def _beside(overview: Overview) -> Iterator[Query]:
    if overview.reliability.pixels:
        yield _query("reliability", "reliability", 1)
        yield _query("calibration", "ece")
        yield _query("image", "suspects", 1)
    if overview.probed.means["brier"] is not None:
        yield _query("calibration", "probed")
    if overview.objects.buckets:
        yield _query("size", "sizes", 1)
