"""A segmentor of the user's own is another model when its code, its options or the files they name change."""

from __future__ import annotations

import builtins
import errno
import hashlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from batchseg.config.load import validate_segmentor
from batchseg.errors import ModelError
from batchseg.segmentors.registry import open_checkpoint

MODULE = """class Mine:
    labels = ("background", "cell")

    def __init__(self, device, **options): ...

    def segment(self, images): ...
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command runs: a module, a weights file and a folder of files."""
    (tmp_path / "mine_of_files.py").write_text(MODULE)
    (tmp_path / "weights.bin").write_bytes(b"first")
    (tmp_path / "parts" / "deep").mkdir(parents=True)
    (tmp_path / "parts" / "a.bin").write_bytes(b"a")
    (tmp_path / "parts" / "deep" / "b.bin").write_bytes(b"b")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mine_of_files", raising=False)
    return tmp_path


def fingerprint(**options: Any) -> str:
    return open_checkpoint(
        validate_segmentor({"kind": "custom", "model": "mine_of_files:Mine", "options": options})
    ).fingerprint


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weights": "missing.bin", "threshold": 0.5, "sizes": [1, 2], "more": {"a": None}},
        {"separator": "/", "decimal": ".", "up": "..", "empty": "", "home": "~", "long": "x" * 5000},
        {"odd": "a\0b", "uri": "s3://bucket/weights.bin", "below": "weights.bin/x"},
    ],
)
def test_without_files_it_is_what_it_always_was(options: dict[str, Any]) -> None:
    facts = json.dumps(["mine_of_files:Mine", options, MODULE], sort_keys=True)
    assert fingerprint(**options) == hashlib.sha256(facts.encode()).hexdigest()


@pytest.mark.parametrize("nest", [lambda path: path, lambda path: [{"b": ["x", path]}], Path])
def test_the_content_of_a_file_counts(nest: Any, folder: Path) -> None:
    before = fingerprint(weights=nest("weights.bin"))
    os.utime("weights.bin", (0, 0))
    assert fingerprint(weights=nest("weights.bin")) == before
    (folder / "weights.bin").write_bytes(b"other")
    assert fingerprint(weights=nest("weights.bin")) != before
    (folder / "weights.bin").write_bytes(b"first")
    assert fingerprint(weights=nest("weights.bin")) == before


def test_a_file_may_be_named_from_home_or_by_a_uri(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    for name in ("~/weights.bin", (folder / "weights.bin").as_uri(), str(folder / "weights.bin")):
        (folder / "weights.bin").write_bytes(b"first")
        before = fingerprint(weights=name)
        (folder / "weights.bin").write_bytes(b"other")
        assert fingerprint(weights=name) != before


def test_of_a_folder_names_and_contents_count(folder: Path) -> None:
    seen = {fingerprint(parts="parts")}
    parts = folder / "parts"
    for change in (
        lambda: (parts / "deep" / "b.bin").write_bytes(b"c"),
        lambda: (parts / "deep" / "b.bin").rename(parts / "deep" / "c.bin"),
        lambda: (parts / "new.bin").write_bytes(b""),
        lambda: (parts / "linked").symlink_to(folder / "elsewhere"),
    ):
        (folder / "elsewhere").mkdir(exist_ok=True)
        (folder / "elsewhere" / "d.bin").write_bytes(b"d")
        change()
        found = fingerprint(parts="parts")
        assert found not in seen
        seen.add(found)
    (parts / "__pycache__").mkdir()
    (parts / "__pycache__" / "code.pyc").write_bytes(b"compiled")
    (parts / "circle").symlink_to(parts)
    (parts / "nowhere").symlink_to(parts / "missing")
    os.mkfifo(parts / "pipe")
    assert fingerprint(parts="parts") in seen


def test_a_file_that_cannot_be_read_is_one_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = io.open

    def refusing(file: Any, *arguments: Any, **more: Any) -> Any:
        if str(file).endswith("weights.bin"):  # permissions are nothing to root
            raise PermissionError(errno.EACCES, "Permission denied", str(file))
        return real(file, *arguments, **more)

    for module in (io, builtins):
        monkeypatch.setattr(module, "open", refusing)
    with pytest.raises(ModelError, match=r"segmentor\.options name weights\.bin, but .* cannot be read"):
        fingerprint(weights="weights.bin")
