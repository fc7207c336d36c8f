"""What a person sees of compare: tables on standard output, notes last."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from batchseg.cli.show.console import open_console, printable
from batchseg.cli.show.lines import metric_name, print_lines

if TYPE_CHECKING:
    from batchseg.comparison.compare import CompareReport, Named
    from batchseg.comparison.differences import Difference
    from batchseg.comparison.drift import Shift

CLASSES = 20

Row = tuple[str, ...]


def print_compare(report: CompareReport) -> None:
    """The two sides, every figure with its interval, the classes, the images, and the drift."""
    console = open_console()
    tables = (
        text_table(("", ""), _sides(report)),
        text_table(("metric", "old", "new", "difference", "interval"), _metrics(report)),
        text_table(
            ("class", "iou old", "new", "difference", "interval", "recall", "precision", "f1"),
            _classes(report),
        ),
        text_table((f"changed most: {report.by}", "old", "new", "difference"), _changed(report)),
        text_table(("moved most", "of its area"), ((each.id, _share(each.share)) for each in report.moved)),
        text_table(("predicted", *_AREAS), _drift(report)),
        text_table(("", ""), (("note", note) for note in report.notes)),
    )
    for table in tables:
        if table.row_count:
            print_lines(console, table)
            console.print()


def text_table(columns: Row, rows: Iterable[Row]) -> Table:
    """The first column is text, the others are numbers; without names of columns, all are text."""
    table = Table(show_header=any(columns), box=None, pad_edge=False, header_style="bold")
    for at, name in enumerate(columns):
        number = bool(at and name)
        table.add_column(name, justify="right" if number else "left", no_wrap=number, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def _sides(report: CompareReport) -> Iterator[Row]:
    for name, side in (("old", report.old), ("new", report.new)):
        model = f"; {side.model}" if side.model else ""
        yield name, f"{side.name}: {side.images:,} images, {side.ok:,} of them ok{model}"
    yield "both", f"{report.both:,} images, {report.scored:,} of them with ground truth"
    yield from _named("came", report.came)
    yield from _named("gone", report.gone)
    yield from _named("ok before, and failed now", report.lost)
    yield from _named("failed before, and ok now", report.recovered)


def _named(name: str, named: Named) -> Iterator[Row]:
    hidden = named.count - len(named.examples)
    more = [f"and {hidden:,} more"] if hidden and named.examples else []
    if named.count:
        yield name, f"{named.count:,}  {', '.join([*named.examples, *more])}".rstrip()


def _metrics(report: CompareReport) -> Iterator[Row]:
    for name, change in report.metrics.items():
        if change.old is not None or change.new is not None:
            figures = _figure(change.old), _figure(change.new), _signed(change), _interval(change)
            yield metric_name(name), *figures


def _classes(report: CompareReport) -> Iterator[Row]:
    """The classes that occur, the one that changed most first."""
    known = [
        (name, row)
        for name, row in report.classes.items()
        if row["iou"].old is not None or row["iou"].new is not None
    ]
    known.sort(key=lambda item: -abs(item[1]["iou"].difference or 0))
    for name, row in known[:CLASSES]:
        iou, others = row["iou"], (_signed(row[figure]) for figure in ("recall", "precision", "f1"))
        yield name, _figure(iou.old), _figure(iou.new), _signed(iou), _interval(iou), *others
    if len(known) > CLASSES:
        yield (f"and {len(known) - CLASSES} more; --json has all",)


def _changed(report: CompareReport) -> Iterator[Row]:
    for each in report.changed:
        yield each.id, _figure(each.old), _figure(each.new), f"{each.difference:+.4f}"


_AREAS = ("both: old", "new", "all: old", "new", "old", "came")


def _drift(report: CompareReport) -> Iterator[Row]:
    """Three pairs of columns: images of both, all images, and what came against all old ones."""
    sets = [report.drift[name] for name in ("both", "all", "came")]
    yield "images", *(f"{count:,}" for each in sets for count in (each.old_images, each.new_images))
    shown = sorted(sets[1].areas, key=lambda name: -max(_moved(each.areas.get(name)) for each in sets))
    for name in shown[:CLASSES]:
        yield f"area of {name}", *(cell for each in sets for cell in _shift(each.areas.get(name), _share))
    if len(shown) > CLASSES:
        yield (f"and {len(shown) - CLASSES} more; --json has all",)
    for name in sets[1].certainty:
        cells = [cell for each in sets for cell in _shift(each.certainty[name], _figure)]
        if any(cells):
            yield name, *cells
    yield "drift", *(cell for each in sets for cell in ("", _figure(each.distance)))


def _moved(shift: Shift | None) -> float:
    return abs((shift.new or 0) - (shift.old or 0)) if shift else 0


def _shift(shift: Shift | None, shown: Callable[[float | None], str]) -> Row:
    return (shown(shift.old), shown(shift.new)) if shift else ("", "")


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"


def _signed(change: Difference) -> str:
    return "" if change.difference is None else f"{change.difference:+.4f}"


def _interval(change: Difference) -> str:
    return "" if change.low is None or change.high is None else f"{change.low:+.4f} .. {change.high:+.4f}"
