"""The command line: each command parses, calls one library function, and prints."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from typing import Any

import click
import yaml

from batchseg import __version__
from batchseg.cli_cluster import submit
from batchseg.cli_compare import compare
from batchseg.cli_inspect import doctor, verify
from batchseg.cli_options import given, named_values, options, pairing, reported_errors, reporting
from batchseg.cli_train import digits, train
from batchseg.config import METRICS, EvaluateConfig, Model, RunConfig
from batchseg.config_compare import CompareConfig
from batchseg.config_train import TrainConfig
from batchseg.load import load_config, validate


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="batchseg", prog_name="batchseg")
def cli() -> None:
    """Segment a folder of images, tonight and every night: masks, and numbers you can trust."""


cli.add_command(verify)
cli.add_command(doctor)
cli.add_command(compare)
cli.add_command(digits)
cli.add_command(train)
cli.add_command(submit)


_gates = options(
    click.option("--max-failed", metavar="N|P%", help="Exit with 3 when more images than this fail.  [0]"),
    click.option(
        "--min", "minimum", multiple=True, metavar="METRIC=VALUE",
        help=f"Exit with 4 below this value over the data set; one of {', '.join(METRICS)}.",
    ),
)  # fmt: skip

_running = options(
    click.option(
        "--model", help="Local folder or URI, hub name, torchvision builder, module:Class, or threshold."
    ),
    click.option("--output", metavar="DIR", help="Folder for the results."),
    click.option("--truth", metavar="DIR", help="Folder with the ground truth, mirroring the images."),
    click.option(
        "--config", "config_path", metavar="FILE", help="YAML file; options on the command line win."
    ),
    click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any other setting."),
    pairing,
    click.option("--mask-name", type=click.Choice(["stem", "full"]), help="a.jpg -> a.png, or a.jpg.png."),
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda"])),
    click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"])),
    click.option("--batch-size", type=int, metavar="N", help="Images per model call."),
    click.option("--actors", type=int, metavar="N", help="Copies of the model."),
    click.option("--classes", metavar="A,B,...", help="Other classes by name, for a model with a text head."),
    click.option(
        "--none-below", type=float, metavar="P", help="Pixels whose best class is less probable have none."
    ),
    click.option("--limit", type=int, metavar="N", help="Stop after this many images."),
    click.option(
        "--overlays", is_flag=True, default=None, help="Also write the images with their masks in colour."
    ),
    click.option(
        "--recompute", is_flag=True, default=None, help="Compute again what another model computed."
    ),
    click.option("--profile", is_flag=True, default=None, help="Write a trace of some images to profiles/."),
    click.option("--prune", is_flag=True, default=None, help="Remove what the source no longer has."),
    _gates,
    click.option("--address", metavar="RAY", help="Address of a running Ray cluster."),
)


@cli.command()
@click.argument("source", required=False)
@_running
@click.option("--dry-run", is_flag=True, help="Resolve everything, count the images, start nothing.")
@reporting
def run(source: str | None, dry_run: bool, as_json: bool, quiet: bool, debug: bool, **flags: Any) -> None:
    """Segment the images of SOURCE, a folder or a Parquet manifest.

    What is done already is not computed again: a killed run resumes, a growing folder costs what is new.

    Exit codes: 0 finished, 1 failed, 2 wrong usage, 3 too many images failed, 4 a quality gate failed,
    130 interrupted.
    """
    with reported_errors(debug):
        config = _run_config(source, flags)
        from batchseg.pipeline import dry_run as resolve
        from batchseg.pipeline import run as start

        if dry_run:
            _print_data(resolve(config), as_json)
        else:
            _follow(lambda on_progress: start(config, on_progress), as_json, quiet, debug)


@cli.command()
@click.argument("masks")
@click.argument("truth")
@click.option("--output", metavar="DIR", required=True, help="Folder for the tables.")
@pairing
@click.option("--mask-suffix", metavar="FROM=TO", help="Applied to a mask's stem before --truth-suffix.")
@click.option(
    "--mask-ids",
    type=click.Choice(["class", "truth"]),
    help="Masks hold class ids, or the data set's truth ids.",
)
@_gates
@reporting
def evaluate(as_json: bool, quiet: bool, debug: bool, minimum: tuple[str, ...], **flags: Any) -> None:
    """Score existing MASKS against TRUTH, without a model: the same tables as `run`."""
    with reported_errors(debug):
        gates = given({"max_failed": flags.pop("max_failed"), "minimum": named_values("--min", minimum)})
        config = validate(EvaluateConfig, {**given(flags), "gates": gates}, "the command line")
        from batchseg.analysis.evaluate import evaluate as start

        _follow(lambda on_progress: start(config, on_progress), as_json, quiet, debug, doing="scoring")


_KINDS: dict[str, type[Model]] = {"run": RunConfig, "train": TrainConfig, "compare": CompareConfig}


@cli.group()
def config() -> None:
    """Look at the configuration."""


@config.command()
@click.argument("source", required=False)
@_running
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def show(source: str | None, debug: bool, **flags: Any) -> None:
    """Print the whole effective configuration as YAML."""
    with reported_errors(debug):
        click.echo(
            yaml.safe_dump(_run_config(source, flags).model_dump(mode="json"), sort_keys=False), nl=False
        )


@config.command()
@click.argument("command", type=click.Choice(list(_KINDS)), default="run")
def schema(command: str) -> None:
    """Print the JSON schema of the configuration file of COMMAND, by default that of run."""
    click.echo(json.dumps(_KINDS[command].model_json_schema(), indent=2))


def _run_config(source: str | None, flags: dict[str, Any]) -> RunConfig:
    """A RunConfig from the options: the file below, then the flags, then --set."""
    path, settings = flags.pop("config_path"), flags.pop("settings")
    gates = {"max_failed": flags["max_failed"], "minimum": named_values("--min", flags["minimum"])}
    nested = {
        "source": {"path": source, **{name: flags[name] for name in _OF_SOURCE}},
        "segmentor": {name: flags[name] for name in _OF_SEGMENTOR},
        "output": {"path": flags["output"], "mask_name": flags["mask_name"], "overlays": flags["overlays"]},
        "gates": gates,
        "ray": {"address": flags["address"]},
        "labels": flags["labels"],
        "recompute": flags["recompute"],
        "prune": flags["prune"],
        "profile": flags["profile"],
    }
    return load_config(path, settings, given(nested))


_OF_SOURCE = ("truth", "truth_suffix", "include", "exclude", "limit")
_OF_SEGMENTOR = ("model", "device", "precision", "batch_size", "actors", "classes", "none_below")


def _follow(
    start: Callable[[Any], Any], as_json: bool, quiet: bool, debug: bool, doing: str = "segmenting"
) -> None:
    from batchseg.terminal import Progress, native_stderr, print_result

    # a scheduler ends a job with SIGTERM: what is finished is committed, as after Ctrl-C
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    progress = Progress(hidden=quiet or as_json, doing=doing)
    with native_stderr(hidden=not debug), progress.bar:
        result = start(progress)
    if as_json:
        click.echo(json.dumps(result.record, indent=2))
    elif not quiet:
        print_result(result)
    for sentence in result.gates:
        click.echo(f"batchseg: {sentence}", err=True)
    sys.exit(result.exit_code)


def _print_data(data: dict[str, Any], as_json: bool) -> None:
    click.echo(json.dumps(data, indent=2) if as_json else yaml.safe_dump(data, sort_keys=False), nl=as_json)
