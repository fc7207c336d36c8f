"""Masks and scores have keys of their own: what is done, what is done again, and what must never mix."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score

import batchseg
from batchseg import RunResult
from batchseg.errors import BatchsegError, OutputError
from batchseg.inspect.verify import verify
from batchseg.results.folder import Held

BEFORE = Path(__file__).parents[1] / "results" / "before_two_keys"

pytestmark = [pytest.mark.usefixtures("in_tasks")]


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    grey = np.random.default_rng(seed).integers(0, 256, (6, 8), np.uint8)
    Image.fromarray(grey).save(path)


def truth(path: Path, seed: int, shape: tuple[int, int] = (6, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 2, shape, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six images, all with truth."""
    for index in range(6):
        picture(tmp_path / "images" / f"{index}.png", index)
        truth(tmp_path / "masks" / f"{index}.png", index)
    return tmp_path


def run(folder: Path, level: int = 128, **settings: Any) -> RunResult:
    source = {"path": str(folder / "images"), "truth": str(folder / "masks"), **settings.pop("source", {})}
    overrides = {
        "source": source,
        "segmentor": {"kind": "threshold", "levels": [level]},
        "output": str(folder / "out"),
        **settings,
    }
    return batchseg.run(batchseg.load_config(overrides=overrides))


def rows(out: Path) -> dict[str, dict[str, Any]]:
    table = pads.dataset(out / "images", format="parquet").to_table()
    listed = table.to_pylist()
    assert len(listed) == len({row["id"] for row in listed})
    return {row["id"]: row for row in listed}


def counts(result: RunResult) -> tuple[int, int, int]:
    return result.segmented, result.scored, result.done_before


def mask(out: Path, name: str) -> np.ndarray:
    return np.asarray(Image.open(out / "masks" / name))


def stop_at_first_commit(patch: pytest.MonkeyPatch) -> None:
    """The first commit of the next run is its last, and holds what has come in so far."""
    real = Held.commit

    def commit(self: Held, part: str, some: pa.Table) -> None:
        real(self, part, some)
        raise KeyboardInterrupt

    patch.setattr(Held, "commit", commit)


def test_models_that_take_turns_never_mix(folder: Path) -> None:
    """Run A; run B until a commit; run A: all masks are A's."""
    run(folder)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at_first_commit(patch)
        run(folder, 64, recompute=True)
    with pytest.raises(OutputError, match="another model or setting"):
        run(folder)
    run(folder, recompute=True)
    found = rows(folder / "out")
    assert len({row["fingerprint"] for row in found.values()}) == 1
    for name in found:
        image = np.asarray(Image.open(folder / "images" / name))
        assert np.array_equal(mask(folder / "out", name), image >= 128)
    assert verify(str(folder / "out")).ok


def test_a_corrected_truth_costs_a_score_and_no_model_call(folder: Path) -> None:
    assert counts(run(folder)) == (6, 0, 0)
    truth(folder / "masks" / "2.png", 99)
    assert counts(run(folder)) == (0, 1, 5)
    row = rows(folder / "out")["2.png"]
    expected = np.asarray(Image.open(folder / "masks" / "2.png"))
    assert row["accuracy"] == accuracy_score(expected.ravel(), mask(folder / "out", "2.png").ravel())
    assert counts(run(folder)) == (0, 0, 6)


def test_another_truth_folder_is_scored_anew(folder: Path) -> None:
    run(folder)
    for index in range(6):
        truth(folder / "others" / f"{index}.png", 50 + index)
    result = run(folder, source={"truth": str(folder / "others")})
    assert counts(result) == (0, 6, 0)
    for name, row in rows(folder / "out").items():
        expected = np.asarray(Image.open(folder / "others" / name))
        assert row["accuracy"] == accuracy_score(expected.ravel(), mask(folder / "out", name).ravel())


