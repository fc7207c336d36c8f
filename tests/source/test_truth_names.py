"""Which truth belongs to an image: extensions in any case, accents in either form, JPEG last."""

from __future__ import annotations

from pathlib import Path
from unicodedata import normalize

import pytest
from source_files import touch

from batchseg.config.source import FolderSource
from batchseg.source.folder import Folder
from batchseg.storage.location import locate

NFC, NFD = (normalize(form, "Müller") for form in ("NFC", "NFD"))


def truths(images: Path | str, truth: Path | str, rule: str | None = None) -> dict[str, str | None]:
    source = FolderSource(path=str(images), truth=str(truth), truth_suffix=rule)
    rows = [row for table in Folder(source).tables() for row in table.to_pylist()]
    assert all((row["truth"] is None) == (row["truth_version"] is None) for row in rows)
    root = f"{locate(str(truth))}/"
    return {row["id"]: row["truth"] and row["truth"].removeprefix(root) for row in rows}


@pytest.mark.parametrize(
    "name", ["c.png", "c.PNG", "c.Png", "c.pNg", "c.Tif", "c.TIFF", "c.Npy", "c.Bmp", "c.GIF"]
)
def test_the_extension_may_be_in_any_case(tmp_path: Path, name: str) -> None:
    images, masks = touch(tmp_path / "i", "c.jpg", "C.jpg"), touch(tmp_path / "t", name)
    assert truths(images, masks) == {"c.jpg": name, "C.jpg": None}  # the case of the stem counts


def test_the_order_of_endings_stays(tmp_path: Path) -> None:
    masks = touch(
        tmp_path / "t", "a.npy", "a.Tif", "a.PNG", "b.PNG", "b.png", "c.jpg", "c.Gif", "d.webp", "d.jpeg"
    )
    images = touch(tmp_path / "i", "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    assert truths(images, masks) == {"a.jpg": "a.PNG", "b.jpg": "b.png", "c.jpg": "c.Gif", "d.jpg": "d.jpeg"}


def test_accents_are_compared_composed(tmp_path: Path) -> None:
    images = touch(tmp_path / "i", f"{NFD}.jpg", f"{NFD}/x.jpg", f"{NFC} 2.jpg", f"deep/{NFC}/y.jpg")
    masks = touch(tmp_path / "t", f"{NFC}.png", f"{NFC}/x.PNG", f"{NFD} 2.png", f"deep/{NFD}/y.png")
    assert truths(images, masks) == {
        f"{NFD}.jpg": f"{NFC}.png",
        f"{NFD}/x.jpg": f"{NFC}/x.PNG",
        f"{NFC} 2.jpg": f"{NFD} 2.png",
        f"deep/{NFC}/y.jpg": f"deep/{NFD}/y.png",
    }


def test_where_both_forms_are_there_each_has_its_own(tmp_path: Path) -> None:
    names = [f"{form}/{form}" for form in (NFC, NFD)]
    images = touch(tmp_path / "i", *(f"{name}.jpg" for name in names), f"{NFD}.jpg", f"{NFC}.jpg")
    masks = touch(tmp_path / "t", *(f"{name}.png" for name in names), f"{NFD}.png", f"{NFC}.png")
    assert truths(images, masks) == {
        **{f"{name}.jpg": f"{name}.png" for name in (*names, NFD, NFC)},
    }


def test_a_suffix_rule_and_accents(tmp_path: Path) -> None:
    images, masks = touch(tmp_path / "i", f"{NFD}_image.jpg"), touch(tmp_path / "t", f"{NFC}_label.Tiff")
    assert truths(images, masks, "_image=_label") == {f"{NFD}_image.jpg": f"{NFC}_label.Tiff"}


def test_a_jpeg_is_a_truth_only_by_its_place(tmp_path: Path) -> None:
    images = touch(tmp_path / "i", "a.jpg", "b.jpg")
    assert truths(images, touch(tmp_path / "t", "a.jpg", "b.JPEG")) == {"a.jpg": "a.jpg", "b.jpg": "b.JPEG"}


def test_no_image_is_its_own_truth(tmp_path: Path) -> None:
    """Where truth lies beside the images, a photograph is none."""
    folder = touch(tmp_path, "a.jpg", "a.png", "b.jpg", "c.jpg", "c_mask.jpg")
    found = truths(folder, folder)
    assert (found["a.jpg"], found["b.jpg"], found["c.jpg"]) == ("a.png", None, None)
    assert truths(folder, folder, "=_mask")["c.jpg"] == "c_mask.jpg"


def test_behind_a_uri_too() -> None:
    root = "mock://truth-names"
    for name in (f"i/{NFD}/a.jpg", f"t/{NFC}/a.Png"):
        place = locate(f"{root}/{name}")
        place.parent.make_folder()
        place.write(b"1")
    assert truths(f"{root}/i", f"{root}/t") == {f"{NFD}/a.jpg": f"{NFC}/a.Png"}
