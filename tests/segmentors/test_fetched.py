"""A checkpoint at a URI: fetched once, whole, and only if it is what the driver saw."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from batchseg.config.segmentor import HuggingFaceSegmentor
from batchseg.errors import ModelError
from batchseg.segmentors.huggingface.checkpoint import HuggingFaceCheckpoint
from batchseg.segmentors.huggingface.files import locate_checkpoint
from batchseg.storage.location import Location
from batchseg.storage.location import locate as locate_uri


@pytest.fixture
def remote(sample_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Location:
    """The sample model on Arrow's file system in memory, and a cache of this test's own."""
    monkeypatch.setenv("BATCHSEG_CACHE", str(tmp_path))
    folder = locate_uri(f"mock://{uuid.uuid4().hex}/model")
    folder.make_folder()
    for path in (sample_data / "model").iterdir():
        (folder / path.name).write(path.read_bytes())
    (folder / "optimizer.bin").write(b"not needed")
    return folder


def cached(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "models").iterdir() if path.is_dir()]


def test_it_is_the_same_checkpoint_as_in_a_folder(
    remote: Location, sample_data: Path, tmp_path: Path
) -> None:
    fetched = HuggingFaceCheckpoint.open(HuggingFaceSegmentor(model=str(remote)))
    local = HuggingFaceCheckpoint.open(HuggingFaceSegmentor(model=str(sample_data / "model")))
    assert (fetched.fingerprint, fetched.label_map) == (local.fingerprint, local.label_map)
    (folder,) = cached(tmp_path)
    assert fetched.location.folder() == folder
    expected = {path.name: path.read_bytes() for path in (sample_data / "model").iterdir()}
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == expected


def test_the_language_model_inside_comes_along(remote: Location) -> None:
    (remote / "language_model").make_folder()
    (remote / "language_model" / "config.json").write(b"{}")
    _, folder = locate_checkpoint(HuggingFaceSegmentor(model=str(remote)))
    assert (folder / "language_model" / "config.json").read_bytes() == b"{}"


def test_what_is_cached_is_not_fetched_again(remote: Location) -> None:
    location, folder = locate_checkpoint(HuggingFaceSegmentor(model=str(remote)))
    remote.delete_folder()
    assert location.folder() == folder


def test_changed_files_are_another_version(remote: Location, tmp_path: Path) -> None:
    before, _ = locate_checkpoint(HuggingFaceSegmentor(model=str(remote)))
    (remote / "config.json").write((remote / "config.json").read() + b" ")
    after, _ = locate_checkpoint(HuggingFaceSegmentor(model=str(remote)))
    assert before.fingerprint != after.fingerprint
    assert len(cached(tmp_path)) == 2


def test_a_worker_takes_nothing_but_what_the_driver_saw(
    remote: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location, _ = locate_checkpoint(HuggingFaceSegmentor(model=str(remote)))
    monkeypatch.setenv("BATCHSEG_CACHE", str(tmp_path / "another_node"))
    with pytest.raises(ModelError, match="not those the driver has"):
        replace(location, fingerprint="0" * 64).folder()
    (remote / "config.json").write(b"{}")
    with pytest.raises(ModelError, match="has changed since the job began"):
        location.folder()
    left = [path for path in (tmp_path / "another_node" / "models").iterdir() if path.suffix != ".lock"]
    assert left == []


def test_a_uri_without_a_checkpoint_is_one_sentence(remote: Location) -> None:
    with pytest.raises(ModelError, match="there is no checkpoint at this URI"):
        locate_checkpoint(HuggingFaceSegmentor(model=str(remote / "nowhere")))
    with pytest.raises(ModelError, match="cannot open this location"):
        locate_checkpoint(HuggingFaceSegmentor(model="nope://host/model"))
