"""Classes of a label map that are taken for one, in its file or for one run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score

from batchseg.errors import LabelMapError
from batchseg.labels.label_file import load_both, load_label_map, load_wording
from batchseg.labels.label_map import LabelMap
from batchseg.labels.merging import merged
from batchseg.metrics.confusion import ConfusionMatrix

STREET: dict[str, Any] = {
    "ignored_truth_ids": [0],
    "ignored_colours": ["#000000"],
    "classes": [
        {"name": "road", "truth_ids": [7], "colour": "#804080", "synonyms": ["street"]},
        {"name": "car", "truth_ids": [26], "colour": ["#00008e", "#0000ff"], "synonyms": ["automobile"]},
        {"name": "sky", "truth_ids": [23], "colour": "#4682b4"},
        {"name": "truck", "truth_ids": [27], "colour": "#000046"},
        {"name": "bus", "truth_ids": [28, 29], "colour": "#003c64", "synonyms": ["car"]},
    ],
}
VEHICLE = {"vehicle": ["truck", "car", "bus"]}


def label_file(folder: Path, **more: Any) -> str:
    path = folder / "labels.yaml"
    path.write_text(yaml.safe_dump({**STREET, **more}), encoding="utf-8")
    return str(path)


def test_the_merged_class_stands_where_the_first_stood_and_has_its_colour(tmp_path: Path) -> None:
    found = load_label_map(label_file(tmp_path, merge=VEHICLE))
    assert found.names == ("road", "vehicle", "sky")
    assert found.colours == ((128, 64, 128), (0, 0, 142), (70, 130, 180))
    assert found.groups == (0, 1, 2, 1, 1)
    assert (found.num_classes, found.num_model_classes) == (3, 5)


def test_a_truth_of_any_of_them_means_it_by_id_and_by_colour(tmp_path: Path) -> None:
    found = load_label_map(label_file(tmp_path, merge=VEHICLE))
    ids = np.array([[0, 7, 23, 26, 27, 28, 29, 255]], np.uint8)
    assert found.encode(ids).tolist() == [[3, 0, 2, 1, 1, 1, 1, 3]]
    colours = ["000000", "804080", "00008e", "0000ff", "000046", "003c64", "4682b4"]
    pixels_HWC = np.array([[[*bytes.fromhex(colour)] for colour in colours]], np.uint8)
    assert found.encode(pixels_HWC).tolist() == [[3, 0, 1, 1, 1, 1, 2]]


def test_scores_are_those_of_scikit_learn_over_ids_remapped_by_hand(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    truth_HW = rng.choice([0, 7, 23, 26, 27, 28, 29], (40, 50)).astype(np.uint8)
    predicted_HW = rng.integers(0, 5, (40, 50))  # classes of the model, before they are merged
    found = load_label_map(label_file(tmp_path, merge=VEHICLE))
    assert found.groups is not None
    matrix = ConfusionMatrix.from_maps(
        np.array(found.groups)[predicted_HW], found.encode(truth_HW), found.num_classes
    )

    known = truth_HW != 0
    by_hand = {7: "road", 23: "sky", **dict.fromkeys((26, 27, 28, 29), "vehicle")}
    names = ["road", "vehicle", "sky", "vehicle", "vehicle"]
    truth = [by_hand[value] for value in truth_HW[known].tolist()]
    predicted = [names[index] for index in predicted_HW[known].tolist()]
    order = ["road", "vehicle", "sky"]
    np.testing.assert_array_equal(matrix.counts[:-1, :-1], confusion_matrix(truth, predicted, labels=order))
    assert matrix.accuracy == accuracy_score(truth, predicted)
    assert matrix.mean_iou == pytest.approx(jaccard_score(truth, predicted, average="macro"), abs=1e-15)


def test_without_truth_ids_each_class_is_meant_by_its_id_before() -> None:
    found = merged(LabelMap.from_names("abcd"), {"x": ["b", "d"]})
    assert found.encode(np.array([[0, 1, 2, 3, 255]])).tolist() == [[0, 1, 2, 1, 3]]
    assert found.of_masks.encode(np.array([[0, 1, 2, 255]])).tolist() == [[0, 1, 2, 3]]
    assert not found.read_colours  # the default palette is for drawing alone
    assert found.colours == tuple(LabelMap.from_names("abcd").colours[index] for index in (0, 1, 2))


def test_reduced_labels_stay_reduced() -> None:
    reduced = LabelMap(("a", "b", "c"), remap={0: 255, 1: 0, 2: 1, 3: 2})
    assert merged(reduced, {"ac": ["c", "a"]}).remap == {0: 255, 1: 0, 2: 1, 3: 0}


@given(st.lists(st.integers(0, 3), min_size=2, max_size=12).filter(lambda groups: len({*groups}) > 1))
def test_any_grouping_reads_a_truth_as_the_groups_of_its_classes(choice: list[int]) -> None:
    before = LabelMap(
        tuple(f"c{index}" for index in range(len(choice))),
        remap={10 + 3 * index: index for index in range(len(choice))} | {5: 255},
    )
    merge = {
        f"g{group}": [f"c{index}" for index, own in enumerate(choice) if own == group] for group in {*choice}
    }
    after = merged(before, merge)
    raw = np.array([[5, 255, *(10 + 3 * index for index in range(len(choice)))]])
    assert [*after.names] == [f"g{group}" for group in dict.fromkeys(choice)]
    expected = [after.void if own == before.void else after.names.index(f"g{choice[own]}")
                for own in before.encode(raw)[0].tolist()]  # fmt: skip
    assert after.encode(raw)[0].tolist() == expected


def test_a_run_may_merge_further_what_its_file_has_merged(tmp_path: Path) -> None:
    found = merged(load_label_map(label_file(tmp_path, merge=VEHICLE)), {"ground": ["road", "vehicle"]})
    assert (found.names, found.groups) == (("ground", "sky"), (0, 0, 1, 0, 0))
    assert found.encode(np.array([[7, 23, 28]])).tolist() == [[0, 1, 0]]


def test_a_group_may_be_called_like_one_of_its_classes(tmp_path: Path) -> None:
    found = load_label_map(label_file(tmp_path, merge={"car": ["car", "bus"]}))
    assert (found.names, found.groups) == (("road", "car", "sky", "truck"), (0, 1, 2, 3, 1))


def test_one_class_under_another_name_is_not_merged(tmp_path: Path) -> None:
    before, after = load_both(label_file(tmp_path, merge={"lorry": ["truck"]}))
    assert (after.names[3], after.groups) == ("lorry", None)
    assert after.mask_fingerprint == before.mask_fingerprint


@pytest.mark.parametrize(
    ("merge", "sentence"),
    [
        ({"v": ["car", "buss"]}, r"'v' names 'buss', which is no class; .*; did you mean bus\?"),
        ({"v": ["car", "bus"], "w": ["bus", "sky"]}, "'w' names 'bus' and 'v' does as well"),
        ({"v": ["car", "car"]}, "'v' names 'car' twice"),
        ({"all": ["road", "car", "sky", "truck", "bus"]}, "'all' takes all 5 classes"),
        ({"sky": ["car", "bus"]}, "'sky' is called like a class that is not in it"),
        ({"car": ["sky", "bus"], "v": ["car", "truck"]}, "'car' is called like a class that is not in it"),
        ({"v": []}, "'v' needs a name, and the names of the classes"),
        ({" ": ["car", "bus"]}, "' ' needs a name"),
        ({"v": "car"}, "merge.v: Input should be a valid list"),
        (["car"], "merge: Input should be a valid dictionary"),
    ],
)
def test_what_cannot_be_merged_is_refused_with_the_name_of_the_file(
    tmp_path: Path, merge: Any, sentence: str
) -> None:
    path = label_file(tmp_path, merge=merge)
    with pytest.raises(LabelMapError, match=sentence) as raised:
        load_label_map(path)
    assert path in str(raised.value)


def test_groups_that_leave_a_class_out_contradict_the_label_map() -> None:
    with pytest.raises(LabelMapError, match="groups must name each of the classes 0 to 1"):
        LabelMap(("a", "b"), groups=(0, 0, 2))


def test_masks_are_of_another_key_only_where_classes_are_merged() -> None:
    names = LabelMap.from_names(("a", "b", "c"))
    first, second = (merged(LabelMap.from_names("abcd"), {"x": group}) for group in ("ab", "cd"))
    keys = [each.mask_fingerprint for each in (names, first, second)]
    assert len({*keys}) == 3
    assert merged(LabelMap.from_names("abcd"), {"x": "ba"}).mask_fingerprint == keys[1]
    earlier = [(each.drawn_fingerprint, each.single_fingerprint) for each in (names, first, second)]
    assert len({key for pair in earlier for key in pair}) == 5  # of the first both are one


def test_wording_of_a_merged_class_has_all_names_and_synonyms(tmp_path: Path) -> None:
    wording = load_wording(label_file(tmp_path, merge=VEHICLE))
    assert wording.phrases == (("road", "street"), ("vehicle", "car", "automobile", "truck", "bus"), ("sky",))
    assert load_wording(label_file(tmp_path)).phrases[4] == ("bus", "car")
