"""`batchseg train`: a model of one's own."""

from __future__ import annotations

import json
from typing import Any

import click

from batchseg.cli.options import (
    GOES_ON,
    bands,
    finding,
    given,
    pairing,
    reported_errors,
    reporting,
    source_settings,
)
from batchseg.config.load import read_config
from batchseg.config.train import TrainConfig


@click.command("train")
@click.argument("source", required=False)
@click.option("--truth", metavar="PATH", help="Folder with the ground truth, or a labelling tool's file.")
@click.option("--output", metavar="DIR", help="Folder for the model, its history and what resumes it.")
@click.option("--model", metavar="NAME", help="A semantic model to go on from: local folder or hub name.")
@click.option("--config", "config_path", metavar="FILE", help="YAML file; options on the command line win.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any other setting.")
@pairing
@finding
@bands
@click.option("--validation", metavar="SHARE|GLOB", help="Which images judge, where no column split says so.")
@click.option("--folds", type=int, metavar="N", help="Cross-validation: N trainings.")
@click.option("--group", metavar="COLUMN", help="Manifest column that stays together, such as patient.")
@click.option("--tile", type=int, metavar="N", help="Learn from windows of N x N pixels, as run sees them.")
@click.option(
    "--sampling",
    type=click.Choice(["uniform", "balanced"]),
    help="balanced: rare classes are seen as often as others.  [uniform]",
)
@click.option("--epochs", type=int, metavar="N", help="Times every training image is seen.")
@click.option("--minutes", type=float, metavar="N", help="Time for all of it; the rest is planned to fit.")
@click.option("--batch-size", type=int, metavar="N", help="Images a worker takes at once.")
@click.option("--learning-rate", type=float, metavar="R", help="At its peak.")
@click.option("--seed", type=int, metavar="S", help="Of new weights, order and augmentation.  [0]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where the model learns.  [auto]")
@click.option("--report", is_flag=True, default=None, help="Also make a page to look at, report.html.")
@click.option(
    "--log-to",
    type=click.Choice(["mlflow", "tensorboard"]),
    help="Log each epoch there as well; MLFLOW_TRACKING_URI says where MLflow is.",
)
@click.option("--address", metavar="RAY", help="Address of a running Ray cluster.")
@reporting
def train_command(source: str | None, as_json: bool, quiet: bool, debug: bool, **flags: Any) -> None:
    """Train a model on the images of SOURCE and their ground truth: a folder, or a Parquet manifest.

    Without --model a small convolutional network is planned from the data, and said before it starts.
    OUTPUT/model is then a model for `batchseg run`, and with --folds OUTPUT/folds an ensemble, beside
    OUTPUT/results with a prediction of every image. A stopped training goes on with the same command.
    """
    with reported_errors(debug, GOES_ON):
        config = _train_config(source, flags)
        from batchseg.cli.show.train import TrainProgress, print_training
        from batchseg.engine.quiet import native_stderr
        from batchseg.training.train import train

        progress = TrainProgress(hidden=quiet or as_json)
        with native_stderr(hidden=not debug), progress.bar:
            result = train(config, progress)
        if as_json:
            click.echo(json.dumps(result.record, indent=2))
        elif not quiet:
            print_training(result)


def _train_config(source: str | None, flags: dict[str, Any]) -> TrainConfig:
    nested = {
        "source": source_settings(source, flags, _OF_SOURCE),
        "ray": {"address": flags.pop("address")},
        "tiling": {"size": flags.pop("tile")},
        "validation": _share_or_glob(flags.pop("validation")),
    }
    path, settings = flags.pop("config_path"), flags.pop("settings")
    return read_config(TrainConfig, path, settings, given({**nested, **flags}))


_OF_SOURCE = ("truth", "truth_suffix", "include", "exclude", "follow_links", "bands")


def _share_or_glob(text: str | None) -> float | tuple[str, ...] | None:
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return (text,)
