"""An ensemble, opened: which classes its members have in common, and what it decides by."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest

from batchseg.config.load import validate_segmentor
from batchseg.config.segmentor import infer_segmentor
from batchseg.errors import BatchsegError, ConfigError, ModelError
from batchseg.inspect.preflight import choose_labels
from batchseg.labels.label_map import LabelMap
from batchseg.segmentors.combined.decision import Decision, decision_of
from batchseg.segmentors.combined.ensemble import EnsembleCheckpoint, members_of
from batchseg.segmentors.registry import open_checkpoint
from tests.segmentors.tiny_checkpoints import build

FIRST = ["background", "Car", "traffic light", "sky", "bus", "dog"]
SECOND = ["sky", "car", "cat", "Traffic-Light", "background", "horse", "sheep"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two SegFormers with label maps of their own, and the first once more with other names."""
    root = tmp_path_factory.mktemp("models")
    for name, names in (("a", FIRST), ("b", SECOND)):
        rename(build("segformer", root / name, len(names)), names)
    return root


def rename(folder: Path, names: list[str]) -> Path:
    content = json.loads((folder / "config.json").read_text())
    content["id2label"] = {str(index): name for index, name in enumerate(names)}
    content["label2id"] = {name: index for index, name in enumerate(names)}
    (folder / "config.json").write_text(json.dumps(content))
    return folder


def opened(*models: Any, **settings: Any) -> EnsembleCheckpoint:
    members = [str(model) if isinstance(model, Path) else model for model in models]
    found = open_checkpoint(validate_segmentor({"kind": "ensemble", "members": members, **settings}))
    assert isinstance(found, EnsembleCheckpoint)
    return found


def named(tmp_path: Path, *lists: list[str] | str) -> list[str]:
    """Segmentors of a user's own that have these classes."""
    for place, names in enumerate(lists):
        (tmp_path / f"own{place}.py").write_text(
            f"class Own:\n    labels = {names!r}\n    def segment(self, images): ...\n"
        )
    return [f"{tmp_path}/own{place}.py:Own" for place in range(len(lists))]


def test_common_classes_are_matched_by_name_in_the_order_they_are_met(models: Path) -> None:
    found = opened(models / "a", models / "b")
    assert found.label_map.names == (*FIRST, "cat", "horse", "sheep")
    assert found.groups == ((0, 1, 2, 3, 4, 5), (3, 1, 6, 2, 0, 7, 8))
    assert found.weights == (0.5, 0.5)
    assert "5 of the 9 classes are known to some members" in found.notes[0]
    assert found.notes[0].endswith("'bus', 'dog', 'cat' and 2 more")
    assert "truth ids are taken for their common classes: 0 is 'background'" in found.notes[1]
    assert found.stride == 32
    assert found.pixel_range == members_of(found)[0].pixel_range  # type: ignore[attr-defined]
    assert pickle.loads(pickle.dumps(found)) == found


def test_of_one_label_map_nothing_changes(models: Path) -> None:
    found, alone = opened(models / "a", models / "a"), open_one(models / "a")
    assert (found.label_map, found.groups, found.notes) == (alone.label_map, (None, None), ())
    assert members_of(found) == (alone, alone)
    assert members_of(alone) == (alone,)


def open_one(model: Path) -> Any:
    return open_checkpoint(validate_segmentor(infer_segmentor(str(model))))


def test_models_that_read_truths_differently_share_the_classes_alone(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "a", tmp_path / "reduced")
    file = tmp_path / "reduced" / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "do_reduce_labels": True}))
    both, same = (
        opened(models / "a", tmp_path / "reduced"),
        opened(tmp_path / "reduced", tmp_path / "reduced"),
    )
    assert both.label_map == LabelMap.from_names(FIRST)
    assert both.groups == (None, None)
    assert "the label maps of the ensemble's members differ" in both.notes[0]
    assert same.label_map.remap == {0: 255, **{index + 1: index for index in range(6)}}
    assert "do_reduce_labels" in same.notes[0]


def test_names_that_one_model_tells_apart_by_case_are_taken_as_they_are(tmp_path: Path) -> None:
    found = opened(*named(tmp_path, ["Pole", "pole", "sky"], ["SKY", "pole"]))
    assert found.label_map.names == ("Pole", "pole", "sky")
    assert found.groups == (None, (2, 1))


def test_numbers_are_matched_and_that_is_said(tmp_path: Path) -> None:
    found = opened(*named(tmp_path, ["class_0", "class_1"], ["class 1", "tree"]))
    assert found.label_map.names == ("class_0", "class_1", "tree")
    assert any("the same number is taken for the same class: 'class_1'" in note for note in found.notes)


