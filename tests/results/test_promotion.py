"""A candidate takes the place of the results, or goes, whenever the process dies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from crashes import every_kill
from result_rows import LABELS, ids, make_masks, masks, table, whole

from batchseg.errors import OutputError
from batchseg.inspect.verify import verify
from batchseg.pipeline.promote import drop_candidate, promote
from batchseg.results.candidate import candidate_of, candidate_state
from batchseg.results.folder import Results
from batchseg.results.promotion import ASIDE, CANDIDATE, LOG, begin_promotion, finish_promotion

# an image of both, and one that came since; the tables' parts have names of their own
OLD, NEW = ("a", "sub/b"), ("a", "sub/b", "sub/c")


def fill(results: Results, run_id: str, names: tuple[str, ...], fingerprint: str, **facts: Any) -> None:
    with results.held() as held:
        rows = [whole(name, fingerprint=fingerprint, run_id=run_id, model=run_id) for name in names]
        held.commit(f"{run_id}.parquet", table(*rows))
        make_masks(results, *names)
        held.finish(LABELS)
        record = {
            "run_id": run_id,
            "status": "finished",
            "model": {"name": run_id, "fingerprint": fingerprint, "classes": LABELS.names},
            "images": {"listed": len(names)},
            "exit_code": 0,
            **facts,
        }
        results.write_record(record)


def scene(folder: Path, **facts: Any) -> Results:
    """Good results with overlays, and a candidate without."""
    results = Results(str(folder / "results"))
    fill(results, "old", OLD, "old")
    (folder / "results" / "overlays").mkdir()
    (folder / "results" / "overlays" / "a.png").write_bytes(b"old")
    fill(candidate_of(results), "new", NEW, "new", **{"candidate": {}, "config": {"prune": False}, **facts})
    for name in NEW:
        (folder / "results" / CANDIDATE / "masks" / f"{name}.png").write_bytes(b"new")
    (folder / "results" / CANDIDATE / ".palette").write_bytes(b"its colours")
    return results


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def bury(folder: Path) -> None:
    """The locks of a process that is gone: this one is not."""
    for place in (folder / "results", folder / "results" / CANDIDATE):
        (place / ".lock").unlink(missing_ok=True)


def assert_is_new(folder: Path) -> None:
    results = Results(str(folder / "results"))
    assert (ids(results), masks(results)) == (sorted(NEW), set(NEW))
    found = contents(folder / "results")
    assert {name for name in found if not name.startswith(("images/", "pixels/", "masks/"))} == {
        "run.json",
        "runs/old.json",
        "runs/new.json",
        "classes.parquet",
        ".palette",
    }
    assert {data for name, data in found.items() if name.startswith("masks/")} == {b"new"}
    assert json.loads(found["run.json"])["run_id"] == "new"
    assert found["run.json"] == found["runs/new.json"]
    assert verify(str(results.root), quick=True).ok


def test_it_takes_the_place_of_all_that_is_of_a_model(tmp_path: Path) -> None:
    results = scene(tmp_path)
    done = promote(str(results.root))
    assert (done.promoted, done.model, done.run_id) == (True, "new", "new")
    assert_is_new(tmp_path)
    with pytest.raises(OutputError, match="has no candidate"):
        promote(str(results.root))


def test_killed_at_any_step_the_next_command_finishes_it(tmp_path: Path) -> None:
    """Either nothing has happened yet, and promoting again does it, or opening the folder finishes it."""

    def work(step: int) -> Any:
        results = scene(tmp_path / str(step))
        return lambda: promote(str(results.root))

    def after(step: int) -> None:
        folder = tmp_path / str(step)
        bury(folder)
        begun = (folder / "results" / LOG).exists() or not (folder / "results" / CANDIDATE).exists()
        with Results(str(folder / "results")).held() as held:
            held.results.work.delete_folder()
        if not begun:
            assert ids(Results(str(folder / "results"))) == sorted(OLD)
            assert (folder / "results" / "overlays" / "a.png").read_bytes() == b"old"
            promote(str(folder / "results"))
        assert_is_new(folder)

    assert every_kill(work, after) > 15


def test_killed_at_any_step_promoting_again_finishes_it(tmp_path: Path) -> None:
    def work(step: int) -> Any:
        results = scene(tmp_path / str(step))
        return lambda: promote(str(results.root))

    def after(step: int) -> None:
        folder = tmp_path / str(step) / "results"
        bury(folder.parent)
        if (folder / CANDIDATE).exists() or (folder / LOG).exists():
            assert promote(str(folder)).promoted
        assert_is_new(folder.parent)

    every_kill(work, after)


def test_what_a_kill_left_is_told_by_verify_and_finished_by_repair(tmp_path: Path) -> None:
    results = scene(tmp_path)
    begin_promotion(results.root, candidate_of(results).record() or {})
    assert "a promotion was cut off" in " ".join(each.sentence for each in verify(str(results.root)).problems)
    verify(str(results.root), quick=True, repair=True)
    assert_is_new(tmp_path)


def test_dropped_at_any_step_it_is_gone_and_the_results_stay(tmp_path: Path) -> None:
    before: dict[int, dict[str, bytes]] = {}

    def work(step: int) -> Any:
        results = scene(tmp_path / str(step))
        before[step] = contents(tmp_path / str(step) / "results")
        return lambda: drop_candidate(str(results.root))

    def after(step: int) -> None:
        folder = tmp_path / str(step) / "results"
        bury(folder.parent)
        if (folder / CANDIDATE).exists() or (folder / LOG).exists():
            assert not drop_candidate(str(folder)).promoted
        kept = {name: data for name, data in before[step].items() if not name.startswith(f"{CANDIDATE}/")}
        left = {name: data for name, data in contents(folder).items() if ".tmp-" not in name}
        assert left == kept

    every_kill(work, after)


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"status": "interrupted"}, "its last run was interrupted"),
        ({"candidate": None}, "it was not held against the good results"),
        ({"exit_code": 4, "gates": ["mean_iou fell"]}, "its gates failed; mean_iou fell"),
        ({"night": {"exit_code": 1, "sentences": ["not whole"]}}, "its night was not good; not whole"),
    ],
)
def test_what_may_not_be_promoted(tmp_path: Path, facts: dict[str, Any], sentence: str) -> None:
    results = scene(tmp_path, **facts)
    before = contents(tmp_path)
    with pytest.raises(OutputError, match=f"candidate: cannot be promoted: {sentence}"):
        promote(str(results.root))
    assert contents(tmp_path) == before
    state = candidate_state(results)
    assert state is not None and state.obstacle == sentence


def test_a_candidate_whose_run_was_killed_has_no_record(tmp_path: Path) -> None:
    results = scene(tmp_path)
    (tmp_path / "results" / CANDIDATE / "run.json").unlink()
    with pytest.raises(OutputError, match="its run has not finished"):
        promote(str(results.root))


def test_a_candidate_that_is_not_whole_stays_where_it_is(tmp_path: Path) -> None:
    results = scene(tmp_path)
    (tmp_path / "results" / CANDIDATE / "masks" / "a.png").unlink()
    with pytest.raises(OutputError, match=r"is not whole \(1 mask_missing\)"):
        promote(str(results.root))
    assert ids(results) == sorted(OLD)


def test_images_that_came_to_the_good_results_since_are_not_lost(tmp_path: Path) -> None:
    results = scene(tmp_path)
    with results.held() as held:
        held.commit("z.parquet", table(whole("later", fingerprint="old")))
        make_masks(results, "later")
        held.finish(LABELS)
    with pytest.raises(OutputError, match="1 images that have masks are not in the candidate"):
        promote(str(results.root))
    pruned = scene(tmp_path / "pruned", config={"prune": True})
    with pruned.held() as held:
        held.commit("z.parquet", table(whole("gone", fingerprint="old")))
        make_masks(pruned, "gone")
        held.finish(LABELS)
    promote(str(pruned.root))
    assert_is_new(tmp_path / "pruned")


@pytest.mark.parametrize("which", ["results", "candidate"])
def test_nothing_is_promoted_or_dropped_while_a_run_is_at_work(tmp_path: Path, which: str) -> None:
    results = scene(tmp_path)
    busy = results if which == "results" else candidate_of(results)
    with busy.held():
        for change in (promote, drop_candidate):
            with pytest.raises(OutputError, match="another run writes here"):
                change(str(results.root))


def test_its_trace_is_found_again(tmp_path: Path) -> None:
    trace = tmp_path / "results" / CANDIDATE / "profiles" / "new.json.gz"
    results = scene(tmp_path, profile=str(trace))
    trace.parent.mkdir()
    trace.write_bytes(b"a trace")
    promote(str(results.root))
    record = results.record()
    assert record and record["profile"] == str(tmp_path / "results" / "profiles" / "new.json.gz")
    assert Path(record["profile"]).read_bytes() == b"a trace"


@pytest.mark.parametrize(
    "log",
    [
        b"no log",
        b'{"record": null}',
        b'{"record": null, "swap": ["../x"], "drop": [], "cleared": false}',
        b'{"record": {"run_id": "../x"}, "swap": [], "drop": [], "cleared": false}',
    ],
)
def test_what_is_no_log_of_ours_is_not_carried_out(tmp_path: Path, log: bytes) -> None:
    results = scene(tmp_path)
    (tmp_path / "results" / LOG).write_bytes(log)
    with pytest.raises(OutputError, match=r"\.promote\.json: is no log of batchseg"), results.held():
        pass
    assert ids(results) == sorted(OLD)


def test_a_link_is_no_candidate(tmp_path: Path) -> None:
    results = scene(tmp_path)
    folder = tmp_path / "results" / CANDIDATE
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="candidate: is a link"):
        promote(str(results.root))


def test_links_among_the_old_files_lead_nowhere(tmp_path: Path) -> None:
    results = scene(tmp_path)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "photo.png").write_bytes(b"a photo")
    (tmp_path / "results" / "masks" / "link").symlink_to(outside)
    (tmp_path / "results" / CANDIDATE / "link").symlink_to(outside)
    promote(str(results.root))
    assert (outside / "photo.png").read_bytes() == b"a photo"
    assert not (tmp_path / "results" / ASIDE).exists()


def test_finishing_what_was_not_begun_changes_nothing(tmp_path: Path) -> None:
    results = scene(tmp_path)
    before = contents(tmp_path)
    finish_promotion(results.root)
    assert contents(tmp_path) == before
