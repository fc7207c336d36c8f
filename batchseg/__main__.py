"""`python -m batchseg`, and the console script."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchseg.cli.start import start

if TYPE_CHECKING:
    import click


def main() -> None:
    start(_load)


def _load() -> click.Command:
    from batchseg.cli.group import cli

    return cli


if __name__ == "__main__":
    main()