def test_other_names_are_brought_together_by_merge(tmp_path: Path) -> None:
    members = named(tmp_path, ["background", "car"], ["automobile", "bus", "background"])
    found = opened(*members, merge={"vehicle": ["car", "automobile", "bus"]})
    assert found.label_map == LabelMap(
        ("background", "vehicle"),
        found.label_map.colours,
        remap={0: 0, 1: 1, 2: 1, 3: 1},
        read_colours={},
        read_names={"background": 0, "car": 1, "automobile": 1, "bus": 1},
    )
    assert found.groups == (None, (1, 1, 0))
    with pytest.raises(ModelError, match=r"segmentor\.merge: 'v' names 'tram', which is no class"):
        opened(*members, merge={"v": ["car", "tram"]})


def test_the_fingerprint_is_of_members_weights_and_what_is_decided(models: Path) -> None:
    a, b = models / "a", models / "b"
    keys = [
        opened(a, b).fingerprint,
        opened(b, a).fingerprint,
        opened(a, a).fingerprint,
        opened(a, b, weights=[1, 2]).fingerprint,
        opened(a, b, merge={"animal": ["dog", "cat"]}).fingerprint,
        opened(a, b, none_below=0.5).fingerprint,
    ]
    assert len({*keys}) == len(keys)
    assert opened(a, b, weights=[3, 3], batch_size=2, device="cpu").fingerprint == keys[0]


def test_a_member_that_cannot_be_opened_is_named(models: Path, tmp_path: Path) -> None:
    with pytest.raises(BatchsegError, match="nowhere"):
        opened(models / "a", tmp_path / "nowhere")


def decide(checkpoint: Any, merge: dict[str, list[str]] | None = None, **settings: Any) -> Decision:
    kind = {"model": "x", **settings}
    config = validate_segmentor(infer_segmentor(kind))
    return decision_of(config, checkpoint, choose_labels(None, checkpoint, merge or {}))


def test_a_decision_composes_the_members_groups_with_the_merged_classes(models: Path) -> None:
    found = opened(models / "a", models / "b", weights=[1, 3])
    merge = {"animal": ["dog", "cat", "horse", "sheep"]}
    label_map = choose_labels(None, found, merge)
    assert label_map.names == ("background", "Car", "traffic light", "sky", "bus", "animal")
    config = validate_segmentor({"kind": "ensemble", "members": ["x", "y"], "none_below": 0.25})
    assert decision_of(config, found, label_map) == Decision(
        classes=6,
        groups=((0, 1, 2, 3, 4, 5), (3, 1, 5, 2, 0, 5, 5)),
        weights=(0.25, 0.75),
        none_below=0.25,
    )
    assert decide(open_one(models / "a")) == Decision(6, (None,), (1.0,))


@pytest.mark.parametrize(
    ("names", "factors"),
    [
        (["background", "cell"], (0.3, 0.7)),
        (["left", "right"], (0.3, 0.7)),
        (["cell", "background"], (0.7, 0.3)),
    ],
)
def test_foreground_is_where_its_probability_is_above_the_threshold(
    tmp_path: Path, names: list[str], factors: tuple[float, float]
) -> None:
    (model,) = named(tmp_path, names)
    checkpoint = open_checkpoint(validate_segmentor({"kind": "custom", "model": model}))
    decision = decide(checkpoint, threshold=0.3)
    assert decision.factors == pytest.approx(factors)
    assert decision.factors is not None
    foreground = names.index("cell") if "cell" in names else 1
    for probability in (0.0, 0.2, 0.29, 0.31, 0.5, 1.0):
        both = [1 - probability, probability] if foreground else [probability, 1 - probability]
        scores = [each * factor for each, factor in zip(both, decision.factors, strict=True)]
        assert (scores[foreground] > scores[1 - foreground]) == (probability > 0.3)


def test_a_threshold_of_more_classes_is_refused_until_they_are_merged_into_two(models: Path) -> None:
    alone = open_one(models / "a")
    with pytest.raises(ConfigError, match=r"segmentor\.threshold tells two classes apart, and there are 6"):
        decide(alone, threshold=0.4)
    some = {"thing": [name for name in FIRST if name != "background"]}
    assert decide(alone, some, threshold=0.4).factors == pytest.approx((0.4, 0.6))
    assert decide(alone).factors is None


def test_settings_that_decide_change_the_fingerprint_only_where_they_are_set(tmp_path: Path) -> None:
    (model,) = named(tmp_path, ["background", "cell"])

    def key(**settings: Any) -> str:
        config = validate_segmentor({"kind": "custom", "model": model, **settings})
        return open_checkpoint(config).fingerprint

    assert key() == key(threshold=0.5) == key(threshold=None, none_below=None)
    assert len({key(), key(threshold=0.4), key(none_below=0.4), key(threshold=0.4, none_below=0.4)}) == 4
