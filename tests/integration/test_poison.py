"""An image that kills its worker costs that image, and nothing else."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pytest
from PIL import Image

import batchseg

pytestmark = [pytest.mark.usefixtures("ray_session")]


LAST = "died 2 times while it worked on this image"


@pytest.mark.parametrize(
    ("kind", "timeout_s", "error"),
    [
        ("raise", None, "the model failed: ValueError: thirteen"),
        ("segfault", None, LAST),
        ("hang", 2.0, LAST),
        ("device", None, f"{LAST}, at last of: CUDA error: device-side assert triggered"),
        ("memory", None, None),
    ],
)
def test_only_the_culprit_fails(
    tmp_path: Path, kind: str, timeout_s: float | None, error: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    (tmp_path / "images").mkdir()
    for index in range(10):
        value = 13 if index == 4 else 200
        Image.fromarray(np.full((8, 12), value, np.uint8)).save(tmp_path / "images" / f"{index}.png")
    config = batchseg.load_config(
        overrides={
            "source": str(tmp_path / "images"),
            "segmentor": {"model": "deadly_model:Deadly", "options": {"kind": kind}, "batch_size": 4},
            "output": str(tmp_path / "results"),
            "limits": {"segment_timeout_s": timeout_s},
        }
    )
    result = batchseg.run(config)
    failed = duckdb.sql(
        f"select id, error from '{tmp_path}/results/images/*.parquet' where status != 'ok'"
    ).fetchall()
    if error is None:
        assert (result.statuses, result.exit_code, failed) == ({"ok": 10}, 0, [])
    else:
        assert (result.statuses, result.exit_code) == ({"model_failed": 1, "ok": 9}, 3)
        ((name, sentence),) = failed
        assert (name, error in sentence) == ("4.png", True), sentence
    masks = [path.read_bytes() for path in (tmp_path / "results" / "masks").iterdir()]
    assert len(masks) == 10 - len(failed)
    assert len(set(masks)) == 1


def test_a_model_that_ends_its_process_while_it_is_loaded_ends_the_run(tmp_path: Path) -> None:
    """Ray would start the worker anew for ever, without a word."""
    (tmp_path / "images").mkdir()
    Image.fromarray(np.full((8, 12), 200, np.uint8)).save(tmp_path / "images" / "a.png")
    lines = ["import os", "class Dead:", "    labels = ['a', 'b']", "    def segment(self, images): ..."]
    (tmp_path / "dead.py").write_text("\n".join([*lines, "    def __init__(self, device): os._exit(1)"]))
    with pytest.raises(batchseg.BatchsegError, match="died 3 times while it loaded the model"):
        batchseg.run(tmp_path / "images", model=f"{tmp_path}/dead.py:Dead", output=tmp_path / "results")
