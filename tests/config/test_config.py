"""Configuration: from YAML, plain strings and overrides; every problem is named with its place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

import batchseg
from batchseg.cli.group import cli
from batchseg.config.base import Gates, Limits
from batchseg.config.evaluate import EvaluateConfig
from batchseg.config.load import read_config
from batchseg.config.run import RunConfig
from batchseg.config.train import TrainConfig
from batchseg.errors import ConfigError

ROOT = Path(__file__).parents[2]
MINIMAL = {"source": "photos", "segmentor": "threshold", "output": "results"}


# what each file in configs/ is about: its source, its segmentor, and how many classes its label map has
SCENES = {
    "crops": ("folder", "huggingface", 3),
    "driving_cityscapes": ("folder", "huggingface", 19),
    "folder": ("folder", "huggingface", None),
    "land_cover": ("folder", "huggingface", 6),
    "manifest": ("manifest", "huggingface", None),
    "medical_two_class": ("folder", "huggingface", 2),
    "prompted_street": ("folder", "huggingface", None),
    "scenes_ade20k": ("folder", "huggingface", 150),
}

TRAININGS = ("train_digits", "train_prompted")
ABLATION = sorted(path.as_posix() for path in (ROOT / "tests/bench/ablation/configs").glob("*.yaml"))


def load(tmp_path: Path, text: str, *settings: str, **overrides: Any) -> RunConfig:
    path = tmp_path / "job.yaml"
    path.write_text(text, encoding="utf-8")
    return batchseg.load_config(path, settings, overrides)


def test_every_scene_is_checked() -> None:
    assert {path.stem for path in (ROOT / "configs").glob("*.yaml")} == {*SCENES, *TRAININGS}


@pytest.mark.parametrize("path", [*(f"configs/{name}.yaml" for name in TRAININGS), *ABLATION])
def test_a_training_loads_without_its_data(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    config = read_config(TrainConfig, path)
    if getattr(config.model, "head", None) == "prompt":  # what is meant, and what is not
        assert config.labels is None
    else:
        assert config.labels and batchseg.load_label_map(config.labels).num_classes == 11


def test_the_arms_of_the_ablation_differ_in_the_language_model_alone() -> None:
    arms = [read_config(TrainConfig, path).model_dump() for path in ABLATION]
    for arm in arms:
        del arm["model"]["language_model"], arm["model"]["layers"], arm["model"]["mode"]
    assert len(arms) == 5 and all(arm == arms[0] for arm in arms)


@pytest.mark.parametrize("name", SCENES)
def test_a_scene_loads_without_its_data(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # their paths start at the repository's root
    config = batchseg.load_config(f"configs/{name}.yaml")
    classes = batchseg.load_label_map(config.labels).num_classes if config.labels else None
    assert (config.source.kind, config.segmentor.kind, classes) == SCENES[name]


@pytest.mark.parametrize("name", ["folder", "manifest"])
def test_the_scenes_on_sample_data_resolve(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    config = batchseg.load_config(f"configs/{name}.yaml", [f"output={tmp_path / 'results'}"])
    images = batchseg.dry_run(config)["images"]
    todo = {"done_before": 0, "to_segment": 24, "to_score": 0, "to_prune": 0}
    assert images == {"listed": 24, "with_truth": 24, "without_truth": 0, **todo}


@pytest.mark.parametrize(
    ("name", "raw", "classes"),
    [
        ("lesion", [[0, 255]], [[0, 1]]),
        ("land_cover", [[0, 10, 95, 255]], [[6, 0, 4, 6]]),  # 6 is void
        ("crops", [[[0, 255, 0], [255, 0, 0], [0, 0, 0]]], [[1, 2, 0]]),
    ],
)
def test_their_label_maps_read_the_truth_they_describe(name: str, raw: Any, classes: Any) -> None:
    label_map = batchseg.load_label_map(str(ROOT / "configs" / "labels" / f"{name}.yaml"))
    np.testing.assert_array_equal(label_map.encode(np.array(raw, np.uint8)), classes)


def test_plain_strings_are_enough() -> None:
    config = batchseg.load_config(overrides=MINIMAL)
    assert (config.source.kind, config.source.path) == ("folder", "photos")
    assert config.segmentor.kind == "threshold"
    assert config.output.path == "results"


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("threshold", "threshold"),
        ("deeplabv3_resnet50", "torchvision"),
        ("lraspp_mobilenet_v3_large", "torchvision"),
        ("my.module:Class", "custom"),
        ("./folder", "huggingface"),
        ("nvidia/segformer-b0-finetuned-ade-512-512", "huggingface"),
    ],
)
def test_the_model_tells_its_kind(model: str, kind: str) -> None:
    assert batchseg.load_config(overrides={**MINIMAL, "segmentor": model}).segmentor.kind == kind


def test_a_folder_is_a_checkpoint_whatever_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fcn_mine").mkdir()
    monkeypatch.chdir(tmp_path)
    for model, kind in (
        ("fcn_mine", "huggingface"),
        ("fcn_yours", "torchvision"),
        ("s3://b/fcn_x", "huggingface"),
    ):
        assert batchseg.load_config(overrides={**MINIMAL, "segmentor": model}).segmentor.kind == kind


def test_a_kind_that_is_given_stands(tmp_path: Path) -> None:
    (tmp_path / "part.parquet").touch()
    source = {"kind": "folder", "path": str(tmp_path)}
    segmentor = {"kind": "huggingface", "model": "threshold"}
    config = batchseg.load_config(overrides={**MINIMAL, "source": source, "segmentor": segmentor})
    assert (config.source.kind, config.segmentor.kind) == ("folder", "huggingface")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("list.parquet", "manifest"),
        ("parts/*.parquet", "manifest"),
        ("s3://bucket/list.parquet", "manifest"),
        ("s3://bucket/list.pq?region=eu-west-1", "manifest"),
        ("s3://bucket/photos", "folder"),
        ("photos.parquet.d", "folder"),
    ],
)
def test_the_name_of_a_source_tells_its_kind(path: str, kind: str) -> None:
    assert batchseg.load_config(overrides={**MINIMAL, "source": path}).source.kind == kind


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("part.parquet", "manifest"),
        ("part.pq", "manifest"),
        ("camera=a/year=2026/part.parquet", "manifest"),
        ("a/part.parquet", "folder"),
        ("a.jpg", "folder"),
    ],
)
def test_the_content_of_a_source_tells_its_kind(tmp_path: Path, file: str, kind: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).touch()
    assert batchseg.load_config(overrides={**MINIMAL, "source": str(tmp_path)}).source.kind == kind


def test_settings_win_over_overrides_and_those_over_the_file(tmp_path: Path) -> None:
    text = "{source: a, segmentor: {model: ./m, batch_size: 1, actors: 3}, output: b}"
    config = load(tmp_path, text, "segmentor.batch_size=8", segmentor={"batch_size": 4, "actors": 2})
    assert (config.segmentor.batch_size, config.segmentor.actors) == (8, 2)
    assert config.segmentor.model == "./m"  # type: ignore[union-attr]


def test_another_model_brings_its_own_kind(tmp_path: Path) -> None:
    text = "{source: {kind: folder, path: a}, segmentor: {kind: threshold, batch_size: 2}, output: b}"
    config = load(tmp_path, text, segmentor={"model": "./other"}, source={"path": "c.parquet"})
    assert (config.segmentor.kind, config.segmentor.batch_size, config.source.kind) == (
        "huggingface",
        2,
        "manifest",
    )


def test_every_problem_is_named_with_its_place(tmp_path: Path) -> None:
    text = """
        source: {path: a, colour: 3}
        segmentor: {kind: huggingface}
        output: {path: b, mask_name: short}
        x: 1
    """
    with pytest.raises(batchseg.BatchsegError) as raised:
        load(tmp_path, text)
    sentence = str(raised.value)
    assert "job.yaml does not hold together" in sentence
    for problem in (
        "source.colour: unknown key",
        "segmentor.model: is required",
        "output.mask_name: Input should be 'stem' or 'full' (given: 'short')",
        "x: unknown key",
    ):
        assert problem in sentence
    assert raised.value.exit_code == 2


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            ["source.truth_suffix=x"],
            "source.truth_suffix: must be FROM=TO, such as _image=_label (given: 'x')",
        ),
        (["source.include=a.png"], "source.include: must be a list (given: 'a.png')"),
        ([f"source.seed={2**64}"], "source.seed: Input should be less than or equal to"),
        (["source.limit=0"], "source.limit: Input should be greater than or equal to 1 (given: 0)"),
        (["source.truth=''"], "source.truth: must not be empty"),
        (["source=''", "output=''"], "source.path: must not be empty (given: '')\n  output.path: must not"),
        (["source=5"], "source: must be a name or a mapping of settings (given: 5)"),
        (["source.kind=zip"], "source: Input tag 'zip' found using 'kind' does not match any of"),
        (
            ["segmentor={kind: custom, model: x}"],
            "segmentor.model: must be module:Class or path/to/file.py:Class (given: 'x')",
        ),
        (["segmentor.levels=[9, 9]"], "segmentor.levels: must rise and lie in 1 .. 255"),
        (["segmentor.batch_size=many"], "segmentor.batch_size: Input should be a valid integer"),
        (["gates="], "gates: must be a mapping of settings (given: None)"),
        (["gates.max_failed=-1"], "gates.max_failed: must be a number of images or a percentage"),
        (["gates.max_failed=0.05"], "such as 5 or 0.5% (given: '0.05')"),
        (["gates.max_failed=true"], "gates.max_failed: Input should be a valid string (given: True)"),
        (["gates.minimum.beauty=1"], "gates.minimum: unknown metric 'beauty'; available: accuracy, recall_"),
        (["gates.minimum.mean_iou=70"], "gates.minimum: mean_iou lies in 0 .. 1, so 70 decides nothing"),
        (["limits.segment_timeout_s=.inf"], "limits.segment_timeout_s: Input should be a finite number"),
        (["gates.minimum.mean_iou=.nan"], "gates.minimum.mean_iou: Input should be a finite number"),
        (["output.path=2026-11-24"], "output.path: Input should be a valid string (given: datetime.date"),
        (
            ["truth={threshold: 9, values: colours}"],
            "so there is no choice of colours; leave threshold or values",
        ),
        (["1=2"], "1: unknown key"),
    ],
)
def test_a_wrong_value_is_told_with_its_place(settings: list[str], sentence: str) -> None:
    with pytest.raises(batchseg.BatchsegError) as raised:
        batchseg.load_config(settings=settings, overrides=MINIMAL)
    assert sentence in str(raised.value)
    assert raised.value.exit_code == 2


def test_one_setting_may_stand_alone() -> None:
    assert batchseg.load_config(settings="labels=voc", overrides=MINIMAL).labels == "voc"


@pytest.mark.parametrize(
    ("model", "options", "sentence"),
    [
        ("threshold", {"precision": "fp8"}, "precision: Input should be 'auto', 'fp32', 'bf16' or 'fp16'"),
        ({"model": "threshold", "levels": [300]}, {}, "levels: must rise and lie in 1 .. 255"),
    ],
)
def test_wrong_settings_of_a_segmentor_alone(model: Any, options: dict[str, str], sentence: str) -> None:
    with pytest.raises(batchseg.BatchsegError) as raised:
        batchseg.load_segmentor(model, **options)
    assert sentence in str(raised.value)


def test_a_device_that_is_none() -> None:
    with pytest.raises(batchseg.BatchsegError, match="device gpu: must be auto, cpu, cuda, or cuda:N"):
        batchseg.load_segmentor("threshold", device="gpu")
    preparer, segmentor = batchseg.load_segmentor({"model": "threshold", "device": "auto"})
    (prediction,) = segmentor.segment([preparer(np.full((2, 3, 3), 200, np.uint8))])
    assert prediction.labels_HW.tolist() == [[1, 1, 1], [1, 1, 1]]


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(batchseg.BatchsegError, match="device cuda:1: torch sees no GPU; use cpu"):
        batchseg.load_segmentor("threshold", device="cuda:1")


def test_what_is_missing_is_named_also_inside_a_part() -> None:
    with pytest.raises(batchseg.BatchsegError) as raised:
        batchseg.load_config(settings=["source.limit=3", "segmentor.batch_size=8"])
    problems = [line.strip().partition(";")[0] for line in str(raised.value).splitlines()[1:]]
    assert problems == ["source.path: is required", "segmentor.model: is required", "output: is required"]


def test_null_takes_a_setting_back(tmp_path: Path) -> None:
    text = "{source: {path: a, truth: b}, segmentor: threshold, output: c, labels: voc}"
    config = load(tmp_path, text, "source.truth=", "labels=null")
    assert (config.source.model_dump()["truth"], config.labels) == (None, None)


def test_a_part_of_its_own_keeps_the_rest_of_the_file(tmp_path: Path) -> None:
    text = "{source: a, segmentor: threshold, output: b}"
    config = load(tmp_path, text, "output.overlays=true", "segmentor.levels=[7]", source={"truth": "t"})
    assert config.source.model_dump(include={"path", "truth"}) == {"path": "a", "truth": "t"}
    assert (config.output.path, config.output.overlays) == ("b", True)
    assert config.segmentor.model_dump(include={"kind", "levels"}) == {"kind": "threshold", "levels": (7,)}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("- a list", "holds list, not a mapping"),
        ("a: [1,", "not valid YAML"),
        ("source: a\nsource: b", "not valid YAML: the key 'source' stands twice"),
        ("output: {path: a, path: b}", "not valid YAML: the key 'path' stands twice in line 1, column 19"),
        ("output: {<<: {path: a, path: b}}", "not valid YAML: the key 'path' stands twice"),
        ("source: !!bool x", "not valid YAML: a tag such as !!bool stands before a value that it does not"),
        ("a: " + 5000 * "[", "not valid YAML: nested too deeply"),
        ("a: 2026-13-45", "not valid YAML: month must be in 1..12"),
        ("", "source: is required"),
        (
            "{source: {path: a, truth: b, kind: manifest}}",
            "names its truth and its images in its own columns",
        ),
    ],
)
def test_what_is_no_configuration(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(batchseg.BatchsegError, match=sentence):
        load(tmp_path, text)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(batchseg.BatchsegError, match=r"nowhere.yaml: cannot be read: No such file"):
        batchseg.load_config("nowhere.yaml")


@pytest.mark.parametrize("setting", ["novalue", "=3", "a.b=[1", "source.include=*.png", "output=2026-13-45"])
def test_settings_that_are_none(setting: str) -> None:
    with pytest.raises(batchseg.BatchsegError, match="--set"):
        batchseg.load_config(settings=[setting], overrides=MINIMAL)


@pytest.mark.parametrize(
    ("allowed", "failed", "total", "verdict"),
    [
        ("0", 0, 10, True), ("0", 1, 10, False), (2, 2, 10, True), (2, 3, 10, False),
        ("10%", 1, 10, True), ("10%", 2, 10, False), ("100%", 10, 10, True), ("0.5%", 1, 200, True),
        ("0.57%", 57, 10_000, True), ("0.57%", 58, 10_000, False), ("10%", 0, 0, True),
    ],
)  # fmt: skip
def test_failures_allowed(allowed: Any, failed: int, total: int, verdict: bool) -> None:
    assert Gates(max_failed=allowed).allows(failed, total) is verdict


def test_the_percentage_is_exact() -> None:
    for hundredths in range(1, 10_000, 7):
        gates = Gates(max_failed=f"{hundredths / 100:.2f}%")
        most = int(Fraction(hundredths, 10_000) * 10_000)
        assert (gates.allows(most, 10_000), gates.allows(most + 1, 10_000)) == (True, False)


def test_values_are_fixed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Limits().max_pixels = 1  # type: ignore[misc]
    with pytest.raises(ValueError, match="frozen"):
        batchseg.load_config(overrides=MINIMAL).output.path = "elsewhere"  # type: ignore[misc]


def test_every_key_has_a_description() -> None:
    def undescribed(model: dict[str, Any]) -> Iterator[str]:
        for name, key in model.get("properties", {}).items():
            inherits = any("$ref" in part or "oneOf" in part for part in (key, *key.get("allOf", ())))
            if name != "kind" and not inherits and "description" not in key:
                yield f"{model['title']}.{name}"

    schemas = [RunConfig.model_json_schema(), EvaluateConfig.model_json_schema()]
    models = [model for schema in schemas for model in (schema, *schema["$defs"].values())]
    assert len(models) > 10
    assert [name for model in models for name in undescribed(model)] == []
    assert [model["title"] for model in models if "description" not in model] == []


@pytest.mark.parametrize(
    "words",
    [
        ["photos", "--model", "threshold", "--output", "out"],
        ["s3://b/list.parquet", "--model", "./m", "--output", "s3://b/out", "--actors", "2", "--recompute"],
        ["photos", "--model", "fcn_resnet50", "--output", "o", "--set", "segmentor.weights=a.pt"],
        [
            "photos",
            "--model",
            "mine:Model",
            "--output",
            "o",
            "--set",
            "segmentor.options={a: [1, null], b: 'no'}",
        ],
        ["photos", "--model", "m", "--output", "2026", "--min", "mean_iou=1e-7", "--max-failed", "5%"],
        ["photos", "--model", "m", "--output", "o", "--truth", "no", "--truth-suffix", "=", "--include", "*"],
        ["--config", str(ROOT / "configs" / "driving_cityscapes.yaml"), "--limit", "3", "--overlays"],
    ],
    ids=" ".join,
)
def test_what_show_prints_loads_as_the_same(words: list[str], tmp_path: Path) -> None:
    shown = CliRunner().invoke(cli, ["config", "show", *words])
    assert shown.exit_code == 0, shown.output
    (tmp_path / "shown.yaml").write_text(shown.stdout, encoding="utf-8")
    again = CliRunner().invoke(cli, ["config", "show", "--config", str(tmp_path / "shown.yaml")])
    assert again.stdout == shown.stdout


def test_show_prints_what_would_run() -> None:
    words = ["photos", "--model", "./m", "--output", "out", "--min", "mean_iou=0.5", "--limit", "3"]
    words += ["--include", "*.png", "--set", "limits.max_pixels=9", "--set", "output.overlays=true"]
    shown = yaml.safe_load(CliRunner().invoke(cli, ["config", "show", *words]).stdout)
    assert set(shown) == set(RunConfig.model_fields)
    assert shown["source"]["limit"] == 3
    assert shown["source"]["include"] == ["*.png"]
    output = {"path": "out", "mask_name": "stem", "format": "auto", "overlays": True, "probabilities": None}
    output["report"] = False
    assert shown["output"] == output
    assert shown["gates"] == {"max_failed": "0", "minimum": {"mean_iou": 0.5}}
    assert shown["limits"]["max_pixels"] == 9
    expected = batchseg.load_config(
        overrides={
            "source": {"path": "photos", "limit": 3, "include": ["*.png"]},
            "segmentor": "./m",
            "output": {"path": "out", "overlays": True},
            "gates": {"minimum": {"mean_iou": 0.5}},
            "limits": {"max_pixels": 9},
        }
    )
    assert RunConfig.model_validate(shown) == expected


def test_schema_is_json() -> None:
    schema = json.loads(CliRunner().invoke(cli, ["config", "schema"]).stdout)
    assert schema["required"] == ["source", "segmentor", "output"]


def test_the_drop_of_every_class_is_checked() -> None:
    drops = {"iou.road": 70, "iou.sky": 0.1}
    with pytest.raises(ConfigError, match="70 decides nothing"):
        batchseg.read_config(
            batchseg.CompareConfig, overrides={"old": "a", "new": "b", "max_class_drop": drops}
        )
