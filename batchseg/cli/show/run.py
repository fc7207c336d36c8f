"""What a person sees: a bar on a terminal, a line now and then elsewhere, and a closing table."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from batchseg.cli.show.console import console, printable

if TYPE_CHECKING:
    from batchseg.results.result import RunResult
    from batchseg.results.tally import Tally

LOG_EVERY_S = 30.0


class Progress:
    """A callback for `run` and `evaluate`: draws how far it is while its `bar` is entered."""

    def __init__(self, hidden: bool = False, doing: str = "segmenting") -> None:
        self.hidden, self.doing = hidden, doing
        self.logged: float | None = None
        self.noted = self.traced = False
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[failed]}"),
            console=console,
            disable=hidden or not console.is_terminal,
        )
        self.task = self.bar.add_task("starting", total=None, rate="", failed="")

    def __call__(self, tally: Tally) -> None:
        self._say_once(tally)
        rate = f"{tally.done / tally.elapsed_s:.1f}/s" if tally.done else "loading the model"
        failed = f"{tally.failed} failed" if tally.failed else ""
        self.bar.update(
            self.task,
            description=self.doing,
            completed=tally.done,
            total=tally.total,
            rate=rate,
            failed=failed,
        )
        if self.bar.disable and not self.hidden:
            self._log(tally, rate, failed)

    def _say_once(self, tally: Tally) -> None:
        if not self.noted and not self.hidden:
            for note in tally.notes:
                console.print(Text(f"note: {printable(note)}"), soft_wrap=True)
        self.noted = True
        if tally.traceback and not self.traced:  # an error, so it is shown even where nothing else is
            lines = map(printable, tally.traceback.rstrip().splitlines())
            console.print(Text("\n".join(["a class of your own failed:", *lines])), soft_wrap=True)
            self.traced = True

    def _log(self, tally: Tally, rate: str, failed: str) -> None:
        if self.logged is None:
            console.print(f"{self.doing} {tally.total} images")
        elif monotonic() - self.logged >= LOG_EVERY_S:
            left_s = (tally.total - tally.done) * tally.elapsed_s / max(1, tally.done)
            parts = [f"{tally.done} / {tally.total}", rate, f"{left_s:.0f} s left", failed]
            console.print("  ".join(part for part in parts if part))
        else:
            return
        self.logged = monotonic()


def print_result(result: RunResult) -> None:
    """The closing table: totals, metrics, the worst images, and where everything lies."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")  # a path that is cut short is of no use
    rate = f", {result.images_per_s:.1f} images/s" if result.images_per_s else ""
    table.add_row("images", f"{result.computed:,} in {result.elapsed_s:.1f} s{rate}")
    table.add_row("", ", ".join(what_was_done(result)))
    if time := where_time_went(result):
        table.add_row("time", time)
    if result.record.get("profile"):
        table.add_row("profile", escape(printable(result.record["profile"])))
    for status, fault in sorted(result.faults.items()):
        table.add_row("failed", f"{result.statuses[status]} {status}, first {escape(printable(fault))}")
    if pruned := result.record["images"]["pruned"]:
        table.add_row("pruned", f"{pruned} that the source does not list")
    for name, value in result.metrics.items():
        if value is not None:
            table.add_row(name, f"{value:.4f}")
    for index, (score, name) in enumerate(result.worst):
        table.add_row("worst (mean IoU)" if index == 0 else "", f"{score:.4f}  {escape(printable(name))}")
    table.add_row("results", escape(printable(result.output)))
    console.print(table)


def what_was_done(result: RunResult) -> Iterator[str]:
    """How many images were segmented, only scored, or done before, and how many have no ground truth."""
    for count, what in (
        (result.segmented, "segmented"),
        (result.scored, "only scored"),
        (result.done_before, "done before"),
        (result.without_truth, "without ground truth"),
    ):
        if count or what == "segmented":
            yield f"{count:,} {what}"


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
