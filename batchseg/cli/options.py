"""What every command shares: groups of options, and errors as one sentence and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from batchseg.cli.interrupts import INTERRUPTED, interrupts
from batchseg.config.base import METRICS, PROMPT_METRICS
from batchseg.config.metrics import FURTHER_METRICS
from batchseg.config.places import without_secrets
from batchseg.config.truth import GUARDS
from batchseg.errors import BatchsegError, ConfigError

GOES_ON = "interrupted; what was finished is committed, and the same command goes on from there"

Command = TypeVar("Command", bound=Callable[..., Any])


def options(*group: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one decorator."""

    def decorate(command: Command) -> Command:
        for option in reversed(group):
            command = option(command)
        return command

    return decorate


reporting = options(
    click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output."),
    click.option("--quiet", is_flag=True, help="Print nothing but errors."),
    click.option("--debug", is_flag=True, help="Show the traceback of an error."),
)

pairing = options(
    click.option(
        "--labels", metavar="NAME|FILE", help="ade20k, cityscapes, voc, coco-stuff, or a YAML file."
    ),
    click.option("--truth-suffix", metavar="FROM=TO", help="How a stem ends, and how its truth's does."),
    click.option("--include", multiple=True, metavar="GLOB", help="Only files whose path matches."),
    click.option("--exclude", multiple=True, metavar="GLOB", help="Not the files whose path matches."),
)


modelling = options(
    click.option(
        "--model", multiple=True,
        help="Local folder or URI, hub name, torchvision builder, .onnx file, module:Class or file.py:Class, "
        "threshold; given several times: an ensemble.",
    ),
    click.option(
        "--merge", multiple=True, metavar="NAME=A,B,...|FILE",
        help="Classes that are one: probabilities add; or a reviewed relation, see `batchseg labels map`.",
    ),
)  # fmt: skip

reading = options(
    click.option(
        "--truth-threshold", type=int, metavar="LEVEL",
        help="Two classes: grey levels from here on are the second, as for JPEG masks.",
    ),
    click.option(
        "--truth-values", type=click.Choice(["ids", "colours"]),
        help="What label files hold, where that is not to be found out.",
    ),
    click.option("--accept", multiple=True, metavar="GUARD", help=f"Pass over one of {', '.join(GUARDS)}."),
)  # fmt: skip


orientation = click.option(
    "--orientation",
    type=click.Choice(["exif", "stored"]),
    help="Images upright, as EXIF says, or as stored, as some truths are.  [exif]",
)

bands = click.option(
    "--bands", metavar="N,N,...", help="Bands that the model reads, in its order, such as 4,3,2."
)


follow_links = click.option(
    "--follow-links", is_flag=True, default=None, help="Follow links to folders, and out of the folder."
)

finding = options(
    follow_links,
    click.option(
        "--column", "columns", multiple=True, metavar="OURS=THEIRS",
        help="The manifest's name of a column, such as image=file_name.",
    ),
)  # fmt: skip

choosing = options(
    click.option("--limit", type=int, metavar="N", help="Stop after this many images."),
    click.option("--sample", type=int, metavar="N", help="So many images, drawn at random."),
    click.option("--seed", type=int, metavar="S", help="Another number draws another sample.  [0]"),
)

OF_SOURCE = (
    "truth",
    "truth_suffix",
    "include",
    "exclude",
    "follow_links",
    "limit",
    "sample",
    "seed",
    "orientation",
    "bands",
)

from_file = options(
    click.option(
        "--config", "config_path", metavar="FILE", help="YAML file; options on the command line win."
    ),
    click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any other setting."),
)

measuring = click.option(
    "--metrics",
    metavar="NAME,...",
    help=f"Further metrics, which take their time: {', '.join(FURTHER_METRICS)}.",
)

