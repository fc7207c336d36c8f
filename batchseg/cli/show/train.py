"""What a person sees of a training: a bar of steps, a line an epoch and a minute, and a closing table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from batchseg.cli.show.console import console
from batchseg.cli.show.lines import print_lines
from batchseg.results.progress import duration

if TYPE_CHECKING:
    from batchseg.training.one import TrainResult

SHOWN = {
    **{"giou": "gIoU", "ciou": "cIoU", "no_target_accuracy": "no-target accuracy"},  # with prompts
    **{"mean_iou": "mean IoU", "accuracy": "accuracy", "recall_macro": "recall", "f1_macro": "F1"},
}
LOG_EVERY_S = 60.0
_SEVERAL = 3  # classes


class TrainProgress:
    """A callback for `train`, drawn while its `bar` is entered."""

    def __init__(self, hidden: bool = False, clock: Callable[[], float] = monotonic) -> None:
        self.hidden, self.clock = hidden, clock
        self.logged = clock()
        self.first: tuple[int, float] | None = None  # a step of this process, and when it was told
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[loss]}"),
            TimeRemainingColumn(),
            console=console,
            disable=hidden or not console.is_terminal,
        )
        self.task = self.bar.add_task("starting", total=None, loss="")

    def __call__(self, news: dict[str, Any]) -> None:
        if "fold" in news:
            self.first = None
        if "step" in news:
            self._draw(news)
        if self.hidden:
            return
        for line in _told(news):
            console.print(line)
        if "epoch" in news:
            self._print_epoch(news)
        elif "step" in news and self.bar.disable and self.clock() - self.logged >= LOG_EVERY_S:
            self._log(news)

    def _draw(self, news: dict[str, Any]) -> None:
        self.first = self.first or (news["step"], self.clock())
        doing = "validating" if "validated" in news else "training"
        self.bar.update(self.task, description=doing, completed=news["step"], total=news["steps"])
        if "loss" in news:
            self.bar.update(self.task, loss=f"loss {news['loss']:.3f}")

    def _print_epoch(self, news: dict[str, Any]) -> None:
        row = news["epoch"]
        figures = "  ".join(
            f"{label} {row[name]:.4f}" for name, label in SHOWN.items() if row.get(name) is not None
        )
        console.print(
            f"epoch {row['epoch']}  step {row['step']} / {news['steps']}  loss {row['loss']:.4f}  {figures}"
            f"{_worst(news.get('classes', []))}"
        )
        self.logged = self.clock()

    def _log(self, news: dict[str, Any]) -> None:
        """A line between epochs, for a log that someone looks at meanwhile."""
        parts = [f"step {news['step']} / {news['steps']}"]
        if "loss" in news:
            parts.append(f"loss {news['loss']:.4f}")
        if "validated" in news:
            parts.append(f"validated {min(news['validated'], news['judges'])} / {news['judges']}")
        if (left := self._left(news["step"], news["steps"])) is not None:
            parts.append(f"{left} left")
        console.print("  ".join(parts))
        self.logged = self.clock()

    def _left(self, step: int, steps: int) -> str | None:
        """Time up to the last step, at the speed of this process so far."""
        if self.first is None or step <= self.first[0]:
            return None
        seconds = (self.clock() - self.first[1]) / (step - self.first[0]) * (steps - step)
        return duration(seconds)


def _worst(classes: list[dict[str, Any]]) -> str:
    """The class of the lowest IoU, where there are more than can be told from the mean."""
    known = [row for row in classes if row["iou"] is not None]
    if len(known) < _SEVERAL:
        return ""
    worst = min(known, key=lambda row: float(row["iou"]))
    return escape(f"  worst {worst['class_name']} {worst['iou']:.4f}")


def _told(news: dict[str, Any]) -> Iterator[str]:
    """What is news of the data, or of a fold."""
    if "fold" in news:
        yield f"fold {news['fold']} of {news['folds']}: {news['held_out']:,} images are held out"
    if "predicted" in news:
        yield _predicted(news["predicted"])
    if "note" in news:
        yield escape(f"note: {news['note']}")
    if "fault" in news:
        yield escape(f"left out: {news['fault']['id']}: {news['fault']['error']}")


def print_training(result: TrainResult) -> None:
    """What came of a training, or of one a fold."""
    if "folds" in result.record:
        _print_folds(result)
    else:
        _print_trained(result)


def _print_folds(result: TrainResult) -> None:
    """A line a fold, and the figures over all images."""
    for fold in result.record["folds"]:
        console.print(_predicted(fold))
    for note in result.record["notes"]:
        console.print(escape(f"note: {note}"))
    table = Table(show_header=False, box=None, pad_edge=False)
    images = sum(fold["images"] for fold in result.record["folds"])
    table.add_row("predicted", f"{images:,} images, each by a model that had not seen it")
    for name, value in result.metrics.items():
        table.add_row(name, f"{value:.4f}" if value is not None else "")
    table.add_row("results", escape(str(Path(result.output) / "results")))
    if result.page is not None:
        table.add_row("report", escape(result.page))
    table.add_row("ensemble", escape(result.model))
    print_lines(console, table)


def _predicted(fold: dict[str, Any]) -> str:
    figures = "  ".join(
        f"{label} {fold['metrics'][name]:.4f}"
        for name, label in SHOWN.items()
        if fold["metrics"].get(name) is not None
    )
    return f"fold {fold['fold']}  {fold['images']:,} images that it left out  {figures}"


def _print_trained(result: TrainResult) -> None:
    """Totals, the best epoch's figures, and where everything lies."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row(
        "trained", f"{result.steps} steps, {result.epochs} epochs; the best is epoch {result.best_epoch}"
    )
    for name, value in result.metrics.items():
        table.add_row(name, f"{value:.4f}" if value is not None else "")
    if result.faults:
        table.add_row("left out", f"{len(result.faults)} images that could not be used")
    table.add_row("history", escape(result.history))
    if result.page is not None:
        table.add_row("report", escape(result.page))
    table.add_row("model", escape(result.model))
    print_lines(console, table)
