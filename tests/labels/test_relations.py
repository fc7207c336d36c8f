"""Relations between label maps: what names propose, what a review must leave, and what comes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import command
from labels.mseg import PAIRS, classes_of, gold

import batchseg
from batchseg.errors import ConfigError, LabelMapError
from batchseg.labels.label_file import load_label_map
from batchseg.labels.label_map import LabelMap
from batchseg.labels.relation import load_relation, with_merge

MODEL = LabelMap.from_names(("sky", "car", "bus", "road", "cow"))
TARGET = {"ignore_index": 9, "classes": ["ground", {"name": "vehicle", "colour": "#102030"}, "air"]}
ROWS = {"sky": "air", "car": "vehicle", "bus": "vehicle", "road": "ground", "cow": None}


def relation(folder: Path, rows: dict[str, Any] = ROWS, to: dict[str, Any] = TARGET, **more: Any) -> str:
    (folder / "mine.yaml").write_text(yaml.safe_dump(to))
    classes = [{"source": one, "target": other, "reviewed": True, **more} for one, other in rows.items()]
    return written(folder, {"from": "ours", "to": "mine.yaml", "classes": classes})


def written(folder: Path, content: Any) -> str:
    path = folder / "relation.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return str(path)


def data_set(folder: Path, name: str) -> str:
    """A built-in label map, or a file that holds names alone."""
    if name != "coco-panoptic":
        return name
    path = folder / "coco-panoptic.yaml"
    path.write_text(yaml.safe_dump({"classes": classes_of(name)}))
    return str(path)


def test_the_gold_table_has_every_class_of_the_data_sets_once() -> None:
    for name in ("ade20k", "cityscapes", "voc"):
        classes = [each for each in load_label_map(name).names if each != "background"]
        if name == "ade20k":
            assert sorted(classes_of(name)) == sorted(classes)
        assert {*classes_of(name)} == {*classes}
    assert len(classes_of("coco-panoptic")) == len({*classes_of("coco-panoptic")}) == 133


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_names_alone_are_never_wrong_on_the_gold_table_and_find_two_in_five(
    tmp_path: Path, source: str, target: str
) -> None:
    found = batchseg.map_labels(data_set(tmp_path, source), data_set(tmp_path, target))
    truth = gold(source, target)
    proposed = {row.source: row.target for row in found.rows}
    assert [*proposed] == [*load_label_map(data_set(tmp_path, source)).names]
    wrong = {name: to for name, to in proposed.items() if to is not None and to not in truth[name]}
    assert wrong == {}
    placed = [name for name, wanted in truth.items() if wanted]
    assert sum(proposed[name] is not None for name in placed) >= 0.4 * len(placed)
    assert {row.by for row in found.rows} <= {"name", None}


def test_names_meet_but_for_case_and_what_data_sets_add_and_synonyms_come_second(tmp_path: Path) -> None:
    ours = ["Traffic-Light", "tree-merged", "couch", "seat", "LABEL_3", "other", "bank"]
    theirs = [
        "traffic_light",
        "tree",
        {"name": "sofa", "synonyms": ["Couch", "seat"]},
        {"name": "chair", "synonyms": ["seat", "bank"]},
        "LABEL_3",
        "background",
        "river bank",
        "bank",
    ]
    for name, classes in (("a", ours), ("b", theirs)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({"classes": classes}))
    rows = batchseg.map_labels(tmp_path / "a.yaml", tmp_path / "b.yaml").rows
    assert {row.source: (row.target, row.by) for row in rows} == {
        "Traffic-Light": ("traffic_light", "name"),
        "tree-merged": ("tree", "name"),
        "couch": ("sofa", "synonym"),
        "seat": (None, None),  # a synonym of two
        "LABEL_3": (None, None),  # says nothing
        "other": ("background", "name"),
        "bank": ("bank", "name"),
    }


def test_a_reviewed_relation_has_the_ids_names_and_truths_of_its_target(tmp_path: Path) -> None:
    found = with_merge(MODEL, relation(tmp_path))
    other = load_label_map(str(tmp_path / "mine.yaml"))
    assert (found.names, found.colours, found.ignore_index) == (other.names, other.colours, 9)
    assert found.groups == (2, 1, 1, 0, 3)  # cows go to none, and there is no background: void
    assert (found.num_model_classes, found.void) == (5, 3)
    assert found.of_masks.known_ids == other.of_masks.known_ids


def test_none_is_the_background_or_other_of_the_target_where_it_has_one(tmp_path: Path) -> None:
    for name in ("background", "Other"):
        to = {"classes": ["ground", "vehicle", name, "air"]}
        assert with_merge(MODEL, relation(tmp_path, to=to)).groups == (3, 1, 1, 0, 2)


def test_a_target_that_nothing_goes_to_stays_and_model_names_may_differ_in_case(tmp_path: Path) -> None:
    rows = {"Sky": "air", "CAR": None, "bus ": None, "road": "air", "cow": None}
    found = with_merge(MODEL, relation(tmp_path, rows))
    assert (found.names, found.groups) == (("ground", "vehicle", "air"), (2, 3, 3, 2, 3))


def test_the_same_classes_in_the_same_order_leave_the_masks_key_as_it_is(tmp_path: Path) -> None:
    own = LabelMap.from_names(("road", "car", "sky"))
    path = relation(
        tmp_path,
        {"road": "ground", "car": "vehicle", "sky": "air"},
        {"classes": ["ground", "vehicle", "air"]},
    )
    assert with_merge(own, path).mask_fingerprint == own.mask_fingerprint
    other = relation(tmp_path, ROWS | {"cow": "ground"})
    assert with_merge(MODEL, other).mask_fingerprint != MODEL.mask_fingerprint


def test_classes_that_were_merged_before_go_on_from_there(tmp_path: Path) -> None:
    before = with_merge(MODEL, {"vehicles": ("car", "bus")})
    path = relation(tmp_path, {"sky": "air", "vehicles": "vehicle", "road": "ground", "cow": None})
    assert with_merge(before, path).groups == (2, 1, 1, 0, 3)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (
            {**ROWS, "car": "vehicel"},
            r"'car' goes to 'vehicel', which is no class of .*; did you mean vehicle\?",
        ),
        ({**ROWS, "cow": "none"}, "'cow' goes to 'none', .* none of them is written null"),
        (
            {name: to for name, to in ROWS.items() if name != "bus"},
            "made for the classes of ours, and the model has others: there is no row for 'bus'",
        ),
        (
            {**ROWS, "cat": None},
            "made for the classes of ours, and the model has others: 'cat' is none of them",
        ),
        (dict.fromkeys(ROWS, "air"), "every class goes to one"),
        (dict.fromkeys(ROWS), "every class goes to one"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_files_name(
    tmp_path: Path, rows: dict[str, Any], sentence: str
) -> None:
    path = relation(tmp_path, rows)
    with pytest.raises(LabelMapError, match=sentence) as raised:
        with_merge(MODEL, path)
    assert path in str(raised.value)
    assert "\n" not in str(raised.value)


def test_unreviewed_rows_are_refused_and_named(tmp_path: Path) -> None:
    path = relation(tmp_path, reviewed=False)
    with pytest.raises(
        LabelMapError,
        match=r"5 of its 5 rows are not reviewed, 'sky', 'car', 'bus' and 2 more; .* set reviewed: true",
    ):
        with_merge(MODEL, path)


def test_a_class_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    content = yaml.safe_load(Path(relation(tmp_path)).read_text())
    content["classes"].append({"source": "car", "target": "air", "reviewed": True})
    path = written(tmp_path, content)
    with pytest.raises(LabelMapError, match="names 'car' twice; a class goes to one"):
        with_merge(MODEL, path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"form": "ade20k"}, r"is no relation between label maps: form: unknown key; did you mean from\?"),
        ({"classes": []}, "classes: List should have at least 1 item"),
        ({"classes": [{"source": "a", "target": None}]}, r"classes\.0\.reviewed: Field required"),
        (
            {"classes": [{"source": "a", "target": None, "reviewed": "no"}]},
            r"reviewed: Input should be a valid bool",
        ),
        ({"classes": [{"source": "a", "traget": None, "reviewed": True}]}, "Field required, and 1 more"),
        ({"to": "gone.yaml"}, "no label map '.*gone.yaml'"),
    ],
)
def test_a_file_that_is_no_relation_is_refused(tmp_path: Path, change: Any, sentence: str) -> None:
    content = yaml.safe_load(Path(relation(tmp_path)).read_text())
    path = written(tmp_path, content | change)
    with pytest.raises(LabelMapError, match=sentence):
        with_merge(MODEL, path)


def test_a_file_that_is_not_there_or_no_yaml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelMapError, match=r"merge gone\.yaml: there is no such file; .* NAME=A,B"):
        load_relation("gone.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(LabelMapError, match=r"bad\.yaml: cannot be read"):
        load_relation(str(tmp_path / "bad.yaml"))


def test_a_proposal_is_not_written_over_a_file_that_may_have_been_reviewed(tmp_path: Path) -> None:
    path = relation(tmp_path)
    before = Path(path).read_text()
    with pytest.raises(LabelMapError, match="is there already, and may have been reviewed"):
        batchseg.map_labels("voc", "cityscapes", output=path)
    assert Path(path).read_text() == before


def test_the_file_names_its_target_as_seen_from_its_folder(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "maps").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "maps" / "mine.yaml").write_text(yaml.safe_dump(TARGET))
    monkeypatch.chdir(tmp_path)
    batchseg.map_labels("voc", "maps/mine.yaml", output="out/relation.yaml")
    assert yaml.safe_load((tmp_path / "out" / "relation.yaml").read_text())["to"] == "../maps/mine.yaml"
    monkeypatch.chdir("/")
    found = load_relation(str(tmp_path / "out" / "relation.yaml"))
    assert load_label_map(found.target).names == ("ground", "vehicle", "air")


def test_the_command_prints_yaml_and_tells_what_is_to_be_done() -> None:
    found = command("labels", "map", "--from", "voc", "--to", "cityscapes")
    assert found.exit_code == 0
    content = yaml.safe_load(found.stdout)
    assert (content["from"], content["to"], content["language_model"]) == ("voc", "cityscapes", None)
    assert not any(row["reviewed"] for row in content["classes"])
    assert "by names alone, for no language model was given" in found.stdout
    assert "no language model was given, so names alone were compared" in found.stderr
    assert "review it: correct each row" in found.stderr


def test_an_unknown_label_map_or_a_missing_flag_is_one_sentence() -> None:
    found = command("labels", "map", "--from", "ade21k", "--to", "voc")
    assert (found.exit_code, found.stdout) == (2, "")
    assert "no label map 'ade21k'" in found.stderr
    assert "did you mean ade20k?" in found.stderr
    assert "to_labels: is required; give --to" in command("labels", "map", "--from", "voc").stderr


def test_a_cosine_without_a_language_model_is_refused() -> None:
    found = command("labels", "map", "--from", "voc", "--to", "cityscapes", "--none-below", "0.7")
    assert found.exit_code == 2
    assert "none_below needs a language_model" in found.stderr


def test_a_relation_whose_target_is_gone_is_named(tmp_path: Path) -> None:
    path = relation(tmp_path)
    content = yaml.safe_load(Path(path).read_text())
    Path(path).write_text(yaml.safe_dump({**content, "to": "gone.yaml"}))
    with pytest.raises(LabelMapError, match=r"what its classes go to \(to\): .*gone\.yaml") as caught:
        load_relation(path).applied(load_label_map("voc"))
    assert str(caught.value).startswith(path)


def test_several_merges_beside_a_relation_are_refused() -> None:
    given = ("run", "photos", "--model", "threshold", "--output", "r", "--merge", "relation.yaml")
    found = command(*given, "--merge", "a=b,c")
    assert found.exit_code == ConfigError.exit_code
    assert "--merge relation.yaml: a relation says of every class where it goes" in found.stderr


def test_show_prints_built_in_maps_and_files_plainly_where_it_is_piped(tmp_path: Path) -> None:
    assert "ade20k                 150 classes" in command("labels", "show").stdout
    lines = command("labels", "show", "cityscapes").stdout.splitlines()
    assert lines[1].split()[:4] == ["0", "#804080", "road", "7"]
    assert lines[-1] == "19 classes; void is 255 in masks"
    (tmp_path / "mine.yaml").write_text(
        yaml.safe_dump(TARGET | {"classes": [{"name": "[red]x", "synonyms": ["y"]}]})
    )
    shown = command("labels", "show", tmp_path / "mine.yaml").stdout
    assert "[red]x" in shown
    assert "\x1b" not in shown
    assert "no label map 'gone'" in command("labels", "show", "gone").stderr
    assert '"colour": "#804080"' in command("labels", "show", "cityscapes", "--json").stdout


def test_show_has_a_swatch_of_each_colour_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLORTERM", "truecolor")
    shown = command("labels", "show", "cityscapes").stdout
    assert "\x1b[48;2;128;64;128m" in shown
