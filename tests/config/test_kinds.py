"""The one table of kinds: it has all that there is a configuration for, and tells names apart."""

from __future__ import annotations

import json
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, get_args

import pytest

from batchseg.config.kinds import DEFAULT, KINDS, infer_segmentor, kind_of
from batchseg.config.segmentor import AnyMember


def test_the_table_has_each_kind_that_has_a_configuration() -> None:
    configurations = get_args(get_args(AnyMember)[0])
    assert {each.model_fields["kind"].default for each in configurations} == {kind.name for kind in KINDS}
    assert len(configurations) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_opens_a_kind_is_there(kind: Any) -> None:
    assert callable(resolve_name(kind.opener))


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("threshold", "threshold"),
        ("module:Class", "custom"),
        ("some/file.py:Class", "custom"),
        ("network.onnx", "onnx"),
        ("some/where/NETWORK.ONNX", "onnx"),
        ("s3://bucket/network.onnx", "onnx"),
        ("s3://bucket/network.onnx?region=eu-west-1&scheme=http", "onnx"),
        ("fcn_resnet50", "torchvision"),
        ("me/model-onnx", DEFAULT),
        ("s3://bucket/model", DEFAULT),
    ],
)
def test_a_name_tells_its_kind(model: str, kind: str) -> None:
    assert kind_of(model) == kind
    assert infer_segmentor({"model": model})["kind"] == kind


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ({"_model_class": "Unet", "encoder_name": "resnet18"}, "smp"),
        ({"encoder_name": "resnet18"}, "smp"),
        ({"model_type": "segformer", "encoder_name": "x"}, "huggingface"),
        ({"architecture": "resnet18", "num_features": 512}, DEFAULT),
        ([], DEFAULT),
    ],
)
def test_a_folder_is_told_by_its_config(content: Any, kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "fcn_resnet50.onnx"  # a folder is none of these, whatever it is called
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(content))
    assert kind_of(str(folder)) == kind


def test_a_kind_that_is_given_is_not_asked_for(tmp_path: Path) -> None:
    assert infer_segmentor({"kind": "onnx", "model": "fcn_resnet50"})["kind"] == "onnx"
