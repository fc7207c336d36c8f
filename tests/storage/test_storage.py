"""Locations: local paths and URIs look alike, and a file is written whole or not at all."""

from __future__ import annotations

import os
import pickle
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyarrow import fs

from batchseg.errors import ConfigError
from batchseg.storage.location import Location, locate

S3 = "s3://bucket/dir?endpoint_override=127.0.0.1:1&scheme=http&region=eu-west-1"


@pytest.fixture
def remote() -> Location:
    """A folder on Arrow's file system in memory, one a test."""
    folder = locate(f"mock://{uuid.uuid4().hex}/data")
    folder.make_folder()
    return folder


@pytest.fixture(params=["local", "remote"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Location]:
    yield request.getfixturevalue("remote") if request.param == "remote" else locate(str(tmp_path))


def test_what_is_written_is_read(folder: Location) -> None:
    place = folder / "a b%20?.bin"
    place.write(b"\x00\xff")
    assert (place.read(), place.exists(), place.is_folder()) == (b"\x00\xff", True, False)
    place.write(b"new")
    assert place.read() == b"new"
    assert [file.path for file in folder.files()] == [place.path]
    place.delete()
    place.delete()  # twice is no fault
    assert not place.exists()
    with pytest.raises(FileNotFoundError):
        place.read()


def test_files_are_the_folder_s_own_sorted_by_name(folder: Location) -> None:
    (folder / "sub").make_folder()
    for name in ("b.parquet", "a.parquet", "c.txt", "sub/d.parquet"):
        (folder / name).write(b"")
    assert [file.name for file in folder.files(".parquet")] == ["a.parquet", "b.parquet"]
    assert [file.name for file in folder.files()] == ["a.parquet", "b.parquet", "c.txt"]
    assert (folder / "nowhere").files() == []


def test_names_and_parents(folder: Location) -> None:
    deep = folder / "x/y.png"
    assert (deep.name, deep.parent.name, deep.parent.parent) == ("y.png", "x", folder)
    assert locate(str(deep)) == deep


def test_local_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert str(locate("a/../b/")) == str(tmp_path / "b")
    assert str(locate("~/x")) == "/home/somebody/x"
    assert locate("what?=.jpg#1").name == "what?=.jpg#1"
    assert locate("/").parent.path == "/"


def test_file_uris_are_local_and_unescaped(tmp_path: Path) -> None:
    file = tmp_path / "a b ü%.txt"
    file.write_bytes(b"here")
    place = locate(file.as_uri())
    assert (place.is_local, str(place), place.read()) == (True, str(file), b"here")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = locate(str(tmp_path / "a.txt"))
    place.write(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        place.write(b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert place.read() == b"old"
    with pytest.raises(FileNotFoundError):
        locate(str(tmp_path / "no/folder.txt")).write(b"")


@pytest.mark.parametrize(
    "below", ["a.jpg", "a b.jpg", "100%.jpg", "what?.jpg", "a?b=c.jpg", "ü#1.jpg", "x/y=1/z.jpg"]
)
def test_s3_children_keep_the_options_and_lead_back(below: str) -> None:
    child = locate(S3) / below
    assert child.path == f"bucket/dir/{below}"
    assert str(child) == f"s3://bucket/dir/{below}?endpoint_override=127.0.0.1:1&scheme=http&region=eu-west-1"
    assert locate(str(child)) == child
    assert isinstance(child.filesystem, fs.S3FileSystem)
    assert not child.is_local
    assert str(child.parent).startswith("s3://bucket/dir")


@pytest.mark.parametrize("path", ["/tmp/x.png", S3])
def test_locations_travel_to_workers(path: str) -> None:
    assert pickle.loads(pickle.dumps(locate(path))) == locate(path)


def test_one_client_serves_a_bucket() -> None:
    assert locate(S3).filesystem is (locate(str(locate(S3) / "a.jpg"))).filesystem


@pytest.mark.parametrize("uri", ["nope://host/x", "s3://", "s3://bucket/x?bogus_option=1"])
def test_what_no_file_system_serves_is_one_sentence(uri: str) -> None:
    with pytest.raises(ConfigError) as caught:
        locate(uri)
    assert str(caught.value).startswith(f"{uri}: cannot open this location: ")
