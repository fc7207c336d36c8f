"""An image that kills its worker costs that image, and nothing else."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pytest
from PIL import Image

import batchseg

pytestmark = [pytest.mark.usefixtures("ray_session"), pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize(("kind", "timeout_s"), [("segfault", None), ("hang", 2.0)])
def test_the_culprit_is_found(
    tmp_path: Path, kind: str, timeout_s: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    (tmp_path / "images").mkdir()
    for index in range(10):
        value = 13 if index == 4 else 200
        Image.fromarray(np.full((8, 12), value, np.uint8)).save(tmp_path / "images" / f"{index}.png")
    config = batchseg.load_config(
        overrides={
            "source": str(tmp_path / "images"),
            "segmentor": {"model": "deadly_model:Deadly", "options": {"kind": kind}},
            "output": str(tmp_path / "results"),
            "limits": {"segment_timeout_s": timeout_s},
        }
    )
    result = batchseg.run(config)
    assert (result.statuses, result.exit_code) == ({"model_failed": 1, "ok": 9}, 3)
    ((name, error),) = duckdb.sql(
        f"select id, error from '{tmp_path}/results/images/*.parquet' where status != 'ok'"
    ).fetchall()
    assert name == "4.png"
    assert "died 2 times while it worked on this image" in error
    assert len(list((tmp_path / "results" / "masks").iterdir())) == 9
