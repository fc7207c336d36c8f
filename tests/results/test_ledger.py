"""The ledger: what is done, whose a mask is, and rows that go together with their pixels and masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from crashes import Killed, every_kill, killed_at
from result_rows import (
    LABELS,
    confusion,
    failed,
    ids,
    listing,
    make_masks,
    masks,
    parts,
    pixels_of,
    read,
    row,
    table,
)

from batchseg.results.folder import Held, Results
from batchseg.results.ledger import Ledger
from batchseg.results.verdict import Key, Rows
from batchseg.storage.keys import KeySet, keys

KEY = Key("model", "score")


@pytest.fixture
def held(tmp_path: Path) -> Held:
    return Results(str(tmp_path / "results")).open()


def judged(ledger: Ledger, *listed: tuple[str, str | None, str | None], key: Key = KEY) -> dict[str, str]:
    """For each image what there is to do: nothing, score, or segment."""
    verdict = ledger.judge(listing(*listed), key)
    words = np.where(verdict.segmented, np.where(verdict.scored, "done", "score"), "segment")
    assert not (verdict.scored & ~verdict.segmented).any()
    return dict(zip((name for name, *_ in listed), words.tolist(), strict=True))


def rows_of(ledger: Ledger, *names: str) -> Rows:
    return KeySet([keys(names)]).contains(ledger.rows["id"])


# -- what is done


def test_a_mask_is_there_of_the_same_version_by_the_same_model(held: Held) -> None:
    rows = [
        row("same"),
        row("changed"),
        row("other model", fingerprint="other"),
        failed("failed"),
        row("unversioned", source_version=None),
        row("lost its mask", mask=None),
    ]
    held.commit("1.parquet", table(*rows))
    seen = [
        ("same", "v1", "t1"),
        ("changed", "v2", "t1"),
        ("other model", "v1", "t1"),
        ("failed", "v1", "t1"),
        ("unversioned", None, "t1"),
        ("lost its mask", "v1", "t1"),
        ("new", "v1", "t1"),
    ]
    expected = dict.fromkeys((name for name, *_ in seen), "segment") | {"same": "done"}
    assert judged(held.ledger, *seen) == expected
    assert set(judged(held.ledger, *seen, key=Key("nobody's", "score")).values()) == {"segment"}
    places = held.ledger.judge(listing(*seen), KEY).at
    assert places.tolist() == [0, 1, 2, 3, 4, 5, -1]


@pytest.mark.parametrize(
    ("image", "truth_version", "todo"),
    [
        (row("a"), "t1", "done"),
        (row("a"), "t2", "score"),  # the truth was corrected
        (row("a", {(None, 0): 6}), "t1", "score"),  # it came later
        (row("a"), None, "score"),  # it is gone, and its figures must go with it
        (row("a", {(None, 0): 6}), None, "done"),  # none is meant
        (row("a", score_fingerprint="other"), "t1", "score"),  # truths are read otherwise now
        (row("a", {(None, 0): 6}, score_fingerprint="other"), None, "done"),  # where there is none to read
        (row("a", {(None, 0): 6}, truth_status="missing", truth_version="t1"), "t1", "score"),
        (row("a", {(None, 0): 6}, truth_status="mismatch", truth_version="t1"), "t1", "score"),
        (row("a", {(None, 0): 6}, truth_status="unreadable", truth_version="t1"), None, "score"),
        (row("a", truth_version=None), "t1", "score"),  # of batchseg 0.1
    ],
)
def test_a_score_is_there_of_the_same_truth_read_in_the_same_way(
    held: Held, image: dict, truth_version: str | None, todo: str
) -> None:
    held.commit("1.parquet", table(image))
    assert judged(held.ledger, ("a", "v1", truth_version)) == {"a": todo}
    assert judged(held.ledger, ("a", "v2", truth_version)) == {"a": "segment"}


def test_a_truth_of_unknown_version_is_read_again(held: Held) -> None:
    held.commit("1.parquet", table(row("a", truth_version=None)))
    asked = listing(("a", "v1", None))
    at = asked.schema.get_field_index("truth")
    asked = asked.set_column(at, asked.schema.field(at), [["truth/a.png"]])
    assert held.ledger.judge(asked, KEY).scored.tolist() == [False]


def test_of_existing_masks_no_file_of_their_own_is_asked_for(held: Held) -> None:
    held.commit("1.parquet", table(row("a", mask=None)))
    assert judged(held.ledger, ("a", "v1", "t1"), key=Key("model", "score", has_files=False)) == {"a": "done"}
    assert judged(held.ledger, ("a", "v1", "t1")) == {"a": "segment"}


def test_the_last_row_of_an_image_counts(held: Held) -> None:
    held.commit("1.parquet", table(row("a"), row("b")))
    held.commit("2.parquet", table(row("a", source_version="v2"), failed("b")))
    for ledger in (held.ledger, held.results.ledger()):
        assert judged(ledger, ("a", "v2", "t1"), ("b", "v1", "t1")) == {"a": "done", "b": "segment"}


def test_what_is_committed_is_known_as_if_it_were_read_again(held: Held) -> None:
    held.commit("1.parquet", table(row("a"), failed("b"), row("c", fingerprint="other")))
    held.commit("2.parquet", table(row("b", {(None, 1): 2})))
    again = held.results.ledger()
    assert (again.parts, again.names) == (held.ledger.parts, held.ledger.names)
    assert (again.rows == held.ledger.rows).all()


# -- whose, which and what


def test_fingerprints_are_those_of_masks(held: Held) -> None:
    held.commit("1.parquet", table(row("a"), failed("b", fingerprint="failed"), row("c", fingerprint="old")))
    assert held.ledger.fingerprints() == {"model", "old"}
    assert held.ledger.of_other_models("model").tolist() == [False, False, True]
    assert held.ledger.of_other_models("new").tolist() == [True, False, True]


def test_a_mask_belongs_to_the_image_whose_row_names_it(held: Held) -> None:
    held.commit("1.parquet", table(row("a", mask="masks/x/a.png"), failed("b")))
    held.commit("2.parquet", table(row("c")))
    names = ["x/a.png", "c.png", "b.png", None]
    assert held.ledger.owners(keys(names)) == ["a", "c", None, None]
    assert held.ledger.masks().contains(keys(names[:3])).tolist() == [True, True, False]


def test_values_come_in_the_order_they_are_asked_for(held: Held) -> None:
    held.commit("1.parquet", table(row("a", height=1), row("b", height=2)))
    held.commit("2.parquet", table(row("c", height=3)))
    asked = held.ledger.values(np.array([2, 0, 2, 1]), ["id", "height"])
    assert asked.to_pydict() == {"id": ["c", "a", "c", "b"], "height": [3, 1, 3, 2]}
    assert len(held.ledger.values(np.empty(0, np.intp), ["id"])) == 0


def test_unlisted_rows_are_those_of_images_that_are_gone(held: Held) -> None:
    held.commit("1.parquet", table(row("a"), row("b")))
    assert held.ledger.unlisted(KeySet([keys(["b", "c"])])).tolist() == [True, False]
    assert held.ledger.unlisted(KeySet()).tolist() == [True, True]


# -- dropping


def test_later_rows_replace_earlier_ones_with_their_pixels(held: Held) -> None:
    held.commit("1.parquet", table(row("a", {(0, 0): 1}), row("b", {(0, 1): 2}), row("c", {(0, 2): 3})))
    held.commit("2.parquet", table(row("b", {(1, 1): 4}), row("d", {(2, 2): 5})))
    held.commit("3.parquet", table(failed("a"), row("d", {(2, 0): 6})))
    assert held.ledger.drop_superseded() == 3
    assert [(each["id"], each["status"]) for each in read(held.results, "images")] == [
        ("a", "unreadable"),
        ("b", "ok"),
        ("c", "ok"),
        ("d", "ok"),
    ]
    assert confusion(held.results) == {(1, 1): 4, (0, 2): 3, (2, 0): 6}
    assert held.ledger.drop_superseded() == 0


def test_a_part_that_is_replaced_whole_disappears(held: Held) -> None:
    held.commit("1.parquet", table(row("a"), row("b")))
    held.commit("2.parquet", table(row("b"), row("a")))
    held.finish(LABELS)
    assert parts(held.results) == (["2.parquet"], ["2.parquet"])


def test_a_mask_goes_with_the_last_row_that_names_it(held: Held) -> None:
    make_masks(held.results, "a", "b", "c", "sub/d")
    held.commit("1.parquet", table(row("a"), row("b"), row("c"), row("sub/d")))
    held.commit("2.parquet", table(row("a"), failed("b")))
    assert held.ledger.drop_superseded() == 2
    assert masks(held.results) == {"a", "c", "sub/d"}
    assert held.ledger.drop(rows_of(held.ledger, "sub/d")) == 1
    assert (masks(held.results), ids(held.results)) == ({"a", "c"}, ["a", "b", "c"])


def test_dropped_rows_are_known_no_more(held: Held) -> None:
    held.commit("1.parquet", table(row("a"), row("b")))
    held.commit("2.parquet", table(row("c")))
    assert held.ledger.drop(rows_of(held.ledger, "a", "c")) == 2
    assert held.ledger.parts == {"1.parquet": 1}
    assert judged(held.ledger, ("a", "v1", "t1"), ("b", "v1", "t1"), ("c", "v1", "t1")) == {
        "a": "segment",
        "b": "done",
        "c": "segment",
    }
    assert held.ledger.owners(keys(["a.png", "b.png"])) == [None, "b"]
    held.commit("3.parquet", table(row("a", source_version="v2")))
    assert held.ledger.values(held.ledger.judge(listing(("a", "v2", "t1")), KEY).at, ["id"]).to_pydict() == {
        "id": ["a"]
    }


def test_dropping_deletes_nothing_but_masks(held: Held, tmp_path: Path) -> None:
    for name in ("precious.txt", "results/precious.txt"):
        (tmp_path / name).write_text("precious")
    wrong = ("../precious.txt", "masks/../../precious.txt", "masks/../precious.txt", "masks//precious.txt")
    wrong = (*wrong, "masks/.", "masks/", "m", str(tmp_path / "precious.txt"))
    held.commit("1.parquet", table(*(row(f"{index}", mask=mask) for index, mask in enumerate(wrong))))
    assert held.ledger.drop(held.ledger.unlisted(KeySet())) == len(wrong)
    assert (tmp_path / "precious.txt").exists()
    assert (tmp_path / "results/precious.txt").exists()


@pytest.mark.parametrize("target", ["elsewhere", "results/masks-of-mine", "results/images"])
def test_dropping_follows_no_link_out_of_the_masks(held: Held, tmp_path: Path, target: str) -> None:
    (tmp_path / target).mkdir(exist_ok=True)
    (tmp_path / target / "a.png").write_text("precious")
    (tmp_path / "results" / "masks").mkdir()
    (tmp_path / "results" / "masks" / "link").symlink_to(tmp_path / target)
    held.commit("1.parquet", table(row("link/a")))
    assert held.ledger.drop(held.ledger.unlisted(KeySet())) == 1
    assert (tmp_path / target / "a.png").read_text() == "precious"


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_overlays_go_with_their_masks(held: Held, tmp_path: Path, name: str) -> None:
    make_masks(held.results, "a")
    overlay = tmp_path / "results" / "overlays" / name
    overlay.parent.mkdir()
    overlay.write_bytes(b"")
    held.commit("1.parquet", table(row("a")))
    held.ledger.drop(rows_of(held.ledger, "a"))
    assert not overlay.exists()


@pytest.mark.parametrize(("kept", "left"), [((), []), (("b.png",), ["b.jpg"])])
def test_overlays_of_what_failed_go_with_its_row_unless_they_are_another_image_s(
    held: Held, tmp_path: Path, kept: tuple[str, ...], left: list[str]
) -> None:
    folder = tmp_path / "results" / "overlays"
    folder.mkdir()
    for name in ("a.jpg", "b.jpg", "b.tif.png"):
        (folder / name).write_bytes(b"")
    others = [row(name, mask="masks/b.png") for name in kept]
    held.commit("1.parquet", table(failed("a.tif"), failed("b.tif"), *others))
    held.ledger.drop(rows_of(held.ledger, "a.tif", "b.tif"))
    assert sorted(path.name for path in folder.iterdir()) == left


# -- killed while rows go

BEFORE = {
    "1": [("a", 1), ("b", 2), ("c", 3)],
    "2": [("d", 4), ("e", 5)],
    "3": [("f", 6)],
    "4": [("g", 7), ("h", 8)],
}


def scene(folder: Path) -> Held:
    """Four parts with a mask for each row."""
    held = Results(str(folder)).open()
    for part, rows in BEFORE.items():
        make_masks(held.results, *(name for name, _ in rows))
        held.commit(f"{part}.parquet", table(*(row(name, {(0, 1): n, (1, 1): n}) for name, n in rows)))
    return held


WHOLE = {name: 2 * n for rows in BEFORE.values() for name, n in rows}
GOING = ("b", "c", "f", "g")


def assert_whole(results: Results) -> set[str]:
    """Every row has its pixels and its mask, and there are none of others; the ids."""
    found = ids(results)
    assert len(set(found)) == len(found)
    assert pixels_of(results) == {name: WHOLE[name] for name in found}
    assert masks(results) == set(found)
    assert not [*Path(results.root.path).rglob(".tmp-*"), *Path(results.root.path).glob(".rewrite*")]
    return set(found)


def test_killed_at_any_step_of_a_drop_every_row_is_whole_or_gone(tmp_path: Path) -> None:
    opened: dict[int, Held] = {}

    def work(step: int):
        held = opened[step] = scene(tmp_path / str(step))
        return lambda: held.ledger.drop(rows_of(held.ledger, *GOING))

    def after(step: int) -> None:
        results = opened[step].results
        results.open()
        found = assert_whole(results)
        assert set(WHOLE) - set(GOING) <= found
        # going on, it comes to the same
        held = results.open()
        held.ledger.drop(rows_of(held.ledger, *GOING))
        assert assert_whole(results) == set(WHOLE) - set(GOING)

    # the names of the masks; of two parts two tables, log, two moves, and the log's end; of one that goes
    # log, two files and the log's end; masks, and no overlays where there is no folder of them
    assert every_kill(work, after) == 1 + 2 * 6 + 4 + len(GOING)


def test_killed_again_while_it_is_mended_every_row_is_whole_or_gone(tmp_path: Path) -> None:
    for first in (0, 1, 4, 6, 9, 13, 18, 20):
        opened: dict[int, Held] = {}

        def work(step: int, first: int = first, opened: dict[int, Held] = opened):
            held = opened[step] = scene(tmp_path / f"{first}-{step}")
            with killed_at(first), pytest.raises(Killed):
                held.ledger.drop(rows_of(held.ledger, *GOING))
            return held.results.open

        def after(step: int, opened: dict[int, Held] = opened) -> None:
            opened[step].results.open()
            assert set(WHOLE) - set(GOING) <= assert_whole(opened[step].results)

        every_kill(work, after)


def test_killed_at_any_step_of_finishing_the_last_rows_count(tmp_path: Path) -> None:
    opened: dict[int, Held] = {}

    def work(step: int):
        held = opened[step] = scene(tmp_path / str(step))
        held.commit("5.parquet", table(row("a", {(2, 2): 10}), failed("b"), row("f", {(0, 0): 20})))
        return lambda: held.finish(LABELS)

    def after(step: int) -> None:
        results = opened[step].results
        expected = {**WHOLE, "a": 10, "f": 20}
        del expected["b"]
        for _ in range(2):
            held = results.open()
            assert ids(results) == sorted(WHOLE)
            assert pixels_of(results) == expected
            assert masks(results) == set(expected)
        held.finish(LABELS)
        assert pixels_of(results) == expected
        assert ids(results) == sorted(WHOLE)
        assert len(parts(results)[0]) == 1
        assert read(results, "classes")[1]["support"] == 3 + 4 + 5 + 7 + 8

    assert every_kill(work, after) > 20


# -- scale


def test_a_recompute_of_everything_drops_everything_once(held: Held) -> None:
    """Every row replaced, in parts of another cut: sorted keys, not a set that grows with each part."""
    for run in ("1", "2"):
        for part in range(20):
            step = 50 if run == "1" else 49
            names = range(part * step, min((part + 1) * step, 1000) if part < 19 else 1000)
            held.commit(f"{run}-{part:02d}.parquet", table(*(row(f"{n:04d}", run_id=run) for n in names)))
    held.finish(LABELS)
    assert {each["run_id"] for each in read(held.results, "images")} == {"2"}
    assert ids(held.results) == [f"{n:04d}" for n in range(1000)]
    assert all(name.startswith("2-") for names in parts(held.results) for name in names)
    assert confusion(held.results) == {(0, 0): 6000}
    assert pixels_of(held.results) == dict.fromkeys(ids(held.results), 6)
