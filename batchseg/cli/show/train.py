"""What a person sees of a training: a bar of steps, a line an epoch, and a closing table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from batchseg.cli.show.console import console
from batchseg.cli.show.lines import print_lines

if TYPE_CHECKING:
    from batchseg.training.train import TrainResult

SHOWN = {"mean_iou": "mean IoU", "accuracy": "accuracy", "recall_macro": "recall", "f1_macro": "F1"}


class TrainProgress:
    """A callback for `train`, drawn while its `bar` is entered."""

    def __init__(self, hidden: bool = False) -> None:
        self.hidden = hidden
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
        self.bar.update(self.task, description="training", completed=news["step"], total=news["steps"])
        if "loss" in news:
            self.bar.update(self.task, loss=f"loss {news['loss']:.3f}")
        if self.hidden:
            return
        if "fault" in news:
            console.print(escape(f"left out: {news['fault']['id']}: {news['fault']['error']}"))
        if "epoch" in news:
            row = news["epoch"]
            figures = "  ".join(f"{label} {row[name]:.4f}" for name, label in SHOWN.items())
            console.print(
                f"epoch {row['epoch']}  step {row['step']} / {news['steps']}  "
                f"loss {row['loss']:.4f}  {figures}"
            )


def print_trained(result: TrainResult) -> None:
    """Totals, the best epoch's figures, and where everything lies."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row(
        "trained", f"{result.steps} steps, {result.epochs} epochs; the best is epoch {result.best_epoch}"
    )
    for name, value in result.metrics.items():
        table.add_row(name, f"{value:.4f}")
    if result.faults:
        table.add_row("left out", f"{len(result.faults)} images that could not be used")
    table.add_row("history", escape(result.history))
    table.add_row("model", escape(result.model))
    print_lines(console, table)
