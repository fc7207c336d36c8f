"""`source.bands` and `source.scale`: their forms, their sentences, and what they add to a fingerprint."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batchseg.config.load import load_config
from batchseg.config.run import RunConfig
from batchseg.config.source import ImageReading
from batchseg.errors import ConfigError


def config(settings: Any = (), **source: Any) -> RunConfig:
    given = {"source": {"path": "images", **source}, "segmentor": "a-model", "output": "out"}
    return load_config(settings=settings, overrides=given)


def altering(**source: Any) -> list[str]:
    return ImageReading.of(config(**source).source).altering


@pytest.mark.parametrize("bands", [[4, 3, 2], "4,3,2", "4, 3, 2", (4, 3, 2)])
def test_bands_are_a_list_or_numbers_between_commas(bands: Any) -> None:
    assert config(bands=bands).source.bands == (4, 3, 2)
    assert config(["source.bands=[4, 3, 2]"]).source.bands == (4, 3, 2)
    assert config(bands=2).source.bands == (2,)
    assert config(bands=[1, 1, 1]).source.bands == (1, 1, 1)


@pytest.mark.parametrize("bands", [[], [0], [-1, 2], "a,b", "1,", [1.5], True, [True], {}, ["x"], "²"])
def test_bands_that_are_none_are_refused_in_one_line(bands: Any) -> None:
    with pytest.raises(ConfigError, match=r"source\.bands: must list bands by their numbers") as caught:
        config(bands=bands)
    assert len(str(caught.value).splitlines()) == 2  # of which the first names the configuration


@pytest.mark.parametrize(
    ("scale", "reading"),
    [
        (4095, ImageReading((0, 4095))),
        ([1, 4095], ImageReading((1, 4095))),
        ([[0, 10], [5, 20]], ImageReading(scales=((0, 10), (5, 20)))),
        ([[0, 10]], ImageReading(scales=((0, 10),))),
        ([10, 20, 30], ImageReading(scales=((0, 10), (0, 20), (0, 30)))),
        ({"percentiles": [2, 98]}, ImageReading(percentiles=(2, 98))),
    ],
)
def test_a_scale_has_five_forms_and_comes_back_from_a_record(scale: Any, reading: ImageReading) -> None:
    made = config(scale=scale)
    assert ImageReading.of(made.source) == reading
    assert RunConfig.model_validate(json.loads(made.model_dump_json())) == made
    assert ImageReading.of(config([f"source.scale={json.dumps(scale)}"]).source) == reading


@pytest.mark.parametrize(
    "scale",
    [
        0,
        -1,
        [5, 5],
        [9, 3],
        [1],
        [],
        "white",
        True,
        [True, 3],
        [[1, 2], 3],
        [[2, 1]],
        [[1, 2, 3]],
        [1, 2, "3"],
        [3, 0, 3],
        {"percentiles": [98, 2]},
        {"percentiles": [-1, 50]},
        {"percentiles": [2]},
        {"percentiles": 2},
        {"percentile": [2, 98]},
        {},
        float("nan"),
        [0, float("inf")],
    ],
)
def test_a_scale_that_says_nothing_is_refused_in_one_line(scale: Any) -> None:
    with pytest.raises(ConfigError, match=r"source\.scale: ") as caught:
        config(scale=scale)
    assert len(str(caught.value).splitlines()) == 2


def test_the_numbers_of_bands_and_of_values_must_agree() -> None:
    with pytest.raises(
        ConfigError, match=r"source\.scale has the black and white of 3 bands, and 4 are read"
    ):
        config(bands=[1, 2, 3, 4], scale=[1, 2, 3])
    assert config(bands=[1, 2], scale=[0, 4]).source.scale == (0, 4)


def test_only_what_is_set_changes_a_fingerprint() -> None:
    assert altering() == altering(scale=None, bands=None, orientation="exif") == []
    assert altering(scale=4095, orientation="stored") == ["scale=0.0..4095.0", "orientation=stored"]
    assert altering(scale=[100, 4095]) == ["scale=100.0..4095.0"]
    assert altering(bands=[4, 3]) == ["bands=4,3"]
    assert altering(scale=[1, 2, 3]) == altering(scale=[[0, 1], [0, 2], [0, 3]])
    assert altering(scale={"percentiles": [2, 98]}) == ["percentiles=2.0..98.0"]


def test_a_manifest_has_bands_too() -> None:
    made = config(path="list.parquet", bands=[2, 1], scale={"percentiles": [1, 99]})
    assert made.source.kind == "manifest"
    assert made.source.bands == (2, 1)