def labelled(folder: Path, dark: int, bright: int) -> str:
    """One label map, at the same place each time, with these truth ids."""
    path = folder / "labels.yaml"
    path.write_text(
        f"classes: [{{name: dark, truth_ids: [{dark}]}}, {{name: bright, truth_ids: [{bright}]}}]"
    )
    return str(path)


def test_another_reading_of_the_truth_is_scored_anew(folder: Path, tmp_path: Path) -> None:
    run(folder, labels=labelled(tmp_path, dark=0, bright=1))
    result = run(folder, labels=labelled(tmp_path, dark=1, bright=0))
    assert counts(result) == (0, 6, 0)
    for name, row in rows(folder / "out").items():
        expected = 1 - np.asarray(Image.open(folder / "masks" / name))
        assert row["accuracy"] == accuracy_score(expected.ravel(), mask(folder / "out", name).ravel())


def test_truth_that_comes_later_goes_and_fails(folder: Path) -> None:
    shutil.rmtree(folder / "masks")
    truth(folder / "masks" / "0.png", 0)
    first = run(folder)
    assert (first.exit_code, first.without_truth, counts(first)) == (0, 5, (6, 0, 0))
    assert rows(folder / "out")["1.png"]["truth_status"] == "none"
    for index in range(1, 4):
        truth(folder / "masks" / f"{index}.png", index)
    truth(folder / "masks" / "4.png", 4, shape=(3, 4))
    (folder / "masks" / "0.png").unlink()
    second = run(folder)
    assert (second.exit_code, counts(second)) == (3, (0, 5, 1))
    found = rows(folder / "out")
    status = {name: (row["status"], row["truth_status"], row["has_truth"]) for name, row in found.items()}
    assert status["0.png"] == ("ok", "none", False)
    assert status["1.png"] == ("ok", "ok", True)
    assert status["4.png"] == ("ok", "mismatch", False)
    assert found["0.png"]["accuracy"] is None
    assert "truth 4 x 3" in found["4.png"]["error"]
    assert verify(str(folder / "out")).ok


def test_three_of_five_hundred(tmp_path: Path) -> None:
    for index in range(500):
        picture(tmp_path / "images" / f"{index:03}.png", index)
        if index >= 400:
            truth(tmp_path / "masks" / f"{index:03}.png", index)
    assert counts(run(tmp_path)) == (500, 0, 0)
    for index in range(400):  # truth that arrives for images that have masks
        truth(tmp_path / "masks" / f"{index:03}.png", index)
    assert counts(run(tmp_path)) == (0, 400, 100)
    for index in (7, 77, 477):
        truth(tmp_path / "masks" / f"{index:03}.png", 1000 + index)
    run(tmp_path)
    images = json.loads((tmp_path / "out" / "run.json").read_text())["images"]
    assert (images["segmented"], images["scored"], images["done_before"]) == (0, 3, 497)


