"""Truths that look wrong: thresholds by hand, what a run fills in, kills on the way, and the order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from crashes import every_kill, killed_at
from result_rows import LABELS, read, row, table

import batchseg
from batchseg.cli.group import cli
from batchseg.errors import ConfigError, OutputError
from batchseg.metrics.calibration import Calibration
from batchseg.results.folder import Held, Results
from batchseg.results.suspects import suspects_of

Group = tuple[int, int, float, float, int]  # true and predicted class, their probabilities, pixels


def probed(name: str, *groups: Group, **values: Any) -> dict[str, Any]:
    """The row of an image, as the score stage makes it."""
    columns = [np.repeat(column, [group[-1] for group in groups]) for column in zip(*groups, strict=True)]
    truth_N, likely_N, top_N, true_N, _ = columns
    p_CN = np.zeros((3, len(truth_N)), np.float32)
    p_CN[truth_N, range(len(truth_N))] = true_N
    p_CN[likely_N, range(len(truth_N))] = top_N
    found = Calibration.of(p_CN, truth_N, likely_N, np.ones(len(truth_N), bool))
    return row(name, **found.figures(), _calibration=pa.table(found.groups()).to_pylist(), **values)


# of class 1 the model is sure from 0.75 on, the mean of 0.9 and 0.6
SURE = probed("sure", (0, 0, 0.9, 0.9, 100), (1, 1, 0.9, 0.9, 50))
LESS = probed("less", (0, 0, 0.9, 0.9, 100), (1, 1, 0.6, 0.6, 50))
WRONG = probed("wrong", (0, 0, 0.9, 0.9, 60), (0, 1, 0.95, 0.02, 40), uri="/data/wrong.jpg")


@pytest.fixture
def held(tmp_path: Path) -> Held:
    return Results(str(tmp_path / "results")).open()


def fractions(held: Held) -> dict[str, float | None]:
    return {each["id"]: each["suspect_fraction"] for each in read(held.results, "images")}


def test_a_run_fills_what_is_suspect(held: Held) -> None:
    """Background's threshold is (260 x 0.9 + 40 x 0.02) / 300 = 0.783; that of class 2 nobody knows."""
    unsure = probed("unsure", (0, 1, 0.7, 0.2, 10), (0, 0, 0.9, 0.9, 90))
    unknown = probed("unknown", (0, 2, 0.99, 0.0, 10), (1, 0, 0.8, 0.1, 30), (1, 1, 0.9, 0.9, 10))
    held.commit("1.parquet", table(SURE, LESS, WRONG, unsure))
    held.commit("2.parquet", table(unknown, row("without")))
    assert set(fractions(held).values()) == {None}
    held.finish(LABELS)
    sums = {
        0: (0.9 * 260 + 0.02 * 40 + 0.2 * 10 + 0.9 * 90) / 410,
        1: (0.9 * 50 + 0.6 * 50 + 30 * 0.1 + 9) / 140,
    }
    assert sums[0] < 0.8
    assert 0.7 > sums[1] > 0.6
    assert fractions(held) == {
        "less": 0,
        "sure": 0,
        "wrong": pytest.approx(0.4),
        "unsure": pytest.approx(0.1),  # 0.7 is above 0.62
        "unknown": pytest.approx(30 / 50),
        "without": None,
    }
    found = batchseg.suspects(held.results.root.path)
    assert found.thresholds == {
        "sky": pytest.approx(sums[0], abs=1e-6), "road": pytest.approx(sums[1], abs=1e-6), "car": None
    }  # fmt: skip
    assert (found.suspicious, found.probed) == (3, 5)
    assert {each.id: each.suspect_fraction for each in found.images} == {
        name: value for name, value in fractions(held).items() if value
    }


