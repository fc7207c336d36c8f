"""Files for the tests of sources."""

from __future__ import annotations

import os
from pathlib import Path


def touch(root: Path, *names: str) -> Path:
    """Files that hold their own name."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))
    return root
