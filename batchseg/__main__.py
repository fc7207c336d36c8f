"""`python -m batchseg`, and the console script."""

from __future__ import annotations

from batchseg.cli.group import cli


def main() -> None:
    cli.main(prog_name="batchseg")


if __name__ == "__main__":
    main()
