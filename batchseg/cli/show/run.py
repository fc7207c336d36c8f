"""What a person sees: a bar on a terminal, a line now and then elsewhere, and a closing table."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from batchseg.cli.interrupts import interrupts
from batchseg.cli.show.console import console, printable
from batchseg.cli.show.lines import WIDTH, columns, fact, metric_name
from batchseg.results.progress import ProgressLine, duration, first_line
from batchseg.source.passed_over import counted

if TYPE_CHECKING:
    from batchseg.results.result import RunResult
    from batchseg.results.tally import Tally

LOG_EVERY_S = 30.0
INDENT = len("recall_weighted") + 2
CLASSES = 20
FIGURES = {"iou": "IoU", "precision": "precision", "recall": "recall", "f1": "F1"}


class Progress:
    """A callback for `run` and `evaluate`: draws how far it is while its `bar` is entered."""

    def __init__(self, hidden: bool = False) -> None:
        self.hidden = hidden
        self.logged: float | None = None
        self.warned: set[str] = set()
        self.noted, self.traced = 0, False
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.fields[failed]}"),
            console=console,
            disable=hidden or not console.is_terminal,
        )
        self.task = self.bar.add_task("starting", total=None, rate="", left="", failed="")

    def __call__(self, tally: Tally) -> None:
        interrupts.raise_again()
        self._say_once(tally)
        told = progress_line(tally)
        rate = f"{told.images_per_s:.1f}/s" if told.images_per_s else ""
        waiting = not tally.done and not told.part
        self.bar.update(
            self.task,
            description=" and ".join(tally.work) if told.parts is None else "parts of rasters",
            completed=told.done if told.part is None else told.part,
            total=told.total if told.parts is None else told.parts,
            rate="starting" if waiting else rate,
            left=f"{duration(told.left_s)} left" if told.left_s is not None else "",
            failed=f"{tally.failed} failed" if tally.failed else "",
        )
        if not self.hidden:
            self.warn(tally.warnings)
        if self.bar.disable and not self.hidden:
            self._log(tally)

    def warn(self, warnings: dict[str, str]) -> None:
        """Each as soon as it is known, for a run may take the night."""
        for guard in warnings.keys() - self.warned:
            self.warned.add(guard)
            console.print(warning(guard, warnings[guard]), markup=False, highlight=False, soft_wrap=True)

    def _say_once(self, tally: Tally) -> None:
        if not self.hidden:
            for note in tally.notes[self.noted :]:
                console.print(Text(f"note: {printable(note)}"), soft_wrap=True)
        self.noted = len(tally.notes)
        if tally.traceback and not self.traced:  # an error, so it is shown even where nothing else is
            lines = map(printable, tally.traceback.rstrip().splitlines())
            console.print(Text("\n".join(["a class of your own failed:", *lines])), soft_wrap=True)
            self.traced = True

    def _log(self, tally: Tally) -> None:
        if self.logged is None:
            console.print(first_line(tally.work))
        elif monotonic() - self.logged >= LOG_EVERY_S:
            console.print(str(progress_line(tally)))
        else:
            return
        self.logged = monotonic()


def progress_line(tally: Tally) -> ProgressLine:
    """How far a run is: its images, and while parts of rasters are computed, those."""
    parts = tally.parts
    if parts is None or not parts.is_under_way:
        rate, left_s = tally.recent_images_per_s, tally.left_s
        return ProgressLine(tally.done, tally.total, rate, left_s, tally.failed)
    part, of = parts.kept + parts.done, parts.kept + parts.total
    return ProgressLine(tally.done, tally.total, None, parts.left_s, tally.failed, part, of)


def warning(guard: str, sentence: str) -> str:
    """A guard's sentence for a person, and how to pass over it."""
    return f"warning: {printable(sentence)} (--accept {guard} says that this is meant)"


def print_result(result: RunResult) -> None:
    """The closing table: totals, metrics, classes, the worst images, and where everything lies."""
    width = min(WIDTH, console.width)
    for line in closing_lines(result, width):
        console.print(line, soft_wrap=True, markup=False)


def closing_lines(result: RunResult, width: int = WIDTH) -> Iterator[str]:
    """The lines of the closing table, each at most so wide."""
    for name, text in _facts(result):
        yield from fact(name, text, INDENT, width)
    yield from _classes(result, width)
    if result.worst:
        rows = [
            (image["id"], f"{image['mean_iou']:.4f}", image["status"]) for image in result.record["worst"]
        ]
        yield from columns(("worst images", "mean IoU", "status"), rows, 0, width)
    yield from fact("results", result.output, INDENT, width)
    if result.page:
        yield from fact("page", result.page, INDENT, width)


