"""The folder as a source: what is listed, in which order, with which truth, and what is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_files import touch

from batchseg.config.source import FolderSource
from batchseg.errors import SourceError
from batchseg.source.folder import Folder
from batchseg.source.globs import matches
from batchseg.source.listing import LISTING
from batchseg.source.open import open_source
from batchseg.storage.location import locate

NOBODY = 65534


def listed(path: Path | str, without: tuple[str, ...] = (), **options: Any) -> list[dict[str, Any]]:
    tables = list(open_source(FolderSource(path=str(path), **options), without).tables())
    assert all(table.schema == LISTING and 0 < len(table) <= 8192 for table in tables)
    return pa.concat_tables(tables).to_pylist() if tables else []


def ids(path: Path | str, without: tuple[str, ...] = (), **options: Any) -> list[str]:
    return [row["id"] for row in listed(path, without, **options)]


def faults(path: Path, **options: Any) -> dict[str, str | None]:
    return {row["id"]: row["status"] for row in listed(path, **options)}


def test_images_are_found_at_any_depth_in_the_order_of_their_ids(tmp_path: Path) -> None:
    names = [
        "b.jpg",
        "a/z.png",
        "a.jpg",
        "a0.jpg",
        "a/b/c/d.TIFF",
        "a/b.webp",
        "a-/x.jpeg",
        "Z/1.bmp",
        "é/ü.gif",
    ]
    assert ids(touch(tmp_path, *names)) == sorted(names)


def test_a_row_says_where_the_image_is_and_what_tells_it_changed(tmp_path: Path) -> None:
    touch(tmp_path, "a/b.png")
    os.utime(tmp_path / "a/b.png", ns=(5, 7))
    (row,) = listed(tmp_path)
    assert row == {
        "id": "a/b.png",
        "uri": str(tmp_path / "a/b.png"),
        "truth": None,
        "truth_version": None,
        "source_version": "7-7",  # seven bytes, modified at 7 ns
        "size": 7,
        "status": None,
        "error": None,
    }


def test_only_images_count_and_nothing_hidden(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "notes.txt", "jpg", ".hidden.jpg", ".cache/b.jpg", "c/.d/e.jpg", "c/f.JPG")
    assert ids(tmp_path) == ["a.jpg", "c/f.JPG"]


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ((), (), ["a.jpg", "b.png", "night/a.jpg", "night/deep/c.jpg"]),
        (("*.jpg",), (), ["a.jpg", "night/a.jpg", "night/deep/c.jpg"]),
        (("night/*",), (), ["night/a.jpg", "night/deep/c.jpg"]),
        (("**/a.jpg",), (), ["a.jpg", "night/a.jpg"]),
        ((), ("night/*",), ["a.jpg", "b.png"]),
        ((), ("*/deep/*", "*.png"), ["a.jpg", "night/a.jpg"]),
        (("*.jpg", "*.png"), ("night/**",), ["a.jpg", "b.png"]),
        (("[ab].*",), (), ["a.jpg", "b.png"]),
        (("*.tif",), (), []),
    ],
)
def test_globs_choose_by_id(
    tmp_path: Path, include: tuple[str, ...], exclude: tuple[str, ...], expected: list[str]
) -> None:
    touch(tmp_path, "a.jpg", "b.png", "night/a.jpg", "night/deep/c.jpg")
    assert ids(tmp_path, include=include, exclude=exclude) == expected


@given(st.text(min_size=1), st.text())
def test_a_glob_that_leaves_out_a_folder_would_leave_out_each_file_in_it(glob: str, name: str) -> None:
    if matches("folder/", (glob + "*",)):
        assert matches("folder/" + name, (glob + "*",))


def test_limit_stops_early(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "a/2.jpg", "b/1.jpg")
    assert ids(tmp_path, limit=2) == ["a/1.jpg", "a/2.jpg"]
    assert ids(tmp_path, limit=9) == ["a/1.jpg", "a/2.jpg", "b/1.jpg"]


def test_a_large_folder_comes_in_bounded_tables(tmp_path: Path) -> None:
    names = [f"{index:05d}.jpg" for index in range(20_000)]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "10000").mkdir()
    touch(tmp_path / "10000", "x.jpg")
    assert ids(tmp_path) == sorted([*names, "10000/x.jpg"])


# -- links, special files, odd names


def test_links_to_files_inside_are_images_and_others_say_why_not(tmp_path: Path) -> None:
    root, outside = touch(tmp_path / "in", "real.jpg", "sub/deep.jpg"), touch(tmp_path / "out", "far.jpg")
    (root / "link.jpg").symlink_to("sub/deep.jpg")
    (root / "sub" / "up.jpg").symlink_to(root / "real.jpg")
    (root / "broken.jpg").symlink_to("nowhere.jpg")
    (root / "leads_out.jpg").symlink_to(outside / "far.jpg")
    (root / "twice.jpg").symlink_to("leads_out.jpg")
    (root / "loop.jpg").symlink_to("loop.jpg")
    (root / "loop2.jpg").symlink_to("sub/loop3.jpg")
    (root / "sub" / "loop3.jpg").symlink_to("../loop2.jpg")
    assert faults(root) == {
        "broken.jpg": "missing",
        "leads_out.jpg": "denied",
        "link.jpg": None,
        "loop.jpg": "unreadable",
        "loop2.jpg": "unreadable",
        "real.jpg": None,
        "sub/deep.jpg": None,
        "sub/loop3.jpg": "unreadable",
        "sub/up.jpg": None,
        "twice.jpg": "denied",
    }
    by_id = {row["id"]: row for row in listed(root)}
    assert by_id["link.jpg"]["size"] == len("sub/deep.jpg")
    for name in ("broken.jpg", "leads_out.jpg", "loop.jpg"):
        assert by_id[name]["error"]
        assert str(tmp_path) not in by_id[name]["error"]
        assert by_id[name]["source_version"] is None


def test_a_root_whose_name_begins_another_does_not_hold_it(tmp_path: Path) -> None:
    touch(tmp_path / "images_old", "a.jpg")
    touch(tmp_path / "images", "b.jpg")
    (tmp_path / "images" / "c.jpg").symlink_to("../images_old/a.jpg")
    assert faults(tmp_path / "images") == {"b.jpg": None, "c.jpg": "denied"}


def test_linked_folders_are_not_followed(tmp_path: Path) -> None:
    root = touch(tmp_path / "in", "a/1.jpg")
    (root / "b").symlink_to("a", target_is_directory=True)
    (root / "round.jpg").symlink_to(".", target_is_directory=True)
    (root / "out").symlink_to(touch(tmp_path / "out", "2.jpg"), target_is_directory=True)
    assert ids(root) == ["a/1.jpg"]


def test_a_source_may_itself_be_a_link(tmp_path: Path) -> None:
    touch(tmp_path / "real", "a.jpg")
    (tmp_path / "real" / "b.jpg").symlink_to("a.jpg")
    (tmp_path / "link").symlink_to("real", target_is_directory=True)
    assert faults(tmp_path / "link") == {"a.jpg": None, "b.jpg": None}


def test_what_is_no_regular_file_is_a_row_and_no_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "device.jpg").symlink_to("/dev/zero")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "linked_pipe.jpg").symlink_to("pipe.jpg")
    assert faults(tmp_path) == {
        "device.jpg": "denied",
        "linked_pipe.jpg": "unreadable",
        "pipe.jpg": "unreadable",
    }


@pytest.mark.parametrize(
    "name",
    [
        "with space.jpg",
        "quote'\".jpg",
        "new\nline.jpg",
        "tab\t.jpg",
        "画像.jpg",
        "Müller.jpg",
        "%41#?&=.jpg",
        "🙂.jpg",
    ],
)
def test_names_of_any_letters(tmp_path: Path, name: str) -> None:
    touch(tmp_path, name, f"below {name}/{name}")
    rows = {row["id"]: row for row in listed(tmp_path)}
    assert set(rows) == {name, f"below {name}/{name}"}
    assert all(Path(row["uri"]).is_file() and row["status"] is None for row in rows.values())


def test_paths_that_are_not_utf8_are_rows_too(tmp_path: Path) -> None:
    for name in (b"bad\xff.jpg", b"bad\xfe.jpg", b"good.jpg"):
        touch(tmp_path, os.fsdecode(name), os.fsdecode(b"folder\xff/" + name))
    rows = listed(tmp_path, truth=str(touch(tmp_path / "truth", "good.png")))
    assert len(rows) == len({row["id"] for row in rows}) == 6
    assert {row["id"]: row["status"] for row in rows if row["status"] is None} == {"good.jpg": None}
    assert {row["status"] for row in rows if row["id"] != "good.jpg"} == {"unreadable"}


# -- folders that hold no images


def test_results_and_truth_below_the_source_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "truth/a.png", "out/masks/a.png", "outside/b.jpg", "sub/truth/c.jpg")
    rows = listed(tmp_path, (str(tmp_path / "out"),), truth=str(tmp_path / "truth"))
    assert [row["id"] for row in rows] == ["a.jpg", "outside/b.jpg", "sub/truth/c.jpg"]


def test_results_are_left_out_whatever_path_leads_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "real", "a.jpg", "out/masks/a.png", "truth/a.png")
    (tmp_path / "link").symlink_to("real", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    for source in ("link", "real/", "./real/../link"):
        assert ids(source, ("real/out/",), truth="./link/truth") == ["a.jpg"]


def test_results_beside_or_above_the_source_hide_nothing(tmp_path: Path) -> None:
    touch(tmp_path, "results/masks/a.png", "results/masks/b/c.png")
    assert ids(tmp_path / "results/masks", (str(tmp_path / "results"), str(tmp_path / "x"))) == [
        "a.png",
        "b/c.png",
    ]


def test_results_in_the_source_itself_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    with pytest.raises(SourceError, match=r"results would lie among the images.*another folder"):
        open_source(FolderSource(path=str(tmp_path)), (str(tmp_path) + "/",))


# -- ground truth


def truths(images: Path, truth: Path, **options: Any) -> dict[str, tuple[str | None, str | None]]:
    rows = listed(images, truth=str(truth), **options)
    return {
        row["id"]: (row["truth"] and str(Path(row["truth"]).relative_to(truth)), row["status"])
        for row in rows
    }


def test_truth_mirrors_the_images(tmp_path: Path) -> None:
    images = touch(tmp_path / "images", "a.jpg", "b/c.JPEG", "b/d.png", "gone/e.jpg", "file/f.jpg")
    truth = touch(tmp_path / "truth", "a.png", "b/c.png", "b/other.png", "file")
    absent = (None, None)  # truth for a part of the images is normal
    assert truths(images, truth) == {
        "a.jpg": ("a.png", None),
        "b/c.JPEG": ("b/c.png", None),
        "b/d.png": absent,
        "file/f.jpg": absent,
        "gone/e.jpg": absent,
    }


def test_a_truth_has_a_version_of_its_own(tmp_path: Path) -> None:
    images = touch(tmp_path / "images", "a.jpg", "b.jpg", "x/c.jpg", "d.jpg")
    truth = touch(tmp_path / "truth", "a.png", "x/c.png")
    (truth / "d.png").symlink_to("nowhere.png")

    def versions() -> dict[str, str | None]:
        return {row["id"]: row["truth_version"] for row in listed(images, truth=str(truth))}

    before = versions()
    for name in ("a", "x/c"):
        stat = (truth / f"{name}.png").stat()
        told, _, where = str(before[f"{name}.jpg"]).partition("@")
        assert told == f"{stat.st_size}-{stat.st_mtime_ns}"
        assert where  # of which file: one of the same size and time may lie in another folder
    assert (before["b.jpg"], before["d.jpg"]) == (None, None)
    os.utime(truth / "a.png", ns=(1, 1))
    (truth / "x/c.png").write_bytes(b"corrected")
    after = versions()
    assert {name for name in before if before[name] != after[name]} == {"a.jpg", "x/c.jpg"}


def test_the_first_known_ending_is_the_truth(tmp_path: Path) -> None:
    images = touch(tmp_path / "images", "a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg")
    truth = touch(
        tmp_path / "truth", "a.npy", "a.tif", "a.png", "b.tiff", "b.npy", "c.npy", "d.jpg", "e.PNG", "e.npy"
    )
    assert truths(images, truth) == {
        "a.jpg": ("a.png", None),
        "b.jpg": ("b.tiff", None),
        "c.jpg": ("c.npy", None),
        "d.jpg": ("d.jpg", None),  # a JPEG can hardly hold class ids: the last choice
        "e.jpg": ("e.PNG", None),
    }


def test_a_suffix_rule_covers_cityscapes(tmp_path: Path) -> None:
    images = touch(tmp_path / "leftImg8bit", "train/aachen/aachen_000000_leftImg8bit.png", "train/odd.png")
    truth = touch(
        tmp_path / "gtFine",
        "train/aachen/aachen_000000_gtFine_labelIds.png",
        "train/aachen/aachen_000000_gtFine_color.png",
        "train/odd.png",
    )
    assert truths(images, truth, truth_suffix="_leftImg8bit=_gtFine_labelIds") == {
        "train/aachen/aachen_000000_leftImg8bit.png": (
            "train/aachen/aachen_000000_gtFine_labelIds.png",
            None,
        ),
        "train/odd.png": ("train/odd.png", None),
    }


@pytest.mark.parametrize(
    ("rule", "name"), [("=_mask", "a_mask.png"), ("_rgb=", "a.png"), ("_rgb=_rgb", "a_rgb.png")]
)
def test_suffix_rules_may_add_or_strip_only(tmp_path: Path, rule: str, name: str) -> None:
    image = "a.jpg" if rule.startswith("=") else "a_rgb.jpg"
    images, truth = touch(tmp_path / "images", image), touch(tmp_path / "truth", name)
    assert truths(images, truth, truth_suffix=rule) == {image: (name, None)}


def test_truth_beside_the_images(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.jpg", "x/a_mask.png")
    found = truths(tmp_path, tmp_path, truth_suffix="=_mask", exclude=("*_mask.png",))
    assert found == {"x/a.jpg": ("x/a_mask.png", None)}


def test_a_missing_truth_is_no_fault_and_takes_none_away(tmp_path: Path) -> None:
    images = touch(tmp_path / "images", "a.jpg")
    (images / "broken.jpg").symlink_to("nowhere.jpg")
    assert faults(images, truth=str(touch(tmp_path / "truth", "b.png"))) == {
        "a.jpg": None,
        "broken.jpg": "missing",
    }


def test_truth_examples_show_what_is_there(tmp_path: Path) -> None:
    truth = touch(tmp_path / "truth", "a/1.png", "a/2.png", "b/3.png", "b/4.png")
    folder = Folder(FolderSource(path=str(touch(tmp_path / "images", "x.jpg")), truth=str(truth)))
    assert folder.truth_examples(3) == ["a/1.png", "a/2.png", "b/3.png"]


# -- what ends a job


def test_a_missing_folder_and_a_file_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    with pytest.raises(SourceError, match=r"nowhere: no such folder"):
        open_source(FolderSource(path=str(tmp_path / "nowhere")))
    with pytest.raises(SourceError, match=r"a\.jpg: not a folder"):
        open_source(FolderSource(path=str(tmp_path / "a.jpg")))
    with pytest.raises(SourceError, match=r"gone: no such folder"):
        open_source(FolderSource(path=str(tmp_path), truth=str(tmp_path / "gone")))


def test_an_empty_folder_lists_nothing(tmp_path: Path) -> None:
    assert listed(tmp_path) == []


LIST_AS_NOBODY = """
import os, sys
from batchseg.config.source import FolderSource
from batchseg.errors import SourceError
from batchseg.source.open import open_source
list(open_source(FolderSource(path=".", include=("none",), exclude=("*",))).tables())  # imports all it needs
if os.geteuid() == 0:
    os.setgroups([]); os.setgid({nobody}); os.setuid({nobody})
