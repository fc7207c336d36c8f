"""`batchseg submit` to a cluster of real processes: live logs, exit codes, resumption, a node that dies."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest
import yaml
from ray_nodes import Nodes, environment, free_port, ray_nodes
from result_tables import mask_files, tables
from submitting import IMAGES, MODELS, gated_job, job_file, masks, open_gate, start, submit, wait_for, words

pytestmark = [pytest.mark.slow]


def test_the_same_tables_as_a_local_run(nodes: Nodes, scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text("classes: [dark, bright]\n")
    (tmp_path / "local").mkdir()
    job = job_file(scenes, tmp_path, labels="two.yaml")  # relative to where the command runs: it goes along
    done = submit(nodes, job.name, "--name", "same", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{IMAGES} in " in done.stdout
    assert f"every node must see source.path: {scenes}/images" in done.stderr
    local = words(job, "--set", f"output.path={tmp_path}/local/out")
    local[3:4] = ["run", "--config"]
    subprocess.run(local, check=True, env=environment(), cwd=tmp_path)
    assert tables(tmp_path / "out") == tables(tmp_path / "local" / "out")
    assert mask_files(tmp_path / "out") == mask_files(tmp_path / "local" / "out")
    looked = submit(nodes, "--status", "same-1", "--json")
    assert json.loads(looked.stdout)["exit_code"] == 0
    assert json.loads(looked.stdout)["progress"]["done"] == IMAGES


def test_exit_codes_arrive(nodes: Nodes, scenes: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(scenes / "images", mixed)
    (mixed / "broken.png").write_bytes(b"")
    changes = {
        1: [f"source.path={tmp_path}/nowhere"],
        3: [f"source.path={mixed}", "source.truth=null"],
        4: ["gates.minimum.mean_iou=0.999"],
    }
    job = job_file(scenes, tmp_path)
    for code, settings in changes.items():
        more = [word for setting in settings for word in ("--set", setting)]
        done = submit(nodes, job, "--set", f"output.path={tmp_path}/{code}", *more)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
    assert submit(nodes, job, "--set", "source.depth=3").returncode == 2


@pytest.mark.usefixtures("heard_interrupts")
def test_interrupted_following_leaves_the_job_and_finds_it_again(
    nodes: Nodes, gated: Path, tmp_path: Path
) -> None:
    with start(nodes, "--name", "left", gated) as first:
        try:
            assert first.stdout is not None
            lines = iter(first.stdout.readline, "")
            assert any("segmenting 60 images" in line for line in lines), "its log comes while it runs"
            wait_for(lambda: masks(tmp_path) >= 4, first)
            first.send_signal(signal.SIGINT)
            _, errors = first.communicate(timeout=60)
        finally:
            first.kill()
    assert (first.returncode, "left-1 goes on" in errors) == (130, True), errors
    other = submit(nodes, gated, "--name", "left", "--set", "limits.max_bytes=1000")
    assert (other.returncode, "left-1 is running with another configuration" in other.stderr) == (1, True)
    open_gate(tmp_path)
    again = submit(nodes, gated, "--name", "left")
    assert (again.returncode, "left-1 is running" in again.stderr) == (0, True), again.stdout + again.stderr
    assert "segmenting 60 images" in again.stdout
    assert masks(tmp_path) == IMAGES


def test_a_stopped_job_is_resumed_by_the_same_command(nodes: Nodes, gated: Path, tmp_path: Path) -> None:
    more = ("--name", "stopped", "--on-interrupt", "stop", gated)
    with start(nodes, *more) as first:
        try:
            wait_for(lambda: masks(tmp_path) >= 4 and any(tmp_path.glob("out/images/*.parquet")), first)
            first.send_signal(signal.SIGTERM)
            output, errors = first.communicate(timeout=120)
        finally:
            first.kill()
    assert (first.returncode, "of 60 images are committed" in output) == (130, True), output + errors
    before = json.loads((tmp_path / "out" / "run.json").read_text())["computed"]["ok"]
    open_gate(tmp_path)
    again = submit(nodes, *more, folder=tmp_path)
    assert (again.returncode, "stopped-2 is pending" in again.stderr) == (0, True), (
        again.stdout + again.stderr
    )
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["images"]["done_before"] == before > 0
    assert record["computed"] == {"ok": IMAGES - before}


def test_a_job_is_looked_at_listed_and_stopped_by_its_file(nodes: Nodes, gated: Path, tmp_path: Path) -> None:
    job = yaml.safe_load(gated.read_text())
    gated.write_text(yaml.safe_dump({**job, "ray": {"address": nodes.address, "job": {"name": "seen"}}}))
    assert submit(nodes, gated, "--no-wait").returncode == 0

    def look(*more: object) -> subprocess.CompletedProcess[str]:
        env = {**environment(), **nodes.token}
        return subprocess.run(words(*more), env=env, capture_output=True, text=True, timeout=240, check=False)

    deadline = monotonic() + 240
    while "0 / 60" not in (status := look("--status", gated)).stderr or not any(
        tmp_path.glob("out/images/*.parquet")
    ):
        assert monotonic() < deadline, status
    assert status.stderr.startswith("seen-1: RUNNING")
    listed = look("--list", "--address", nodes.address)
    (line,) = (line for line in listed.stdout.splitlines() if line.startswith("seen-1  "))
    assert re.fullmatch(r"seen-1  RUNNING  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  0 / 60", line), listed
    stopped = look("--stop", gated)
    count = json.loads((tmp_path / "out" / "run.json").read_text())["computed"]["ok"]
    assert "seen-1: STOPPED, exit code 130" in stopped.stderr
    assert f"interrupted: {count} of 60 images are committed" in stopped.stderr
    assert f"{count} of 60" in look("--status", "seen", "--address", nodes.address).stderr


def test_a_killed_driver_is_resumed_by_the_same_command(nodes: Nodes, gated: Path, tmp_path: Path) -> None:
    with start(nodes, "--name", "killed", gated) as first:
        try:
            wait_for(lambda: any(tmp_path.glob("out/images/*.parquet")), first)
            os.kill(json.loads((tmp_path / "out" / ".lock").read_text())["pid"], signal.SIGKILL)
            output, errors = first.communicate(timeout=120)
        finally:
            first.kill()
    assert first.returncode == 137, output + errors
    open_gate(tmp_path)
    again = submit(nodes, gated, "--name", "killed")
    assert (again.returncode, "killed-2 is pending" in again.stderr) == (0, True), again.stdout + again.stderr
    subprocess.run([sys.executable, "-m", "batchseg", "verify", str(tmp_path / "out")], check=True)


def test_library_call(nodes: Nodes, scenes: Path, tmp_path: Path) -> None:
    code = """
