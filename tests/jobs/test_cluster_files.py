"""The files of jobs/ for clusters: published field names, commands that parse, metrics that exist."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml
from kubernetes_fields import FIELDS

from batchseg.cli.group import cli
from batchseg.config.load import validate
from batchseg.config.run import RunConfig
from batchseg.engine.telemetry import COUNTERS, GAUGES

JOBS = Path(__file__).parent.parent.parent / "jobs"
KUBERNETES = ("rayjob.yaml", "cronjob.yaml")
GROUPS = {"RayJob": "ray.io/v1", "CronJob": "batch/v1", "ConfigMap": "v1"}


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((JOBS / name).read_text(encoding="utf-8")))


def by_kind(name: str, kind: str) -> dict[str, Any]:
    (found,) = (document for document in documents(name) if document["kind"] == kind)
    return found


def unknown_fields(value: Any, kind: str, place: str) -> Iterator[str]:
    for each in value if isinstance(value, list) else [value]:
        for field, below in each.items():
            if field not in FIELDS[kind]:
                yield f"{place}.{field} is no field of {kind}"
            elif FIELDS[kind][field]:
                yield from unknown_fields(below, FIELDS[kind][field], f"{place}.{field}")


@pytest.mark.parametrize("name", KUBERNETES)
def test_kubernetes_knows_every_field(name: str) -> None:
    for document in documents(name):
        assert document["apiVersion"] == GROUPS[document["kind"]]
        assert list(unknown_fields(document, document["kind"], name)) == []


def test_a_misspelt_field_is_noticed() -> None:
    job = by_kind("rayjob.yaml", "RayJob")
    job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]["contaniers"] = []
    assert list(unknown_fields(job, "RayJob", "")) == [
        ".spec.rayClusterSpec.workerGroupSpecs.template.spec.contaniers is no field of PodSpec"
    ]


def pods(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if "containers" in value:
            yield value
        for below in value.values():
            yield from pods(below)
    elif isinstance(value, list):
        for below in value:
            yield from pods(below)


@pytest.mark.parametrize("name", KUBERNETES)
def test_what_is_mounted_is_a_volume_that_exists(name: str) -> None:
    maps = {document["metadata"]["name"] for document in documents(name) if document["kind"] == "ConfigMap"}
    for pod in pods(documents(name)):
        volumes = {volume["name"] for volume in pod["volumes"]}
        mounts = {mount["name"] for each in pod["containers"] for mount in each["volumeMounts"]}
        assert mounts == volumes
        assert {volume["configMap"]["name"] for volume in pod["volumes"] if "configMap" in volume} <= maps


@pytest.mark.parametrize("name", KUBERNETES)
def test_the_job_of_the_config_map_is_a_configuration(name: str) -> None:
    job = yaml.safe_load(by_kind(name, "ConfigMap")["data"]["job.yaml"])
    config = validate(RunConfig, job, name)
    mounted = {mount["mountPath"] for pod in pods(documents(name)) for each in pod["containers"]
               for mount in each["volumeMounts"]}  # fmt: skip
    assert "/config" in mounted
    if name == "rayjob.yaml":
        assert config.output.path.startswith("/data/"), "outside the cluster, which a retry makes anew"
        assert "/data" in mounted


def commands() -> dict[str, list[str]]:
    submitting = by_kind("cronjob.yaml", "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    comments = re.findall(r"^#   batchseg (.*?)(?:  #|$)", (JOBS / "cluster.yaml").read_text(), re.MULTILINE)
    return {
        "rayjob.yaml": shlex.split(by_kind("rayjob.yaml", "RayJob")["spec"]["entrypoint"])[3:],
        "cronjob.yaml": submitting["containers"][0]["command"][1:],
        "cluster.yaml": shlex.split(comments[0]),
    }


@pytest.mark.parametrize("name", commands())
def test_its_command_parses(name: str) -> None:
    words = commands()[name]
    command = cli.get_command(click.Context(cli), words[0])
    assert command is not None
    command.make_context(words[0], words[1:])


def test_clean_up_and_retries() -> None:
    ray, cron = by_kind("rayjob.yaml", "RayJob")["spec"], by_kind("cronjob.yaml", "CronJob")["spec"]
    assert (ray["shutdownAfterJobFinishes"], ray["ttlSecondsAfterFinished"] > 0) == (True, True)
    assert ray["backoffLimit"] > 0
    assert cron["concurrencyPolicy"] == "Forbid"
    assert len(cron["schedule"].split()) == 5
    job = cron["jobTemplate"]["spec"]
    assert job["ttlSecondsAfterFinished"] > 0
    assert job["template"]["spec"]["restartPolicy"] == "Never", "podFailurePolicy asks for it"
    assert job["podFailurePolicy"]["rules"][0]["onExitCodes"]["containerName"] == "submit"


def test_ray_up_accepts_the_cluster() -> None:
    import ray.autoscaler

    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    (cluster,) = documents("cluster.yaml")
    jsonschema.validate(cluster, schema)
    assert cluster["head_node_type"] in cluster["available_node_types"]
    workers = [node for name, node in cluster["available_node_types"].items() if name != "head"]
    assert sum(node["max_workers"] for node in workers) <= cluster["max_workers"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**cluster, "max_worker": 4}, schema)


def test_prometheus_reads_the_list_that_ray_keeps() -> None:
    from ray._private.ray_constants import PROMETHEUS_SERVICE_DISCOVERY_FILE

    (scraping,) = documents("prometheus.yml")
    (job,) = scraping["scrape_configs"]
    assert job["file_sd_configs"] == [{"files": [f"/tmp/ray/{PROMETHEUS_SERVICE_DISCOVERY_FILE}"]}]


def test_the_dashboard_shows_the_metrics_of_the_code() -> None:
    ours = {f"ray_{name}_total" for name in COUNTERS} | {f"ray_{name}" for name in GAUGES}
    text = (JOBS / "grafana_dashboard.json").read_text()
    named = set(re.findall(r"\bray_\w+", text))
    assert {name for name in named if "batchseg" in name} == ours
    assert named - ours == {"ray_data_operator_queued_blocks"}, "Ray Data's own; a scrape must show it"
    readme = (JOBS / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(ray_batchseg_\w+)`", readme)) == ours
    panels = json.loads(text)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(target["expr"] for panel in panels for target in panel["targets"])