gating = options(
    click.option("--max-failed", metavar="N|P%", help="Exit with 3 when more images than this fail.  [0]"),
    click.option(
        "--min", "minimum", multiple=True, metavar="METRIC=VALUE",
        help=f"Exit with 4 below this value over the data set; one of {', '.join(METRICS)}; or of one class, "
        f"such as iou.lesion=0.6; or, with prompts, one of {', '.join(PROMPT_METRICS)}.",
    ),
)  # fmt: skip


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Only what was given on the command line, so that it hides nothing of the file."""
    cleaned = {key: given(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    return {key: value for key, value in cleaned.items() if value not in (None, (), {})}


def source_settings(
    path: str | None, flags: dict[str, Any], names: Iterable[str] = OF_SOURCE
) -> dict[str, Any]:
    """The source, by its place and the options for it; takes them out of the flags."""
    columns = named_columns(flags.pop("columns"))
    return {"path": path, "columns": columns, **{name: flags.pop(name) for name in names}}


def truth_settings(flags: dict[str, Any]) -> dict[str, Any]:
    """The settings that the options of `reading` are for; takes them out of the flags."""
    truth = {name: flags.pop(f"truth_{name}") for name in ("threshold", "values")}
    return {"truth": truth, "accept": flags.pop("accept")}


def named_values(option: str, pairs: tuple[str, ...]) -> dict[str, float]:
    """NAME=VALUE, given any number of times. Raises ConfigError."""
    values = {}
    for pair in pairs:
        name, _, text = pair.rpartition("=")  # a class may have = in its name
        try:
            values[name] = float(text)
        except ValueError as exc:
            raise ConfigError(f"{option} {pair}: must be METRIC=VALUE, such as mean_iou=0.7") from exc
    return values


def chosen_model(models: tuple[str, ...]) -> str | list[str] | None:
    """Of --model, given any number of times: the one, or those of an ensemble."""
    return [*models] if len(models) > 1 else next(iter(models), None)


def merged_classes(groups: tuple[str, ...]) -> dict[str, list[str]] | str:
    """NAME=A,B, given any number of times, or the file of a relation once. Raises ConfigError."""
    files = [group for group in groups if _is_relation(group)]
    if files and len(groups) == 1:
        return files[0]
    if files:
        raise ConfigError(
            f"--merge {files[0]}: a relation says of every class where it goes; leave the other --merge out, "
            "or edit the file"
        )
    merge: dict[str, list[str]] = {}
    for group in groups:
        name, _, text = (part.strip() for part in group.partition("="))
        classes = [each.strip() for each in text.split(",")]
        if not name or not all(classes):
            raise ConfigError(
                f"--merge {group}: must be NAME=A,B,..., such as vehicle=car,bus,truck, or the YAML "
                "file of a relation"
            )
        if name in merge:
            raise ConfigError(f"--merge {group}: {name} was given before; name all of its classes at once")
        merge[name] = classes
    return merge


def _is_relation(group: str) -> bool:
    is_yaml = group.lower().endswith((".yaml", ".yml"))
    return is_yaml and ("=" not in group or os.path.isfile(group))


def named_columns(pairs: tuple[str, ...]) -> dict[str, str]:
    """OURS=THEIRS, given any number of times. Raises ConfigError."""
    for pair in pairs:
        if not all(pair.partition("=")):
            raise ConfigError(f"--column {pair}: must be OURS=THEIRS, such as image=file_name")
    return {name: column for name, _, column in (pair.partition("=") for pair in pairs)}


@contextmanager
def reported_errors(debug: bool, interrupted: str = "interrupted") -> Iterator[None]:
    """One sentence and an exit code for every error; a traceback only with --debug.

    `interrupted` is said of an interrupt that has no sentence of its own.
    """
    try:
        yield
    except KeyboardInterrupt as exc:
        click.echo(str(exc) or interrupted, err=True)
        sys.exit(INTERRUPTED)
    except click.ClickException:
        raise
    except Exception as exc:
        if debug:
            raise
        if interrupts.heard:  # an interrupt within Ray may come out as an error of its own
            click.echo(interrupted, err=True)
            sys.exit(INTERRUPTED)
        click.echo(f"batchseg: {without_secrets(_sentence(exc))}", err=True)
        sys.exit(exc.exit_code if isinstance(exc, BatchsegError) else 1)


def _sentence(exc: Exception) -> str:
    if isinstance(exc, BatchsegError):
        return str(exc)
    if isinstance(exc, OSError) and exc.filename is not None and exc.strerror:
        return f"{exc.filename}: {exc.strerror}"
    return f"{type(exc).__name__}: {_first_line(exc)} (--debug shows where)"


def _first_line(exc: Exception) -> str:
    return next((line for line in str(exc).splitlines() if line.strip()), "no message")
