"""What the names of annotated classes mean in a label map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from batchseg.errors import LabelMapError, RowFault
from batchseg.labels.label_file import load_label_map
from batchseg.labels.label_map import LabelMap
from batchseg.labels.merging import merged
from batchseg.labels.named_classes import NamedClasses
from batchseg.labels.reading import Reading
from batchseg.labels.recorded import record_label_map, recorded_label_map


def loaded(folder: Path, **content: Any) -> LabelMap:
    (folder / "labels.yaml").write_text(yaml.safe_dump(content))
    return load_label_map(str(folder / "labels.yaml"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("traffic light", 1), ("Traffic-Light", 1), ("TRAFFIC_LIGHT", 1), ("car", 2), ("cat", None), (None, 3)],
)
def test_case_and_separators_do_not_count(name: str | None, expected: int | None) -> None:
    classes = NamedClasses(LabelMap.from_names(("road", "Traffic_light", "car")))
    assert classes.id_of(name) == expected


@pytest.mark.parametrize("own", ["background", "Unlabeled", "__background__"])
def test_a_background_is_what_nobody_annotated(own: str) -> None:
    classes = NamedClasses(LabelMap.from_names(("car", own)))
    assert [classes.id_of(name) for name in (None, "background", "unlabelled", "car")] == [1, 1, 1, 0]
    assert NamedClasses(LabelMap.from_names(("car", "road"))).id_of("background") == 2  # void


def test_two_classes_of_one_folded_name_are_told_by_none() -> None:
    classes = NamedClasses(LabelMap.from_names(("car", "CAR", "road")))
    assert classes.id_of("car") is None and classes.id_of("road") == 2


def test_synonyms_and_ignored_names(tmp_path: Path) -> None:
    labels = loaded(
        tmp_path,
        classes=[
            "background",
            {"name": "car", "synonyms": ["Auto mobile", "vehicle"]},
            {"name": "truck", "synonyms": ["vehicle", "car"]},
        ],
        ignored_names=["do not care"],
    )
    ids = [NamedClasses(labels).id_of(name) for name in ("automobile", "vehicle", "car", "Do-Not-Care")]
    assert ids == [1, None, 1, labels.void]
    assert recorded_label_map(record_label_map(labels)) == labels


def test_ignored_names_are_no_classes(tmp_path: Path) -> None:
    for name in ("CAR", "auto"):
        with pytest.raises(LabelMapError, match=f"ignored_names has '{name}', which means a class"):
            loaded(tmp_path, classes=["a", {"name": "car", "synonyms": ["auto"]}], ignored_names=[name])


def test_names_mean_what_they_are_merged_into(tmp_path: Path) -> None:
    classes = ["road", "car", {"name": "bus", "synonyms": ["coach"]}, "tree"]
    whole = loaded(tmp_path, classes=classes, ignored_names=["x"])
    labels = merged(whole, {"vehicle": ["car", "bus"]})
    names = ("road", "Car", "bus", "coach", "vehicle", "tree", "x", "lorry")
    assert [NamedClasses(labels).id_of(name) for name in names] == [0, 1, 1, 1, 1, 2, 3, None]
    renamed = merged(whole, {"street": ["road"]})
    assert [NamedClasses(renamed).id_of(name) for name in ("road", "street")] == [0, 0]


def test_pixels_are_looked_up_by_their_place_among_the_names() -> None:
    reading = Reading(LabelMap.from_names(("tree", "background", "car")), by_name=True)
    places = np.array([[0, 1], [2, 0]], np.uint8)
    assert reading.named(places, (None, "car", "tree")).tolist() == [[1, 2], [0, 1]]
    with pytest.raises(RowFault, match="'bus' is annotated, and is no class of the label map"):
        reading.named(places, (None, "car", "bus"))


def test_a_fingerprint_has_names_only_where_they_count(tmp_path: Path) -> None:
    plain = loaded(tmp_path, classes=["road", "car"])
    more = loaded(tmp_path, classes=["road", {"name": "car", "synonyms": ["auto"]}], ignored_names=["x"])
    other = loaded(tmp_path, classes=["road", "lorry"])
    assert len({Reading(labels).fingerprint for labels in (plain, more, other)}) == 1
    assert len({Reading(labels, by_name=True).fingerprint for labels in (plain, more, other)}) == 3
    assert len({labels.mask_fingerprint for labels in (plain, more, other)}) == 1
    assert Reading(plain, **Reading(plain, by_name=True).settings) == Reading(plain, by_name=True)
