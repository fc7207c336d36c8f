"""A label map is held against the model by its names as well, before anything is segmented."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from batchseg.config.load import validate_segmentor
from batchseg.errors import LabelMapError
from batchseg.inspect.preflight import choose_labels
from batchseg.segmentors.base import Checkpoint
from batchseg.segmentors.registry import open_checkpoint

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


def labels(folder: Path, names: list[str]) -> str:
    every = [*names, *(f"other {index}" for index in range(len(names), 11))]
    (folder / "labels.yaml").write_text(yaml.safe_dump({"classes": every}))
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