import sys, batchseg
config = batchseg.load_config(sys.argv[1], overrides={"ray": {"address": sys.argv[2]}})
log = []
job = batchseg.submit(config, on_log=log.append)
assert (job.status, job.exit_code, job.ended) == ("SUCCEEDED", 0, True), (job, log)
assert job.id.startswith("batchseg-"), job
assert "60 in " in "".join(log)
started = batchseg.submit(config, wait=False)
cluster = batchseg.Cluster(sys.argv[2])
assert cluster.follow(started.id, log.append).exit_code == 0
"""
    job = job_file(scenes, tmp_path)
    env = {**environment(), **nodes.token}
    subprocess.run([sys.executable, "-c", code, str(job), nodes.address], env=env, check=True, timeout=240)


@pytest.mark.parametrize(
    ("token", "sentence"),
    [({}, "the cluster asks for a token"), ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "x" * 64}, "token")],
)
def test_without_the_token_is_one_sentence(
    nodes: Nodes, scenes: Path, tmp_path: Path, token: dict[str, str], sentence: str
) -> None:
    job, env = job_file(scenes, tmp_path), {**environment(), "HOME": str(tmp_path), **token}
    done = subprocess.run(
        words(job, "--address", nodes.address),
        env=env,
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )
    assert (done.returncode, sentence in done.stderr, done.stderr.count("\n")) == (1, True, 1), done.stderr


def test_a_run_without_the_token_is_one_sentence(nodes: Nodes, scenes: Path, tmp_path: Path) -> None:
    job, env = job_file(scenes, tmp_path), {**environment(), "HOME": str(tmp_path)}
    run = [sys.executable, "-m", "batchseg", "run", "--config", str(job), "--address", nodes.gcs]
    done = subprocess.run(run, env=env, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "where it asks for a token, set RAY_AUTH_MODE=token" in done.stderr


def test_unknown_jobs_are_one_sentence(nodes: Nodes) -> None:
    for action in ("--status", "--logs", "--stop"):
        done = submit(nodes, action, "nobody-1")
        assert (done.returncode, "nobody-1 does not exist" in done.stderr) == (1, True), done


def test_a_node_dies_and_the_job_finishes(nodes: Nodes, gated: Path, tmp_path: Path) -> None:
    third = nodes.add(1)
    with start(nodes, "--set", "segmentor.actors=3", gated) as process:
        try:
            wait_for(lambda: masks(tmp_path) >= IMAGES // 3, process)
            nodes.kill(third)
            open_gate(tmp_path)
            output, errors = process.communicate(timeout=240)
        finally:
            process.kill()
    assert process.returncode == 0, output + errors
    assert masks(tmp_path) == IMAGES
    subprocess.run([sys.executable, "-m", "batchseg", "verify", str(tmp_path / "out")], check=True)


def test_nobody_at_the_address_is_one_sentence(scenes: Path, tmp_path: Path) -> None:
    job = job_file(scenes, tmp_path)
    for address, code in ((f"http://127.0.0.1:{free_port()}", 1), ("127.0.0.1:8265", 2)):
        command = words(job, "--address", address)
        done = subprocess.run(
            command, env=environment(), capture_output=True, text=True, timeout=15, check=False
        )
        assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
        assert address in done.stderr


def test_a_head_that_dies_is_one_sentence(scenes: Path, tmp_path: Path, dying: Nodes) -> None:
    job = gated_job(scenes, tmp_path)
    with start(dying, job) as process:
        try:
            wait_for(lambda: masks(tmp_path) >= 1, process)
            dying.kill(dying.head)
            _, errors = process.communicate(timeout=15)
        finally:
            process.kill()
    assert process.returncode == 1, errors
    assert errors.splitlines()[-1].endswith("no Ray cluster answers there")


@pytest.fixture
def dying() -> Iterator[Nodes]:
    """A cluster for one test."""
    with ray_nodes(MODELS) as nodes:
        nodes.add(2)
        yield nodes