def test_an_image_that_was_ok_and_fails_later_loses_its_mask(folder: Path) -> None:
    run(folder)
    (folder / "images" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    result = run(folder)
    assert result.exit_code == 3
    assert not (folder / "out" / "masks" / "3.png").exists()
    assert rows(folder / "out")["3.png"]["status"] == "unreadable"
    assert verify(str(folder / "out")).ok


def test_a_name_that_another_image_has_is_not_written_over(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png", 1)
    picture(tmp_path / "images" / "b.png", 2)
    run(tmp_path, source={"include": ["*.png"], "truth": None})
    before = mask(tmp_path / "out", "a.png")
    picture(tmp_path / "images" / "a.bmp", 3)
    result = run(tmp_path, source={"include": ["*.bmp"], "truth": None})
    assert (result.exit_code, result.record["images"]["full_names"]) == (0, 1)
    found = {name: row["mask"] for name, row in rows(tmp_path / "out").items()}
    assert found == {"a.bmp": "masks/a.bmp.png", "a.png": "masks/a.png", "b.png": "masks/b.png"}
    assert np.array_equal(mask(tmp_path / "out", "a.png"), before)
    assert verify(str(tmp_path / "out")).ok


def test_masks_keep_their_names_from_night_to_night(tmp_path: Path) -> None:
    """Whoever came first keeps the short name, though another would come first by now."""

    def names() -> dict[str, str]:
        assert verify(str(tmp_path / "out")).ok
        return {name: row["mask"] for name, row in rows(tmp_path / "out").items()}

    whole = {"source": {"truth": None}}
    picture(tmp_path / "images" / "a.png", 1)
    run(tmp_path, **whole)
    picture(tmp_path / "images" / "a.bmp", 2)
    run(tmp_path, **whole)
    first = {"a.png": "masks/a.png", "a.bmp": "masks/a.bmp.png"}
    assert names() == first
    for name in ("a.png", "a.bmp"):  # both change in one night, and a.bmp is listed first
        picture(tmp_path / "images" / name, 3)
    run(tmp_path, **whole)
    assert names() == first
    run(tmp_path, 64, recompute=True, **whole)
    assert names() == first
    (tmp_path / "images" / "a.png").unlink()
    picture(tmp_path / "images" / "a.bmp", 4)
    run(tmp_path, 64, prune=True, **whole)
    assert names() == {"a.bmp": "masks/a.bmp.png"}  # its own, though the short one is free
    assert mask(tmp_path / "out", "a.bmp.png").any()
    picture(tmp_path / "images" / "a.jpg", 5)
    run(tmp_path, 64, **whole)
    assert names() == {"a.bmp": "masks/a.bmp.png", "a.jpg": "masks/a.png"}


def test_masks_of_another_model_whose_truth_failed_are_seen(folder: Path) -> None:
    for index in range(6):
        truth(folder / "masks" / f"{index}.png", index, shape=(3, 4))
    run(folder, accept=["failing_truth"])
    with pytest.raises(OutputError, match="another model or setting"):
        run(folder, 64, accept=["failing_truth"])


def test_rows_of_another_model_that_are_not_listed_need_prune(folder: Path) -> None:
    run(folder)
    (folder / "images" / "5.png").unlink()
    with pytest.raises(OutputError, match="another model for 1 images that the source does not list"):
        run(folder, 64, recompute=True)
    assert len(rows(folder / "out")) == 6  # and nothing was dropped
    result = run(folder, 64, recompute=True, prune=True)
    assert (counts(result), len(rows(folder / "out"))) == ((5, 0, 0), 5)


def test_a_source_without_truth_has_no_scores(folder: Path) -> None:
    run(folder)
    result = run(folder, source={"truth": None})
    assert counts(result) == (0, 6, 0)
    assert result.metrics["mean_iou"] is None
    assert {row["truth_status"] for row in rows(folder / "out").values()} == {"none"}


def test_an_unknown_version_is_never_done(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 1)
    pq.write_table(pa.table({"image": ["a.png", "gone.png"]}), tmp_path / "list.parquet")
    config = {
        "source": str(tmp_path / "list.parquet"),
        "segmentor": "threshold",
        "output": str(tmp_path / "out"),
    }
    batchseg.run(batchseg.load_config(overrides=config))
    again = batchseg.run(batchseg.load_config(overrides=config))
    assert (again.done_before, again.statuses) == (1, {"missing": 1})


def test_other_bytes_under_the_same_id_are_another_version(tmp_path: Path) -> None:
    def write(seed: int, truth_seed: int | None) -> None:
        picture(tmp_path / "a.png", seed)
        values = {"id": ["a", "b"], "image_bytes": [(tmp_path / "a.png").read_bytes()] * 2}
        if truth_seed is not None:
            truth(tmp_path / "t.png", truth_seed)
            values["truth_bytes"] = [(tmp_path / "t.png").read_bytes(), None]
        pq.write_table(pa.table(values), tmp_path / "list.parquet")

    config = {
        "source": str(tmp_path / "list.parquet"),
        "segmentor": "threshold",
        "output": str(tmp_path / "out"),
    }

    def again() -> RunResult:
        return batchseg.run(batchseg.load_config(overrides=config))

    write(1, None)
    assert counts(again()) == (2, 0, 0)
    write(1, 5)
    assert counts(again()) == (0, 1, 1)
    assert rows(tmp_path / "out")["b"]["truth_status"] == "none"
    write(1, 6)
    assert counts(again()) == (0, 1, 1)
    write(2, 6)
    assert counts(again()) == (2, 0, 0)


def test_a_job_whose_first_images_all_fail_alike_ends_with_the_cause(tmp_path: Path) -> None:
    for index in range(40):
        path = tmp_path / "images" / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"\x89PNG\r\n\x1a\n broken")
    limits = {"stop_after_failures": 10}
    with pytest.raises(BatchsegError, match=r"images all failed alike \(unreadable; .*stop_after_failures"):
        run(tmp_path, limits=limits, source={"truth": None})
    picture(tmp_path / "images" / "00.png", 1)  # one that does not fail
    limits = {"stop_after_failures": 0}
    assert run(tmp_path, limits=limits, source={"truth": None}).statuses == {"ok": 1, "unreadable": 40}


def test_images_that_failed_before_do_not_keep_new_ones_from_their_turn(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for index in range(6):
        (tmp_path / "images" / f"a{index}.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    settings = {"limits": {"stop_after_failures": 3}, "source": {"truth": None}}
    with pytest.raises(BatchsegError, match="all failed alike"):
        run(tmp_path, **settings)
    for index in range(6):
        picture(tmp_path / "images" / f"b{index}.png", index)
    result = run(tmp_path, **settings)
    assert (result.segmented, result.statuses["ok"]) == (6, 6)


def test_images_that_failed_before_do_not_end_a_run_that_only_scores(folder: Path) -> None:
    for index in range(6):
        (folder / "images" / f"z{index}.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    settings = {"limits": {"stop_after_failures": 3}}
    run(folder, **settings)
    truth(folder / "masks" / "2.png", 99)
    assert counts(run(folder, **settings)) == (0, 1, 5)


def test_a_truth_of_the_same_size_and_time_in_another_folder_is_another(folder: Path) -> None:
    for name, seed in (("first", 1), ("second", 2)):
        for index in range(6):
            path = folder / name / f"{index}.npy"
            path.parent.mkdir(exist_ok=True)
            np.save(path, np.random.default_rng(seed + index).integers(0, 2, (6, 8), np.uint8))
            os.utime(path, (1_700_000_000, 1_700_000_000))
    run(folder, source={"truth": str(folder / "first")})
    assert counts(run(folder, source={"truth": str(folder / "second")})) == (0, 6, 0)
    for name, row in rows(folder / "out").items():
        expected = np.load(folder / "second" / f"{Path(name).stem}.npy")
        assert row["accuracy"] == accuracy_score(expected.ravel(), mask(folder / "out", name).ravel())


def test_scores_of_two_readings_are_not_summed(folder: Path, tmp_path: Path) -> None:
    run(folder, labels=labelled(tmp_path, dark=0, bright=1))
    swapped = labelled(tmp_path, dark=1, bright=0)
    with pytest.raises(OutputError, match="scores of 5 images that the source does not list"):
        run(folder, labels=swapped, source={"include": ["0.png"]})
    assert counts(run(folder, labels=swapped)) == (0, 6, 0)


def manifest(folder: Path, names: list[str], ids: list[str]) -> Any:
    pq.write_table(pa.table({"image": names, "id": ids}), folder / "list.parquet")
    return batchseg.load_config(
        overrides={
            "source": str(folder / "list.parquet"),
            "segmentor": "threshold",
            "output": str(folder / "out"),
        }
    )


def test_another_file_under_the_same_id_is_another_image(tmp_path: Path) -> None:
    for name, value in (("a.bmp", 10), ("b.bmp", 200)):
        Image.new("L", (8, 6), value).save(tmp_path / name)
        os.utime(tmp_path / name, (1_700_000_000, 1_700_000_000))
    batchseg.run(manifest(tmp_path, ["a.bmp", "b.bmp"], ["x", "y"]))
    assert mask(tmp_path / "out", "x.png").max() == 0
    swapped = batchseg.run(manifest(tmp_path, ["b.bmp", "a.bmp"], ["x", "y"]))
    assert counts(swapped) == (2, 0, 0)
    assert mask(tmp_path / "out", "x.png").min() == 1


def test_a_disk_that_is_away_takes_no_masks_along(tmp_path: Path) -> None:
    names = [f"photos/{index}.png" for index in range(4)]
    for index, name in enumerate(names):
        picture(tmp_path / name, index)
    config = manifest(tmp_path, names, names)
    batchseg.run(config)
    (tmp_path / "photos").rename(tmp_path / "away")
    with pytest.raises(OutputError, match="4 of 4 images that have masks are not to be found"):
        batchseg.run(config)
    (tmp_path / "away").rename(tmp_path / "photos")
    assert counts(batchseg.run(config)) == (0, 0, 4)


def test_a_part_without_its_counts_is_told(folder: Path) -> None:
    run(folder)
    (part,) = (folder / "out" / "pixels").iterdir()
    part.unlink()
    with pytest.raises(OutputError, match="is missing beside the part of images/ of the same name"):
        run(folder)
    assert verify(str(folder / "out"), repair=True).repaired is not None
    assert counts(run(folder)) == (6, 0, 0)


def test_small_parts_are_merged(folder: Path) -> None:
    for index in range(6, 9):
        run(folder)
        picture(folder / "images" / f"{index}.png", index)
    run(folder)
    assert len(list((folder / "out" / "images").iterdir())) == 1
    assert len(list((folder / "out" / "pixels").iterdir())) == 1
    assert len(rows(folder / "out")) == 9


def test_results_of_the_release_before_are_carried_on(tmp_path: Path) -> None:
    """A folder that batchseg 0.1.0 wrote at commit f85fea5, with its images and truths."""
    shutil.copytree(BEFORE, tmp_path, dirs_exist_ok=True)
    for kind in ("images", "masks"):
        for path in (tmp_path / kind).rglob("*.*"):
            os.utime(path, (1_700_000_000, 1_700_000_000))
    out = tmp_path / "results"
    before = {path.name: np.array(Image.open(path)) for path in (out / "masks").rglob("*.png")}
    assert verify(str(out), repair=True).ok  # which carries the tables on, and not yet the fingerprint
    config = {
        "source": {"path": str(tmp_path / "images"), "truth": str(tmp_path / "masks")},
        "labels": str(tmp_path / "labels.yaml"),
        "segmentor": "threshold",
        "output": str(out),
    }
    preview = batchseg.dry_run(batchseg.load_config(overrides=config))["images"]
    # broken.jpg never had a mask, and of which version the truths were nobody knows
    assert (preview["to_segment"], preview["to_score"]) == (1, 6)
    result = batchseg.run(batchseg.load_config(overrides=config))
    assert (result.segmented, result.scored, result.done_before) == (0, 6, 0)
    status = {name: (row["status"], row["truth_status"]) for name, row in rows(out).items()}
    assert status == {
        "a.png": ("ok", "ok"),
        "b.png": ("ok", "ok"),
        "broken.jpg": ("unreadable", None),
        "c.png": ("ok", "none"),
        "e.png": ("ok", "mismatch"),
        "f.png": ("ok", "out_of_range"),
        "sub/d.png": ("ok", "ok"),
    }
    after = {path.name: np.array(Image.open(path)) for path in (out / "masks").rglob("*.png")}
    assert after.keys() == before.keys()  # with other palettes, for the default one is another
    assert all(np.array_equal(after[name], before[name]) for name in before)
    assert len({row["fingerprint"] for row in rows(out).values() if row["mask"]}) == 1
    assert batchseg.run(batchseg.load_config(overrides=config)).segmented == 0
    assert verify(str(out)).ok
