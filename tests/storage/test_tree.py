"""Many files: listed without following a link, and worked on side by side in their order."""

from __future__ import annotations

from itertools import count, islice
from pathlib import Path
from threading import Barrier

import pytest

from batchseg.storage.location import locate
from batchseg.storage.many import AT_ONCE, for_many
from batchseg.storage.tree import files_below


def test_files_are_listed_with_their_sizes_and_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "tree" / "a" / "b").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.png").write_bytes(b"123456")
    (tmp_path / "tree" / "a" / "b" / "deep.png").write_bytes(b"123")
    (tmp_path / "tree" / "top.png").write_bytes(b"12345")
    (tmp_path / "tree" / "link").symlink_to(tmp_path / "outside")
    found = dict(files_below(locate(str(tmp_path / "tree"))))
    assert sorted(found) == ["a/b/deep.png", "link", "top.png"]
    assert (found["a/b/deep.png"], found["top.png"]) == (3, 5)


@pytest.mark.parametrize("name", ["missing", "file", "link"])
def test_what_is_no_folder_holds_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"1")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x").write_bytes(b"1")
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    assert list(files_below(locate(str(tmp_path / name)))) == []


def test_many_are_worked_on_at_once_and_come_in_order() -> None:
    together = Barrier(AT_ONCE, timeout=30)  # which opens only where so many wait for it

    def work(number: int) -> int:
        together.wait()
        return number * number

    assert list(for_many(work, range(AT_ONCE))) == [number * number for number in range(AT_ONCE)]


def test_items_are_taken_as_they_are_needed() -> None:
    assert list(islice(for_many(str, count()), 3)) == ["0", "1", "2"]


def test_the_first_error_ends_it() -> None:
    with pytest.raises(ZeroDivisionError):
        list(for_many(lambda number: 1 // number, [1, 0, 1]))