def _facts(result: RunResult) -> Iterator[tuple[str, str]]:
    rate = f"; {result.images_per_s:.1f} images/s without the start-up" if result.images_per_s else ""
    yield "images", f"{result.computed:,} in {result.elapsed_s:.1f} s{rate}"
    yield "", ", ".join(what_was_done(result))
    if time := where_time_went(result):
        yield "time", time
    if result.record.get("profile"):
        yield "profile", result.record["profile"]
    for status, fault in sorted(result.faults.items()):
        yield "failed", f"{result.statuses[status]} {status}, first {fault}"
    if result.acknowledged:
        yield (
            "acknowledged",
            f"{result.acknowledged:,} that failed, and are not tried again until they change",
        )
    yield from about_the_source(result)
    for name, value in result.metrics.items():
        if value is not None:
            yield metric_name(name), f"{value:.4f}"
    if known := result.calibration:
        figures = {"ECE": known["ece"], "Brier": known["brier"], "NLL": known["nll"]}
        told = ", ".join(f"{name} {value:.4f}" for name, value in figures.items() if value is not None)
        yield "calibration", f"{told}, over {known['pixels']:,} pixels"
    yield from _further_metrics(result.record)


def _further_metrics(record: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """A line for each that was asked for and is known."""
    boundary, objects = record.get("boundary"), record.get("objects")
    if boundary and boundary["boundary_iou"] is not None:
        known = {"boundary IoU": boundary["boundary_iou"], "NSD": boundary["nsd"], "HD95": boundary["hd95"]}
        yield (
            "boundary",
            ", ".join(f"{name} {value:.4g}" for name, value in known.items() if value is not None),
        )
    if objects and objects["panoptic_quality"] is not None:
        sizes = [
            f"{each['recall']:.4g} from {each['pixels_from']:,} pixels on"
            for each in objects["recall_by_size"]
            if each["recall"] is not None
        ]
        recall = f"; recall {', '.join(sizes)}" if sizes else ""
        false = f"{objects['false_positives_per_image']:.3g} false positives an image"
        yield "objects", f"PQ {objects['panoptic_quality']:.4g}{recall}; {false}"


def _classes(result: RunResult, width: int) -> Iterator[str]:
    """The classes that occur, the worst first; the others of many are counted."""
    known = sorted(
        (row for row in result.classes if row["iou"] is not None),
        key=lambda row: (row["iou"], row["class_id"]),
    )
    if not known:
        return
    heads = ("class", *(FIGURES.values()), "support")
    shown = [
        (row["class_name"], *(_figure(row[name]) for name in FIGURES), f"{row['support']:,}")
        for row in known[:CLASSES]
    ]
    yield from columns(heads, shown, 0, width)
    if len(known) > CLASSES:
        yield f"and {len(known) - CLASSES} more with a higher IoU; classes.parquet has all"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def what_was_done(result: RunResult) -> Iterator[str]:
    """How many images were segmented, only scored, or done before, and how many have no ground truth."""
    for count, what in (
        (result.segmented, "segmented"),
        (result.record["images"]["decided"], "decided again"),
        (result.scored, "only scored"),
        (result.done_before, "done before"),
        (result.without_truth, "without ground truth"),
    ):
        if count or what == "segmented":
            yield f"{count:,} {what}"


def about_the_source(result: RunResult) -> Iterator[tuple[str, str]]:
    """What is to be said of images beyond those that were computed."""
    if known := what_the_model_knows(result):
        yield "split", known
    if between := result.record["truth_between"]:
        yield "truth", f"{between:,} grey pixels, neither black nor white, were thresholded"
    images = result.record["images"]
    if images["full_names"]:
        yield "full names", f"of {images['full_names']:,} masks, for another image has the short one"
    if images["passed_over"]:
        yield "passed over", counted(images["passed_over"])
    if images["pruned"]:
        yield "pruned", f"{images['pruned']} that the source does not list"
    if images["repainted"]:
        yield "palettes", f"of {images['repainted']:,} masks rewritten; overlays keep the old colours"


def what_the_model_knows(result: RunResult) -> str:
    """One line on images that the model's training had; nothing where none is known to be of it."""
    counts, asked = result.record["split"], result.record["config"].get("split")
    if asked is not None:
        others = [f"{number:,} {name}" for name, number in counts.items() if name != asked]
        return f"{asked} alone" + (f"; not taken: {', '.join(others)}" if others else "")
    if not counts:
        return ""
    seen, judged = counts.get("train", 0), counts.get("validation", 0)
    return f"{seen:,} of the images trained the model and {judged:,} chose it; --split takes either alone"


def where_time_went(result: RunResult) -> str:
    """One line: how long it took to start, how fast it then went, and what an image cost in which stage."""
    timings = result.record["timings"]
    if not result.computed or timings["first_row_s"] is None:
        return ""
    parts = [f"first image after {timings['first_row_s']:.1f} s"]
    if timings["steady_images_per_s"] is not None:
        busy = f"actors {timings['actor_utilisation']:.0%} busy"
        parts.append(f"then {timings['steady_images_per_s']:.1f} images/s, {busy}")
    costs = sorted(timings["stage_s"].items(), key=lambda cost: -cost[1])
    shares = ", ".join(f"{stage} {1000 * spent / result.computed:.1f}" for stage, spent in costs)
    return "; ".join([*parts, f"ms an image: {shares}"] if shares else parts)
