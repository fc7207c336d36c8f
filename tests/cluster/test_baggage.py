"""What a submitted job takes along of a class that is named by its file."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import batchseg
from batchseg.cluster.baggage import JOB_FILE, pack_job
from batchseg.errors import ConfigError


def test_the_file_goes_along_and_is_named_from_the_jobs_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep").mkdir()
    (tmp_path / "job").mkdir()
    (tmp_path / "deep" / "mine.py").write_text("class Mine: ...")
    job = {"source": "photos", "segmentor": "deep/mine.py:Mine", "output": "results"}
    pack_job(batchseg.load_config(overrides=job), tmp_path / "job")
    assert (tmp_path / "job" / "mine.py").read_text() == "class Mine: ..."
    packed = yaml.safe_load((tmp_path / "job" / JOB_FILE).read_text())
    assert packed["segmentor"]["model"] == "mine.py:Mine"
    with pytest.raises(ConfigError, match=r"there is no file gone\.py"):
        pack_job(batchseg.load_config(overrides={**job, "segmentor": "gone.py:Mine"}), tmp_path / "job")
