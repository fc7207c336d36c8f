#!/usr/bin/env python3
"""`batchseg night` for schedulers that start a file: run, verify, compare. See jobs/README.md."""

from __future__ import annotations

from batchseg.cli.night import night_command as nightly
from batchseg.cli.start import start

if __name__ == "__main__":
    start(lambda: nightly)
