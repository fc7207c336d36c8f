"""A disk that fills up in the middle: one sentence, no half file, and the next run completes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

IMAGES = 40
# in a mount namespace of its own, so that it needs no rights and leaves nothing behind
SCRIPT = """
mount -t tmpfs -o size=300k none "$OUT" || exit 99
"$@"; echo "first $?"
ls "$OUT"/masks | grep -c '[.]png$'
find "$OUT" -name '.tmp-*' | wc -l
"$PYTHON" -c "$DECODE" "$OUT"; echo "whole $?"
mount -o remount,size=64m "$OUT"
"$@"; echo "second $?"
"$PYTHON" -m batchseg verify "$OUT"; echo "verify $?"
"""
DECODE = """
import sys
from pathlib import Path
from PIL import Image
for mask in Path(sys.argv[1]).glob("masks/*.png"):
    Image.open(mask).load()
"""


@pytest.mark.slow
def test_no_space_left(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    out.mkdir()
    rng = np.random.default_rng(0)
    for index in range(IMAGES):  # noise: a mask of 20 KB each
        image = rng.integers(0, 256, (400, 400), dtype=np.uint8)
        Image.fromarray(image).save(photos / f"{index:02d}.png")
    words = [sys.executable, "-m", "batchseg", "run", str(photos), "--output", str(out)]
    words += ["--model", "threshold", "--quiet"]
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", SCRIPT, "sh", *words],
        env={**os.environ, "OUT": str(out), "PYTHON": sys.executable, "DECODE": DECODE},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    lines = done.stdout.split("\n")
    assert lines[0] == "first 1", done.stderr
    assert 0 < int(lines[1]) < IMAGES
    assert lines[2:4] == ["0", "whole 0"], done.stderr
    assert "second 0" in lines, done.stderr
    assert "verify 0" in lines, done.stdout
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
