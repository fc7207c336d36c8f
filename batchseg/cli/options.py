"""What every command shares: groups of options, and errors as one sentence and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from batchseg.cli.interrupts import INTERRUPTED, interrupts
from batchseg.config.base import METRICS
from batchseg.config.places import without_secrets
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


from_file = options(
    click.option(
        "--config", "config_path", metavar="FILE", help="YAML file; options on the command line win."
    ),
    click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any other setting."),
)


gating = options(
    click.option("--max-failed", metavar="N|P%", help="Exit with 3 when more images than this fail.  [0]"),
    click.option(
        "--min", "minimum", multiple=True, metavar="METRIC=VALUE",
        help=f"Exit with 4 below this value over the data set; one of {', '.join(METRICS)}.",
    ),
)  # fmt: skip


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Only what was given on the command line, so that it hides nothing of the file."""
    cleaned = {key: given(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    return {key: value for key, value in cleaned.items() if value not in (None, (), {})}


def named_values(option: str, pairs: tuple[str, ...]) -> dict[str, float]:
    """NAME=VALUE, given any number of times. Raises ConfigError."""
    values = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        try:
            values[name] = float(text)
        except ValueError as exc:
            raise ConfigError(f"{option} {pair}: must be METRIC=VALUE, such as mean_iou=0.7") from exc
    return values


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
