"""What lies in a folder and is not listed is counted by kind; links are followed where that is asked for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from source_files import touch

from batchseg.config.source import FolderSource
from batchseg.source.folder import Folder
from batchseg.storage.location import locate


def link(path: Path, target: Path | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target, target_is_directory=True)


def look(path: Path | str, without: tuple[str, ...] = (), **options: Any) -> tuple[list[str], dict[str, int]]:
    """The ids, and what was passed over."""
    folder = Folder(FolderSource(path=str(path), **options), without)
    ids = [name for table in folder.tables() for name in table["id"].to_pylist()]
    assert len(ids) == len({*ids})
    return ids, folder.passed_over.counts


NAMES = (
    "a.jpg",
    "b.JPG",
    "c.heic",
    "d.HEIC",
    "sub/e.jp2",
    "sub/notes.txt",
    "IMG_1",
    ".DS_Store",
    ".cache/f.jpg",
)


def test_files_of_other_kinds_are_counted_by_extension_in_any_case(tmp_path: Path) -> None:
    ids, passed = look(touch(tmp_path, *NAMES))
    assert ids == ["a.jpg", "b.JPG"]
    assert passed == {".heic": 2, ".jp2": 1, ".txt": 1, "no extension": 1, "hidden": 2}


def test_each_listing_counts_anew(tmp_path: Path) -> None:
    folder = Folder(FolderSource(path=str(touch(tmp_path, *NAMES))))
    for _ in range(2):
        assert sum(map(len, folder.tables())) == 2
        assert folder.passed_over.counts[".heic"] == 2


def test_what_a_glob_leaves_out_is_not_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, *NAMES)
    assert look(tmp_path, exclude=("*.heic", "*.HEIC", "sub/*", ".*"))[1] == {"no extension": 1}
    assert look(tmp_path, include=("sub/*", "*.jpg"))[1] == {".jp2": 1, ".txt": 1, "hidden": 2}


def test_truth_and_results_are_not_counted(tmp_path: Path) -> None:
    touch(tmp_path / "in", "a.jpg", "truth/a.png", "truth/notes.txt", "out/run.json", "out/.lock")
    touch(tmp_path / "far", "run.json")
    link(tmp_path / "in/linked", tmp_path / "far")
    without = (str(tmp_path / "in/out"), str(tmp_path / "far"))
    assert look(tmp_path / "in", without, truth=str(tmp_path / "in/truth")) == (["a.jpg"], {})
    assert look(tmp_path / "in", without, truth=str(tmp_path / "in/truth"), follow_links=True) == (
        ["a.jpg"],
        {},
    )


def test_numbered_extensions_are_no_kinds_without_end(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", *(f"slice.{index:03d}" for index in range(100)))
    passed = look(tmp_path)[1]
    assert (len(passed), sum(passed.values()), passed["other kinds"]) == (21, 100, 80)


def test_names_that_are_not_utf8_are_counted_too(tmp_path: Path) -> None:
    names = (b"x\xff.heic", b".x\xff", b"folder\xff/a.heic")
    assert look(touch(tmp_path, *map(os.fsdecode, names)))[1] == {".heic": 2, "hidden": 1}


def test_behind_a_uri_too() -> None:
    root = "mock://passed-over/data"
    for name in ("a.jpg", "b.heic", ".hidden", "sub/c"):
        place = locate(f"{root}/{name}")
        place.parent.make_folder()
        place.write(b"1")
    assert look(root) == (["a.jpg"], {".heic": 1, "hidden": 1, "no extension": 1})


# -- links


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A folder of images with a link to one elsewhere, which has a link back."""
    touch(tmp_path / "in", "z/1.jpg", "9.jpg")
    touch(tmp_path / "out", "2.jpg", "deep/3.jpg", "deep/notes.txt")
    link(tmp_path / "in/far", tmp_path / "out")
    link(tmp_path / "out/back", tmp_path / "in")
    return tmp_path / "in"


def test_links_to_folders_are_counted(linked: Path) -> None:
    link(linked / "z/again", "../../out")
    assert look(linked) == (["9.jpg", "z/1.jpg"], {"links to folders": 2})


def test_links_are_followed_without_circles(linked: Path) -> None:
    ids, passed = look(linked, follow_links=True)
    assert ids == ["9.jpg", "far/2.jpg", "far/deep/3.jpg", "z/1.jpg"]
    assert passed == {"folders listed elsewhere": 1, ".txt": 1}


def test_a_folder_of_links_alone(tmp_path: Path) -> None:
    for name in "ab":
        link(tmp_path / "in" / name, touch(tmp_path / "sets" / name, "1.jpg"))
    assert look(tmp_path / "in") == ([], {"links to folders": 2})
    assert look(tmp_path / "in", include=("*.jpg",)) == ([], {"links to folders": 2})
    assert look(tmp_path / "in", follow_links=True) == (["a/1.jpg", "b/1.jpg"], {})


def test_a_folder_is_listed_once_whatever_leads_there(tmp_path: Path) -> None:
    """In the source under its own path, although a link to it comes first."""
    touch(tmp_path / "in", "z/1.jpg")
    touch(tmp_path / "out", "x/2.jpg")
    for name, target in (("a", "z"), ("self", "."), ("up", ".."), ("far", tmp_path / "out"),
                         ("far2", tmp_path / "out"), ("part", tmp_path / "out/x")):  # fmt: skip
        link(tmp_path / "in" / name, target)
    ids, passed = look(tmp_path / "in", follow_links=True)
    assert ids == ["far/x/2.jpg", "z/1.jpg"]
    assert passed["folders listed elsewhere"] >= 5


def test_a_hidden_folder_is_met_by_a_link(tmp_path: Path) -> None:
    """As DVC and git-annex keep data."""
    touch(tmp_path, ".store/1.jpg")
    link(tmp_path / "images", ".store")
    assert look(tmp_path, follow_links=True) == (["images/1.jpg"], {"hidden": 1})


def test_links_to_files_elsewhere_are_followed_too(tmp_path: Path) -> None:
    touch(tmp_path / "out", "far.jpg")
    (touch(tmp_path / "in", "a.jpg") / "b.jpg").symlink_to(tmp_path / "out/far.jpg")
    (tmp_path / "in/gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "in/zero.jpg").symlink_to("/dev/zero")

    def faults(**options: Any) -> dict[str, str | None]:
        folder = Folder(FolderSource(path=str(tmp_path / "in"), **options))
        rows = [row for table in folder.tables() for row in table.to_pylist()]
        return {row["id"]: row["status"] for row in rows}

    assert faults()["b.jpg"] == "denied"
    assert faults(follow_links=True) == {
        "a.jpg": None,
        "b.jpg": None,
        "gone.jpg": "missing",
        "zero.jpg": "unreadable",
    }


def test_exclude_holds_for_what_a_link_leads_to(linked: Path) -> None:
    assert look(linked, follow_links=True, exclude=("far/deep/*",))[0] == ["9.jpg", "far/2.jpg", "z/1.jpg"]
    assert look(linked, follow_links=True, exclude=("far/*",))[0] == ["9.jpg", "z/1.jpg"]
