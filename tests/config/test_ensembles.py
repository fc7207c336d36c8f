"""Several models in a configuration, and how their names tell them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import batchseg
from batchseg.cluster.baggage import JOB_FILE, local_paths, pack_job
from batchseg.config.arguments import from_arguments
from batchseg.config.run import RunConfig
from batchseg.config.segmentor import EnsembleSegmentor
from batchseg.errors import ConfigError
from tests.command_line import command

PLACES = {"source": "photos", "output": "results"}


def segmentor(value: Any, *settings: str) -> Any:
    return batchseg.load_config(overrides={**PLACES, "segmentor": value}, settings=settings).segmentor


@pytest.mark.parametrize(
    "value",
    [
        ["a", "fcn_resnet50"],
        {"model": ["a", "fcn_resnet50"]},
        {"members": ["a", {"model": "fcn_resnet50"}]},
        {"kind": "ensemble", "members": [{"kind": "huggingface", "model": "a"}, "fcn_resnet50"]},
    ],
)
def test_several_names_are_an_ensemble(value: Any) -> None:
    found = segmentor(value)
    assert isinstance(found, EnsembleSegmentor)
    assert [member.kind for member in found.members] == ["huggingface", "torchvision"]
    assert found.name == "a + fcn_resnet50"
    assert found.models == found.members


def test_one_name_in_a_list_is_one_model() -> None:
    assert segmentor(["a"]) == segmentor("a") == segmentor({"model": ["a"]})
    assert segmentor(["threshold"]).kind == "threshold"


def test_what_was_written_is_read_again() -> None:
    config = batchseg.load_config(
        overrides={**PLACES, "segmentor": {"members": ["a", "b"], "weights": [1, 2], "batch_size": 3}}
    )
    assert batchseg.load_config(overrides=config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"members": ["a"]}, "segmentor.members: an ensemble has 2 to 16 members, and here are 1"),
        (["a"] * 17, "segmentor.members: an ensemble has 2 to 16 members, and here are 17"),
        ({"members": ["a", "b"], "weights": [1]}, "segmentor: has 2 members and 1 weights"),
        ({"members": ["a", "b"], "weights": [1, 0]}, "segmentor.weights.1: Input should be greater than 0"),
        ({"members": ["a", ["b", "c"]]}, "segmentor.members.1: is an ensemble itself"),
        ({"members": ["a", {"model": "b", "batch_size": 2}]}, "member 1 (b) sets batch_size, which is one"),
        ({"members": [{"model": "a", "device": "cpu"}, "b"]}, "set segmentor.device in its place"),
        ({"members": ["a", {"model": "b", "none_below": 0.3}]}, "member 1 (b) sets none_below"),
        ({"members": ["a", {"model": "b", "scaled_decode": True}]}, "all members see one decoded image"),
        ({"members": ["a", {"model": "fcn_resnet50", "resize": 2}]}, "segmentor.members.1.resize: Input"),
        ({"members": ["a", "b"], "classes": "c,d"}, "segmentor.classes: is a setting of one model"),
        ({"kind": "threshold", "none_below": 0.3}, "models that give scores, and the threshold segmentor"),
        ({"model": "a", "threshold": 1}, "segmentor.threshold: Input should be less than 1"),
    ],
)
def test_wrong_settings_of_an_ensemble(value: Any, sentence: str) -> None:
    with pytest.raises(ConfigError) as raised:
        segmentor(value)
    assert sentence in str(raised.value)
    assert len(str(raised.value).splitlines()) == 2  # one problem, said once


@pytest.mark.parametrize("below", [(), ("model",)])
def test_a_folder_with_folds_is_an_ensemble(tmp_path: Path, below: tuple[str, ...]) -> None:
    for fold in ("0", "10", "2", "notes"):
        folder = (tmp_path / "cv" / "folds" / fold).joinpath(*below)
        folder.mkdir(parents=True)
        if fold != "notes":
            (folder / "config.json").write_text("{}")
    found = segmentor(str(tmp_path / "cv"), "segmentor.batch_size=2")
    assert isinstance(found, EnsembleSegmentor) and found.batch_size == 2
    expected = [(tmp_path / "cv" / "folds" / fold).joinpath(*below) for fold in ("0", "2", "10")]
    assert [member.name for member in found.members] == [*map(str, expected)]
    for folds in (tmp_path / "cv" / "folds", f"{tmp_path}/cv/folds/"):
        itself = segmentor(str(folds))
        assert isinstance(itself, EnsembleSegmentor)
        assert [Path(member.name) for member in itself.members] == expected
    (tmp_path / "cv" / "config.json").write_text("{}")  # a model that lies beside its folds
    assert segmentor(str(tmp_path / "cv")).kind == "huggingface"
    assert segmentor(str(tmp_path / "cv" / "folds")).kind == "ensemble"


@pytest.mark.parametrize(
    ("old", "words", "names"),
    [
        ({"kind": "ensemble", "members": ["a", "b"], "weights": [1, 2]}, ["--model", "c"], ["c"]),
        ({"kind": "ensemble", "members": ["a", "b", "c"], "weights": [1, 2, 3]},
         ["--model", "d", "--model", "e"], ["d", "e"]),
        ({"kind": "torchvision", "model": "fcn_resnet50"}, ["--model", "d", "--model", "e"], ["d", "e"]),
        ("a", ["--set", "segmentor.members=[d, e]"], ["d", "e"]),
        ({"members": ["a", "b"]}, ["--batch-size", "2"], ["a", "b"]),
    ],
)  # fmt: skip
def test_models_on_the_command_line_are_in_place_of_the_files(
    tmp_path: Path, old: Any, words: list[str], names: list[str]
) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump({**PLACES, "segmentor": old}))
    shown = command("config", "show", "--config", file, *words)
    config = batchseg.load_config(overrides=yaml.safe_load(shown.stdout))
    assert [model.name for model in config.segmentor.models] == names


def test_a_library_call_takes_several_models() -> None:
    given = {"model": [Path("a"), "b"], "output": "results"}
    config = from_arguments(RunConfig, ("source", "photos"), given, None)
    assert config.segmentor.name == "a + b"


def test_merging_on_the_command_line_and_in_a_file_is_one(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump({**PLACES, "segmentor": "a", "merge": {"x": ["b", "c"]}}))
    words = ["--merge", "vehicle = car, bus", "--merge", "a b=c=d,e"]
    shown = yaml.safe_load(command("config", "show", "--config", file, *words).stdout)
    assert shown["merge"] == {"x": ["b", "c"], "vehicle": ["car", "bus"], "a b": ["c=d", "e"]}
    by_text = batchseg.load_config(file, ["merge.vehicle=car,bus"])
    assert by_text.merge["vehicle"] == ("car", "bus")


@pytest.mark.parametrize("words", [["vehicle"], ["=car,bus"], ["v=car,,bus"], ["v="], ["v=a,b", "v=c"]])
def test_merging_that_cannot_be_read(words: list[str]) -> None:
    flags = [part for word in words for part in ("--merge", word)]
    result = command("config", "show", "x", "--model", "a", "--output", "o", *flags)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert f"--merge {words[-1]}: " in result.stderr


def test_a_submitted_ensemble_takes_along_what_its_members_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("deep", "other", "job", "model"):
        (tmp_path / name).mkdir()
    (tmp_path / "deep" / "mine.py").write_text("class Mine: ...")
    job = {**PLACES, "segmentor": ["deep/mine.py:Mine", "model"], "merge": {"x": ["a", "b"]}}
    config = batchseg.load_config(overrides=job)
    pack_job(config, tmp_path / "job")
    packed = yaml.safe_load((tmp_path / "job" / JOB_FILE).read_text())
    models = [member["model"] for member in packed["segmentor"]["members"]]
    assert models == ["mine.py:Mine", str(tmp_path / "model")]
    assert packed["merge"] == {"x": ["a", "b"]}
    assert local_paths(config)["segmentor.members.1.model"] == str(tmp_path / "model")
    (tmp_path / "other" / "mine.py").write_text("class Mine: more = 1")
    both = batchseg.load_config(overrides={**job, "segmentor": ["deep/mine.py:Mine", "other/mine.py:Mine"]})
    (tmp_path / "job2").mkdir()
    with pytest.raises(ConfigError, match=r"another file called mine\.py goes along already"):
        pack_job(both, tmp_path / "job2")