def test_what_is_filled_stays_and_its_part_too(held: Held) -> None:
    held.commit("1.parquet", table(SURE, LESS, WRONG))
    held.finish(LABELS)
    place = Path(held.results.root.path) / "images" / "1.parquet"
    before = place.stat().st_mtime_ns, place.stat().st_ino
    first = fractions(held)
    again = Results(held.results.root.path).open()
    again.finish(LABELS)
    assert (place.stat().st_mtime_ns, place.stat().st_ino) == before
    # what comes later changes thresholds, and no row that was told
    sure = [probed(f"more{index}", (1, 1, 0.99, 0.99, 4000), (0, 0, 0.9, 0.9, 10)) for index in range(3)]
    again.commit("2.parquet", table(*sure))
    again.finish(LABELS)
    after = fractions(again)
    assert {name: after[name] for name in first} == first
    assert first["wrong"] == pytest.approx(0.4)
    fresh = batchseg.suspects(again.results.root.path)
    assert fresh.images == ()  # 0.95 is no longer sure


def test_a_kill_between_commit_and_fill_leaves_none_for_good(tmp_path: Path) -> None:
    def work(step: int) -> Any:
        held = Results(str(tmp_path / f"{step}")).open()
        for number, rows in enumerate([(SURE, LESS), (WRONG,), (row("without"),)]):
            held.commit(f"{number}.parquet", table(*rows))
        return lambda: held.finish(LABELS)

    def after(step: int) -> None:
        held = Results(str(tmp_path / f"{step}")).open()
        told = fractions(held)
        assert set(told) == {"sure", "less", "wrong", "without"}
        assert set(told.values()) <= {None, 0, 0.4}
        held.finish(LABELS)
        assert fractions(held) == {"sure": 0, "less": 0, "wrong": 0.4, "without": None}
        assert len(read(held.results, "calibration")) == 6

    assert every_kill(work, after) > 4


def test_the_rows_of_a_run_that_was_cut_off_count_once(held: Held) -> None:
    """An image that was segmented again has two rows until the run ends."""
    held.commit("1.parquet", table(SURE, LESS, WRONG))
    right = probed("wrong", (0, 0, 0.9, 0.9, 100))
    held.commit("2.parquet", table(right))
    assert batchseg.suspects(held.results.root.path).images == ()


def test_the_order_is_by_the_share_of_the_smaller_side(held: Held) -> None:
    base = [SURE, LESS]
    swapped = probed("swapped", (0, 0, 0.9, 0.9, 4000), (2, 1, 0.99, 0.0, 60))
    lacking = probed("lacking", (0, 0, 0.9, 0.9, 4000), (0, 1, 0.98, 0.01, 30))
    edge = probed("edge", (0, 0, 0.9, 0.9, 3000), (0, 1, 0.99, 0.0, 200), (1, 1, 0.9, 0.9, 900))
    speck = probed("speck", (0, 0, 0.9, 0.9, 4000), (0, 1, 0.99, 0.0, 1))
    held.commit("1.parquet", table(*base, edge, speck, lacking, swapped))
    held.finish(LABELS)
    found = suspects_of(held.results, 10)
    assert [each.id for each in found.images] == ["swapped", "lacking", "edge", "speck"]
    first = found.images[0]
    assert (first.truth, first.suspected, first.pixels) == ("car", "road", 60)
    assert first.share == first.suspect_fraction == pytest.approx(60 / 4060)
    assert first.score == pytest.approx(0.99 * 60 / 68, abs=1e-6)
    assert first.truth_probability_p05 == pytest.approx(0.9, abs=1e-6)
    assert [each.id for each in suspects_of(held.results, 2).images] == ["swapped", "lacking"]
    assert suspects_of(held.results, 0).suspicious == 4


def test_planted_errors_come_first(held: Held) -> None:
    """A scorer that is unsure, wrong at edges, and in some images sure and wrong of an object."""
    rng, rows, planted = np.random.default_rng(0), [], set()
    for index in range(200):
        objects = rng.integers(30, 300, 2)
        edge = int(objects[0] * rng.uniform(0.02, 0.15))
        groups = [
            (0, 0, 0.98, 0.98, 3000),
            (1, 1, rng.uniform(0.8, 0.99), 0.9, int(objects[0])),
            (0, 1, rng.uniform(0.6, 0.97), 0.1, edge),
        ]
        kind = 2 if rng.random() < 0.05 else 0 if rng.random() < 0.05 else 1
        if kind == 2:  # the truth says 2, and the model is sure of 1
            groups.append((2, 1, rng.uniform(0.9, 0.99), 0.01, int(objects[1])))
            planted.add(f"{index}")
        elif kind == 0:  # the model is wrong, and less sure of it
            groups.append((2, 1, rng.uniform(0.5, 0.9), 0.3, int(objects[1])))
        else:
            groups.append((2, 2, rng.uniform(0.8, 0.99), 0.9, int(objects[1])))
        rows.append(probed(f"{index}", *groups))
    held.commit("1.parquet", table(*rows))
    held.finish(LABELS)
    found = suspects_of(held.results, 16)
    first = {each.id for each in found.images}
    assert len(planted) > 5
    assert len(first & planted) / len(planted) >= 0.8


