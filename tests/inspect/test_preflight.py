"""A label map is held against the model by its names as well, before anything is segmented."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from batchseg.config.load import validate_segmentor
from batchseg.config.looks import Tiling, Views
from batchseg.errors import ConfigError, LabelMapError
from batchseg.inspect.preflight import choose_labels, refuse_mirrored_sides, refuse_small_tile
from batchseg.labels.label_map import LabelMap
from batchseg.segmentors.base import Checkpoint
from batchseg.segmentors.registry import open_checkpoint
from tests.command_line import command

OWN = ["road", "Traffic-Light", "sky", "LABEL_3"]


def model(sample_data: Path, folder: Path, names: list[str]) -> Checkpoint:
    """The sample model, with other names for its first classes and numbers for the rest."""
    made = folder / "model"
    shutil.rmtree(made, ignore_errors=True)
    shutil.copytree(sample_data / "model", made)
    content = json.loads((made / "config.json").read_text())
    every = [*names, *(f"LABEL_{index}" for index in range(len(names), len(content["id2label"])))]
    content["id2label"] = {str(index): name for index, name in enumerate(every)}
    content["label2id"] = {name: index for index, name in enumerate(every)}
    (made / "config.json").write_text(json.dumps(content))
    return open_checkpoint(validate_segmentor({"kind": "huggingface", "model": str(made)}))


def labels(folder: Path, names: list[str], **more: object) -> str:
    every = [*names, *(f"other {index}" for index in range(len(names), 11))]
    (folder / "labels.yaml").write_text(yaml.safe_dump({"classes": every, **more}))
    return str(folder / "labels.yaml")


@pytest.mark.parametrize(
    "names",
    [
        ["road", "traffic light", "sky"],
        ["ROAD", "traffic_light", "Sky"],
        ["Strasse", "Ampel", "Himmel"],
        ["road", "lamp", "air"],
        ["LABEL_1", "LABEL_0", "1", "class 2"],
    ],
)
def test_the_same_order_and_other_words_are_accepted(
    sample_data: Path, tmp_path: Path, names: list[str]
) -> None:
    path = labels(tmp_path, names)
    assert choose_labels(path, model(sample_data, tmp_path, OWN)).names[: len(names)] == tuple(names)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            ["traffic light", "road", "sky"],
            "'traffic light' is 0, of the model 1 and 'road' is 1, of the model 0",
        ),
        (
            ["nothing", "Road", "traffic_LIGHT"],
            "'Road' is 1, of the model 0 and 'traffic_LIGHT' is 2, of the model 1",
        ),
        (["road", "traffic light", "air", "sky"], "'sky' is 3, of the model 2\\)"),
    ],
)
def test_names_at_other_ids_are_refused(
    sample_data: Path, tmp_path: Path, names: list[str], words: str
) -> None:
    with pytest.raises(LabelMapError, match=words):
        choose_labels(labels(tmp_path, names), model(sample_data, tmp_path, OWN))


def test_numbers_alone_are_no_names(sample_data: Path, tmp_path: Path) -> None:
    path = labels(tmp_path, ["LABEL_1", "LABEL_0", "sky"])
    assert choose_labels(path, model(sample_data, tmp_path, [])).num_classes == 11


def test_a_merged_file_is_compared_as_it_was_before(sample_data: Path, tmp_path: Path) -> None:
    merge = {"ground": ["road", "sky"]}
    own = model(sample_data, tmp_path, OWN)
    chosen = choose_labels(labels(tmp_path, ["road", "traffic light", "sky"], merge=merge), own)
    assert (chosen.num_classes, chosen.num_model_classes) == (10, 11)
    assert chosen.groups is not None and chosen.groups[:4] == (0, 1, 0, 2)
    with pytest.raises(LabelMapError, match="'sky' is 0, of the model 2"):
        choose_labels(labels(tmp_path, ["sky", "traffic light", "road"], merge=merge), own)


def test_of_a_model_that_learnt_the_merged_classes_nothing_is_merged(
    sample_data: Path, tmp_path: Path
) -> None:
    names = ["road", "car", "bus", *(f"other {index}" for index in range(9))]
    path = tmp_path / "labels.yaml"
    path.write_text(yaml.safe_dump({"classes": names, "merge": {"vehicle": ["car", "bus"]}}))
    learnt = model(sample_data, tmp_path, ["road", "vehicle"])
    chosen = choose_labels(str(path), learnt)
    assert (chosen.names[:2], chosen.groups) == (("road", "vehicle"), None)
    assert chosen.known_ids[1] == chosen.known_ids[2] == 1
    with pytest.raises(LabelMapError, match="'vehicle' is 1, of the model 0"):
        choose_labels(str(path), model(sample_data, tmp_path, ["vehicle", "road"]))


def test_a_run_merges_the_models_own_classes_or_those_of_a_file(sample_data: Path, tmp_path: Path) -> None:
    own, merge = model(sample_data, tmp_path, OWN), {"ground": ["road", "sky"]}
    assert choose_labels(None, own, merge).names[:2] == ("ground", "Traffic-Light")
    path = labels(tmp_path, ["road", "lamp", "sky"])
    assert choose_labels(path, own, merge).names[:2] == ("ground", "lamp")
    with pytest.raises(LabelMapError, match="merge: 'ground' names 'road', which is no class"):
        choose_labels(labels(tmp_path, ["way", "lamp", "sky"]), own, merge)


@pytest.mark.parametrize(
    "name",
    ["left hand", "hand-R", "left_hand", "leftArm", "L Arm", "RHand", "eye (right)", "LEFT_LEG", "right2"],
)
def test_horizontal_flips_are_refused_where_a_class_has_a_side(name: str) -> None:
    label_map = LabelMap.from_names(("background", name))
    with pytest.raises(ConfigError, match=r"classes have a side: .*views\.mirror_sides: true") as raised:
        refuse_mirrored_sides(Views(flip=("vertical", "horizontal")), label_map)
    assert repr(name) in str(raised.value)
    refuse_mirrored_sides(Views(flip=("vertical",)), label_map)
    refuse_mirrored_sides(Views(flip=("horizontal",), mirror_sides=True), label_map)
    refuse_mirrored_sides(None, label_map)


def test_both_sides_in_one_word_are_known_by_their_pair() -> None:
    flip = Views(flip=("horizontal",))
    with pytest.raises(ConfigError, match="'leftarm', 'rightarm'"):
        refuse_mirrored_sides(flip, LabelMap.from_names(("body", "leftarm", "rightarm")))
    refuse_mirrored_sides(flip, LabelMap.from_names(("body", "leftarm")))


def test_words_that_only_look_like_a_side_are_none() -> None:
    names = ("bright", "copyright", "leftover", "cleft", "rail", "Lorry", "r2d2", "LR", "upright", "L1")
    refuse_mirrored_sides(Views(flip=("horizontal",)), LabelMap.from_names(names))


def test_a_tile_smaller_than_a_cell_of_the_model_is_refused_with_both_numbers(
    sample_data: Path, tmp_path: Path
) -> None:
    own = model(sample_data, tmp_path, OWN)
    assert own.stride == 16
    with pytest.raises(ConfigError, match=r"is 15 pixels, and .* one cell for 16"):
        refuse_small_tile(Tiling(size=15), own)
    refuse_small_tile(Tiling(size=16), own)
    refuse_small_tile(None, own)
    refuse_small_tile(Tiling(size=1), open_checkpoint(validate_segmentor({"kind": "threshold"})))


def test_windows_and_views_that_do_not_fit_are_refused_before_a_run(
    sample_data: Path, tmp_path: Path
) -> None:
    sides = labels(tmp_path, ["left hand"])
    words = ["run", sample_data / "images", "--model", sample_data / "model", "--output", tmp_path / "out"]
    small = command(*words, "--dry-run", "--tile", 8)
    mirrored = command(*words, "--dry-run", "--labels", sides, "--set", "views.flip=[horizontal]")
    assert (small.exit_code, mirrored.exit_code) == (2, 2)
    assert "tiling.size (--tile) is 8 pixels" in small.stderr
    assert "'left hand'; leave it out, or say views.mirror_sides: true" in mirrored.stderr
