"""Places are recorded everywhere, so credentials in them are refused and never repeated."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import batchseg
from batchseg.cli.group import cli
from batchseg.config.doctor import DoctorConfig
from batchseg.config.load import read_config
from batchseg.config.places import has_credentials, without_credentials
from batchseg.errors import ConfigError
from batchseg.storage.location import locate
from batchseg.storage.reader import image_reader

SECRET = "wJalrXUtnFEMI"
JOB = {"source": "photos", "segmentor": "threshold", "output": "results"}

WITH = {
    f"s3://AKIA:{SECRET}@bucket/a": "s3://bucket/a",
    f"s3://AKIA:{SECRET}@bucket/a@b.jpg?region=eu": "s3://bucket/a@b.jpg?region=eu",
    f"s3://AKIA:{SECRET}/K7+x@bucket/a": "s3://bucket/a",
    f"s3://AKIA:/{SECRET}@bucket/a": "s3://bucket/a",
    f"s3://AKIA:99/{SECRET}?@bucket": "s3://bucket",
    f"s3://{SECRET}@bucket/a": "s3://bucket/a",
    f"S3://AKIA:{SECRET}@bucket/a": "S3://bucket/a",
    f"s3://bucket/a?access_key=AKIA&secret_key={SECRET}&region=eu": "s3://bucket/a?region=eu",
    f"s3://bucket/a?secret_key={SECRET}": "s3://bucket/a",
    f"s3://bucket/a?region=eu&Session-Token={SECRET}": "s3://bucket/a?region=eu",
    f"s3://bucket/a?region=eu&secret%5Fkey={SECRET}": "s3://bucket/a?region=eu",
    f"s3://bucket/a?aws_secret_access_key={SECRET}": "s3://bucket/a",
    f"https://bucket.s3.amazonaws.com/a?X-Amz-Date=1&X-Amz-Signature={SECRET}": (
        "https://bucket.s3.amazonaws.com/a?X-Amz-Date=1"
    ),
    f"abfs://box:{SECRET}@account.dfs.core.windows.net/a": "abfs://account.dfs.core.windows.net/a",
    f"abfs://box@account.dfs.core.windows.net/a?sig={SECRET}": "abfs://box@account.dfs.core.windows.net/a",
    f"hdfs://me:{SECRET}@host:8020/a": "hdfs://host:8020/a",
    f"hdfs://me:{SECRET}@[::1]:8020/a": "hdfs://[::1]:8020/a",
    f"https://{SECRET}@host/a": "https://host/a",
}  # fmt: skip
WITHOUT = (
    "photos/a@b.jpg",
    "photos/me:you@home?secret_key=1",
    "C:/photos@home",
    "file:///photos/me:you@home?secret_key=1",
    "s3://bucket/a@b.jpg",
    "s3://bucket/a:b@c.jpg",
    "s3://bucket/a?endpoint_override=127.0.0.1:9000&scheme=http&region=eu",
    "s3://bucket/what?.png",
    "s3://anonymous@bucket/a",
    "gs://anonymous@bucket/a",
    "hdfs://me@host:8020/a",
    "hdfs://host:8020/a@b.jpg",
    "hdfs://[::1]:8020/a@b.jpg",
    "abfs://box@account.dfs.core.windows.net/a",
    "https://host/show?id=3&page_token=4&name=secret_key.png",
    "https://host/show?secret_key=",
    "mock://x/data",
    "nvidia/segformer-b0-finetuned-ade-512-512",
)
URI = f"s3://AKIA:{SECRET}@bucket/a"
PLACES = (
    "source.path", "source.truth", "segmentor.model", "output.path", "labels", "ray.address",
)  # fmt: skip


@pytest.mark.parametrize("uri", WITH)
def test_credentials_are_seen_and_taken_away(uri: str) -> None:
    assert has_credentials(uri)
    assert without_credentials(uri) == WITH[uri]
    assert not has_credentials(WITH[uri])


@pytest.mark.parametrize("uri", WITHOUT)
def test_what_holds_none_stays_as_it_is(uri: str) -> None:
    assert not has_credentials(uri)
    assert without_credentials(uri) == uri


def refused(kind: type[Any], key: str, *settings: str, **overrides: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        read_config(kind, None, settings, overrides)
    assert key in str(caught.value)
    assert "AWS_ACCESS_KEY_ID" in str(caught.value) or "RAY_AUTH_TOKEN" in str(caught.value)
    assert SECRET not in str(caught.value) and SECRET not in str(caught.value.__cause__)
    return str(caught.value)


@pytest.mark.parametrize("key", PLACES)
def test_no_place_of_a_run_holds_them(key: str) -> None:
    refused(batchseg.RunConfig, key, f"{key}={URI}", **JOB)


def test_nor_those_of_other_kinds_of_source_and_model() -> None:
    manifest = {**JOB, "source": {"path": "list.parquet", "root": URI}}
    refused(batchseg.RunConfig, "source.root", **manifest)
    torchvision = {**JOB, "segmentor": {"model": "fcn_resnet50", "weights": URI}}
    refused(batchseg.RunConfig, "segmentor.weights", **torchvision)
    custom = {**JOB, "segmentor": {"model": "mine:Mine", "options": {"a": [{"b": URI}]}}}
    refused(batchseg.RunConfig, "segmentor.options", **custom)


def test_options_without_them_stay_as_they_were_given() -> None:
    options = {"a": ("s3://bucket/a", 1), "b": [None, float("inf")], "c": {"d": "me@home"}}
    job = {**JOB, "segmentor": {"model": "mine:Mine", "options": options}}
    assert batchseg.load_config(overrides=job).segmentor.model_dump()["options"] == options


@pytest.mark.parametrize("address", [f"me:{SECRET}@head:6379", f"ray://me:{SECRET}@head:10001",
                                     f"http://me:{SECRET}@head:8265"])  # fmt: skip
def test_no_address_of_a_cluster_holds_a_password(address: str) -> None:
    refused(batchseg.RunConfig, "ray.address", f"ray.address={address}", **JOB)


@pytest.mark.parametrize("key", ["masks", "truth", "output", "labels"])
def test_no_place_of_evaluate_holds_them(key: str) -> None:
    places = {"masks": "a", "truth": "b", "output": "c", "labels": "voc", key: URI}
    refused(batchseg.EvaluateConfig, key, **places)


@pytest.mark.parametrize("key", ["old", "new"])
def test_no_place_of_compare_holds_them(key: str) -> None:
    refused(batchseg.CompareConfig, key, **{"old": "a", "new": "b", key: URI})


@pytest.mark.parametrize("key", ["source", "output", "model", "labels"])
def test_no_place_of_train_holds_them(key: str) -> None:
    refused(batchseg.TrainConfig, key, **{"source": "a", "output": "b", "model": "c", key: URI})
    refused(batchseg.TrainConfig, "model.language_model", source="a", output="b",
            model={"language_model": URI})  # fmt: skip


@pytest.mark.parametrize("key", ["source", "segmentor", "labels"])
def test_no_place_of_doctor_holds_them(key: str) -> None:
    refused(DoctorConfig, key, **{"source": "a", key: URI})


def test_a_key_that_is_wrong_for_another_reason_does_not_show_them() -> None:
    for settings in (f"limits.max_pixels={URI}", f"source.include={URI}", f"recompute={URI}"):
        with pytest.raises(ConfigError) as caught:
            batchseg.load_config(settings=settings, overrides=JOB)
        assert SECRET not in str(caught.value) and SECRET not in str(caught.value.__cause__)
    with pytest.raises(ConfigError) as caught:
        batchseg.load_segmentor({"model": URI, "batch_size": 0})
    assert SECRET not in str(caught.value) and SECRET not in str(caught.value.__cause__)


def test_the_command_line_says_so_with_exit_code_2(tmp_path: Path) -> None:
    words = [["run", URI, "--model", "threshold", "--output", str(tmp_path / "out")],
             ["verify", URI],
             ["evaluate", "a", URI, "--labels", "voc", "--output", str(tmp_path / "out")],
             ["doctor", "a", "--truth", URI],
             ["compare", URI, "b"],
             ["submit", "--status", "job", "--address", f"http://me:{SECRET}@head:8265"]]  # fmt: skip
    for each in words:
        done = CliRunner().invoke(cli, each)
        assert done.exit_code == 2, (each, done.output)
        assert SECRET not in done.output
        assert "recorded" in done.output
    assert not (tmp_path / "out").exists()


def test_a_traceback_does_not_show_them_either(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(json.dumps({**JOB, "source": URI}))
    words = [sys.executable, "-m", "batchseg", "run", "--config", str(tmp_path / "job.yaml"), "--debug"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert "Traceback" in done.stderr and "source.path" in done.stderr
    assert SECRET not in done.stderr


def test_a_file_with_them_is_a_row_that_cannot_be_read() -> None:
    with pytest.raises(batchseg.BatchsegError) as caught:
        image_reader().read(URI)
    assert SECRET not in str(caught.value) and "AWS_ACCESS_KEY_ID" in str(caught.value)
    with pytest.raises(ConfigError, match="s3://bucket/a: was given with credentials"):
        locate(URI)
