"""What a worker imports for its first image is not counted as decoding."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import sys
import batchseg.stages.decode as stage
from batchseg.config.base import Limits
from batchseg.stages.item import Item

real, loaded = stage.decode_scaled, {}

def watched(*arguments):
    before = set(sys.modules)
    found = real(*arguments)
    loaded.update(dict.fromkeys(set(sys.modules) - before))
    return found

stage.decode_scaled = watched
row = {"id": "a", "uri": sys.argv[1], "size": 10, "status": None, "error": None}
(item,) = stage.decode(Limits())(iter([Item.from_plan(row)]))
assert item.alive, item.fault
print(sorted({name.partition(".")[0] for name in loaded}), "torch" in sys.modules)
"""


@pytest.mark.parametrize(
    ("name", "torch"), [("day/a/scene_01.jpg", True), ("scene_01.png", False)], ids=["JPEG", "PNG"]
)
def test_the_first_image_pays_no_imports(sample_data: Path, name: str, torch: bool) -> None:
    folder = "images" if torch else "masks/day/a"
    path = next((sample_data / folder).rglob(Path(name).name))
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=sample_data.parent,
    )
    assert done.stdout.strip() == f"[] {torch}"
