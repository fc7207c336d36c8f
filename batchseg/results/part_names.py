"""What the parts of the tables are called, and so what in their folders may not be ours."""

from __future__ import annotations

import re

# the run, which sorts by time, and the number of the part within it
_PART = re.compile(r"\d{8}T\d{6}-[0-9a-f]{6}-\d{5,}\.parquet")

MOVE_IT = "move it to another folder, for this one holds the tables of runs alone"
NOT_OURS = f"is no part of these results; {MOVE_IT}"


def is_part_name(name: str) -> bool:
    """Whether a run may have given a file this name."""
    return _PART.fullmatch(name) is not None