options = dict(item.partition("=")[::2] for item in sys.argv[2:])
options = {{key: (value,) if key == "exclude" else value for key, value in options.items()}}
try:
    for table in open_source(FolderSource(path=sys.argv[1], **options)).tables():
        for row in table.to_pylist():
            print(row["id"], row["status"])
except SourceError as exc:
    print("SourceError:", exc)
"""


def as_nobody(path: Path, *options: str) -> str:
    """List in a process to which permissions apply, as they do not to root."""
    done = subprocess.run(
        [sys.executable, "-c", LIST_AS_NOBODY.format(nobody=NOBODY), str(path), *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent.parent.parent,
    )
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder that anyone may enter; pytest keeps its own to their owner."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_folder_that_may_not_be_listed_ends_the_job_unless_excluded(open_path: Path) -> None:
    touch(open_path / "images", "a.jpg", "locked/b.jpg")
    (open_path / "images/locked").chmod(0)
    try:
        assert as_nobody(open_path / "images").endswith(
            "images/locked: this folder may not be listed; give it read permission, or exclude it"
        )
        assert as_nobody(open_path / "images", "exclude=locked/*") == "a.jpg None"
    finally:
        (open_path / "images/locked").chmod(0o755)


def test_files_that_may_not_be_looked_at_are_denied(open_path: Path) -> None:
    touch(open_path / "images", "sub/a.jpg")
    (open_path / "images/sub").chmod(0o744)  # its names may be read, its files not even looked at
    try:
        assert as_nobody(open_path / "images") == "sub/a.jpg denied"
    finally:
        (open_path / "images/sub").chmod(0o755)


def test_a_source_or_truth_behind_a_locked_folder_is_one_sentence(open_path: Path) -> None:
    touch(open_path, "images/x/a.jpg", "locked/images/a.jpg", "truth/x/a.png")
    (open_path / "locked").chmod(0)
    (open_path / "truth/x").chmod(0)
    try:
        assert "SourceError" in as_nobody(open_path / "locked/images")
        assert "truth/x: this folder may not be listed" in as_nobody(
            open_path / "images", f"truth={open_path / 'truth'}"
        )
    finally:
        (open_path / "locked").chmod(0o755)
        (open_path / "truth/x").chmod(0o755)


# -- not on a local disk


@pytest.fixture
def remote() -> str:
    """Arrow's file system in memory, behind a URI."""
    return f"mock://{uuid.uuid4().hex}"


def test_a_folder_behind_a_uri(remote: str) -> None:
    for name in ("a.jpg", "sub/b c.png", "sub/.hidden.png", "truth/a.png", "out/masks/a.png", "a0.jpg"):
        place = locate(f"{remote}/data/{name}")
        place.parent.make_folder()
        place.write(b"12345")
    rows = listed(f"{remote}/data", (f"{remote}/data/out",), truth=f"{remote}/data/truth")
    assert [(row["id"], row["status"]) for row in rows] == [
        ("a.jpg", None),
        ("a0.jpg", None),
        ("sub/b c.png", None),
    ]
    assert [row["truth"] for row in rows] == [f"{remote}/data/truth/a.png", None, None]
    assert rows[0]["truth_version"].startswith("5-")
    assert [locate(row["uri"]).read() for row in rows] == [b"12345"] * 3
    assert rows[0]["source_version"].startswith("5-")