def test_on_the_command_line(held: Held) -> None:
    held.commit("1.parquet", table(SURE, LESS, WRONG))
    held.finish(LABELS)
    results = held.results.root.path
    shown = CliRunner().invoke(cli, ["suspects", results])
    assert shown.exit_code == 0
    assert "1 of 3 images" in shown.output
    (line,) = [line for line in shown.output.splitlines() if line.startswith("wrong ")]
    assert line.split() == ["wrong", "sky", "road", "40", "40.00%", "0.775"]
    done = CliRunner().invoke(cli, ["suspects", results, "--json", "--listed", "1"])
    told = json.loads(done.output)
    assert told["images"][0]["uri"] == "/data/wrong.jpg"
    assert told["thresholds"]["car"] is None
    assert CliRunner().invoke(cli, ["suspects", results, "--quiet"]).output == ""


def test_settings_from_a_file(held: Held, tmp_path: Path) -> None:
    held.commit("1.parquet", table(SURE, LESS, WRONG))
    (tmp_path / "suspects.yaml").write_text(f"results: {held.results.root.path}\nlisted: 0\n")
    done = CliRunner().invoke(cli, ["suspects", "--config", str(tmp_path / "suspects.yaml"), "--json"])
    assert json.loads(done.output)["images"] == []
    wrong = CliRunner().invoke(cli, ["suspects", held.results.root.path, "--listed", "-1"])
    assert wrong.exit_code == 2
    assert len(wrong.output.splitlines()) == 2  # a heading and the problem
    with pytest.raises(ConfigError, match="listed"):
        batchseg.suspects(held.results.root.path, listed=-1)


def test_where_nothing_was_probed(held: Held, tmp_path: Path) -> None:
    held.commit("1.parquet", table(row("a")))
    held.finish(LABELS)
    with pytest.raises(OutputError, match="no image has both probabilities and a ground truth"):
        batchseg.suspects(held.results.root.path)
    assert suspects_of(held.results, 5).images == ()
    shown = CliRunner().invoke(cli, ["suspects", str(tmp_path / "nowhere")])
    assert shown.exit_code == 1
    assert "holds no results" in shown.output
    assert not (Path(held.results.root.path) / "calibration").exists()


@pytest.mark.parametrize(("column", "value"), [("truth", -1), ("predicted", 2**30), ("bin", 15)])
def test_a_table_with_other_numbers_is_none_of_ours(held: Held, column: str, value: int) -> None:
    held.commit("1.parquet", table(SURE, LESS, WRONG))
    place = f"{held.results.root.path}/calibration/1.parquet"
    found = pq.read_table(place)
    at = found.column_names.index(column)
    changed = pa.array([value, *found[column].to_pylist()[1:]], pa.int32())
    pq.write_table(found.set_column(at, found.schema.field(at), changed), place)
    with pytest.raises(OutputError, match=rf"1\.parquet: is no table of batchseg: {column} reaches"):
        batchseg.suspects(held.results.root.path)


def test_what_is_killed_while_it_fills_is_filled_by_the_next(held: Held) -> None:
    held.commit("1.parquet", table(SURE, LESS, WRONG))
    with killed_at(1), pytest.raises(BaseException, match=r"write|move"):
        held.finish(LABELS)
    assert pq.read_table(f"{held.results.root.path}/images")["suspect_fraction"].null_count == 3
    again = Results(held.results.root.path).open()
    again.finish(LABELS)
    assert fractions(again)["wrong"] == pytest.approx(0.4)
