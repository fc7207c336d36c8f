"""What a submitted job takes along of what a job names by its file: a class, a relation."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import batchseg
from batchseg.cluster.baggage import JOB_FILE, pack_job
from batchseg.errors import ConfigError
from batchseg.labels.label_map import LabelMap
from batchseg.labels.relation import with_merge


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


def test_a_relation_goes_along_with_the_label_map_it_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "maps").mkdir()
    (tmp_path / "job").mkdir()
    (tmp_path / "mine.yaml").write_text("classes: [day, night]")
    rows = [
        {"source": "a", "target": "night", "reviewed": True},
        {"source": "b", "target": "day", "reviewed": True},
    ]
    content = {"from": "x", "to": "../mine.yaml", "classes": rows}
    (tmp_path / "maps" / "relation.yaml").write_text(yaml.safe_dump(content))
    job = {"source": "photos", "segmentor": "threshold", "output": "results", "merge": "maps/relation.yaml"}
    pack_job(batchseg.load_config(overrides=job), tmp_path / "job")
    (tmp_path / "mine.yaml").unlink()
    packed = yaml.safe_load((tmp_path / "job" / JOB_FILE).read_text())
    monkeypatch.chdir(tmp_path / "job")
    assert with_merge(LabelMap.from_names("ab"), packed["merge"]).groups == (1, 0)
