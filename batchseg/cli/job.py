"""What run, config show and evaluate share: the options of a run, and a job that is followed to its end."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import click

from batchseg.cli.options import (
    bands,
    choosing,
    chosen_model,
    finding,
    from_file,
    gating,
    given,
    measuring,
    merged_classes,
    modelling,
    named_values,
    options,
    orientation,
    pairing,
    reading,
    source_settings,
    truth_settings,
)
from batchseg.config.load import load_config
from batchseg.config.run import RunConfig

running = options(
    modelling,
    click.option("--output", metavar="DIR", help="Folder for the results."),
    click.option("--truth", metavar="PATH", help="Folder with the ground truth, or a labelling tool's file."),
    from_file,
    pairing,
    reading,
    click.option("--mask-name", type=click.Choice(["stem", "full"]), help="a.jpg -> a.png, or a.jpg.png."),
    click.option(
        "--format",
        type=click.Choice(["auto", "png", "tiff"]),
        help="Of the masks; auto: TIFF for TIFFs that are read in windows or by their bands.  [auto]",
    ),
    click.option(
        "--probabilities",
        type=click.Choice(["top2", "full"]),
        help="Also keep those of the two best classes of each pixel, or of all; see `batchseg decide`.",
    ),
    click.option("--tile", type=int, metavar="N", help="Look at every picture in windows of N x N pixels."),
    click.option(
        "--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where the model runs.  [auto]"
    ),
    click.option(
        "--precision",
        type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
        help="What it computes in; auto: bf16 where the hardware has it natively, else fp32.  [auto]",
    ),
    click.option("--batch-size", type=int, metavar="N", help="Images per model call."),
    click.option("--actors", type=int, metavar="N", help="Copies of the model."),
    click.option("--classes", metavar="A,B,...", help="Classes by name, for a model that reads them."),
    click.option(
        "--none-below", type=float, metavar="P", help="Pixels whose best class is less probable have none."
    ),
    click.option(
        "--split",
        type=click.Choice(["train", "validation"]),
        help="Only images that trained the model, or judged it.",
    ),
    finding,
    choosing,
    orientation,
    bands,
    measuring,
    click.option(
        "--overlays", is_flag=True, default=None, help="Also write the images with their masks in colour."
    ),
    click.option("--report", is_flag=True, default=None, help="Also make a page to look at, report.html."),
    click.option(
        "--recompute", is_flag=True, default=None, help="Compute again what another model computed."
    ),
    click.option(
        "--candidate",
        is_flag=True,
        default=None,
        help="Compute beside the good results, in candidate/, and compare; see `batchseg promote`.",
    ),
    click.option("--profile", is_flag=True, default=None, help="Write a trace of some images to profiles/."),
    click.option("--prune", is_flag=True, default=None, help="Remove what the source no longer has."),
    click.option(
        "--log-to",
        type=click.Choice(["mlflow", "tensorboard"]),
        help="Log the figures there as well; MLFLOW_TRACKING_URI says where MLflow is.",
    ),
    gating,
    click.option("--address", metavar="RAY", help="Address of a running Ray cluster."),
)


def run_config(source: str | None, flags: dict[str, Any]) -> RunConfig:
    """A RunConfig from the options: the file below, then the flags, then --set."""
    path, settings = flags.pop("config_path"), flags.pop("settings")
    gates = {"max_failed": flags["max_failed"], "minimum": named_values("--min", flags["minimum"])}
    nested = {
        "source": source_settings(source, flags),
        "segmentor": {
            "model": chosen_model(flags["model"]),
            **{name: flags[name] for name in _OF_SEGMENTOR},
        },
        "output": {
            "path": flags["output"],
            **{name: flags[name] for name in ("mask_name", "format", "overlays", "report", "probabilities")},
        },
        "tiling": {"size": flags["tile"]},
        "gates": gates,
        "ray": {"address": flags["address"]},
        "labels": flags["labels"],
        "merge": merged_classes(flags["merge"]),
        "metrics": flags["metrics"],
        **truth_settings(flags),
        "log_to": flags["log_to"],
        "split": flags["split"],
        "recompute": flags["recompute"],
        "candidate": flags["candidate"],
        "prune": flags["prune"],
        "profile": flags["profile"],
    }
    return load_config(path, settings, given(nested))


_OF_SEGMENTOR = ("device", "precision", "batch_size", "actors", "classes", "none_below")


def follow(
    start: Callable[[Any], Any],
    as_json: bool,
    quiet: bool,
    debug: bool,
    *,
    show: Callable[[Any], None] | None = None,
) -> None:
    """Run a job under a progress bar, print its result (or `show` does), and exit with its code."""
    from batchseg.cli.show.run import Progress, print_result
    from batchseg.engine.quiet import native_stderr

    progress = Progress(hidden=quiet or as_json)
    with native_stderr(hidden=not debug), progress.bar:
        result = start(progress)
    if as_json:
        click.echo(json.dumps(result.record, indent=2))
    elif not quiet:
        (show or print_result)(result)
        progress.warn(result.record["warnings"])
    for sentence in result.gates:
        click.echo(f"batchseg: {sentence}", err=True)
    sys.exit(result.exit_code)
