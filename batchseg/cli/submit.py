"""The command for running clusters: submit."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from batchseg.cli.interrupts import INTERRUPTED, interrupts
from batchseg.cli.options import given, options, reported_errors, reporting
from batchseg.config.load import load_config
from batchseg.config.run import RunConfig
from batchseg.errors import ConfigError

if TYPE_CHECKING:
    from batchseg.cluster.submit import Cluster, Job

_starting = options(
    click.option("--address", metavar="URL", help="The cluster's job server, http://HEAD:8265."),
    click.option("--name", metavar="N", help="What the job's id begins with: N-1, N-2 and so on."),
    click.option("--env", multiple=True, metavar="KEY=VALUE", help="Set for the job and its workers."),
    click.option("--entrypoint-cpus", type=float, metavar="N", help="CPUs reserved for the driver."),
    click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any other setting."),
    click.option("--no-wait", is_flag=True, help="Do not follow the job."),
    click.option(
        "--on-interrupt",
        type=click.Choice(["ask", "stop", "leave"]),
        default="ask",
        help="What Ctrl-C does to the job; without a terminal, ask means leave.  [ask]",
    ),
)

_looking = options(
    click.option("--status", "action", flag_value="status", help="Say how the job is, and how far."),
    click.option("--logs", "action", flag_value="logs", help="Follow the job from its beginning."),
    click.option(
        "--stop", "action", flag_value="stop", help="End the job and wait for it; it commits what it has."
    ),
    click.option("--list", "action", flag_value="list", help="List the cluster's jobs of batchseg."),
)


@click.command("submit")
@click.argument("config_or_id", metavar="CONFIG|ID", required=False)
@_starting
@_looking
@reporting
def submit_command(config_or_id: str | None, action: str | None, debug: bool, **flags: Any) -> None:
    """Run the job of a CONFIG file on a Ray cluster and show its log.

    The same command again follows a job that is still running, and resumes one that has died. What looks at
    a job takes its ID, its name for the last of that name, or the CONFIG that it was submitted with.

    Exit codes: those of `batchseg run`, as the job ends with them.
    """
    with reported_errors(debug):
        if action == "list":
            _list(config_or_id, flags)
        elif config_or_id is None:
            raise ConfigError("submit needs a CONFIG file, or the ID of a job to look at")
        elif action:
            _look(action, config_or_id, flags)
        else:
            _start(config_or_id, flags)


def _start(path: str, flags: dict[str, Any]) -> None:
    config = load_config(path, flags["settings"], given({"ray": _of_ray(flags)}))
    from batchseg.cluster.submit import Cluster, job_server

    cluster = Cluster(job_server(config, flags["address"]))
    job = cluster.submit(config)
    if not flags["quiet"]:
        _say_what_runs(config, job)
    if flags["no_wait"]:
        _report(job, flags)
        sys.exit(0)
    _follow(cluster, job, flags)


def _look(action: str, config_or_id: str, flags: dict[str, Any]) -> None:
    cluster, job_id = _cluster_and_id(action, config_or_id, flags)
    if action == "stop" and not flags["quiet"]:
        click.echo(f"{job_id} is told to stop", err=True)
    job = cluster.stop(job_id) if action == "stop" else cluster.status(job_id)
    if action == "logs":
        _follow(cluster, job, flags)
    _report(job, flags)


def _list(config: str | None, flags: dict[str, Any]) -> None:
    cluster, _ = _cluster_and_id("list", config, flags)
    jobs = cluster.jobs()
    if flags["as_json"]:
        click.echo(json.dumps([asdict(job) for job in jobs], indent=2))
        return
    for job in jobs:
        started = f"{datetime.fromtimestamp(job.started):%Y-%m-%d %H:%M:%S}" if job.started else "not started"
        click.echo(f"{job.id}  {job.status}  {started}  {job.said or job.progress or ''}".rstrip())
    if not jobs and not flags["quiet"]:
        click.echo("the cluster knows no job of batchseg", err=True)


def _cluster_and_id(action: str, config_or_id: str | None, flags: dict[str, Any]) -> tuple[Cluster, str]:
    """What a file says, or the command line."""
    from batchseg.cluster.submit import Cluster, default_name, job_server

    if config_or_id is not None and (
        os.path.isfile(config_or_id) or config_or_id.endswith((".yaml", ".yml"))
    ):
        config = load_config(config_or_id, flags["settings"], given({"ray": _of_ray(flags)}))
        return Cluster(job_server(config, flags["address"])), config.ray.job.name or default_name(config)
    if not flags["address"]:
        raise ConfigError(
            f"--{action} needs the cluster's job server: give --address http://HEAD:8265, or the CONFIG file "
            "that names it"
        )
    return Cluster(flags["address"]), config_or_id or ""


def _follow(cluster: Cluster, job: Job, flags: dict[str, Any]) -> None:
    to_stderr = flags["as_json"]

    def show(text: str) -> None:
        click.echo(text, nl=False, err=to_stderr)

    try:
        ended = cluster.follow(job.id, show, _decision(flags["on_interrupt"]))
    except KeyboardInterrupt:
        click.echo(f"{job.id} goes on; --logs {job.id} follows it again, --stop {job.id} ends it", err=True)
        sys.exit(INTERRUPTED)
    if to_stderr or ended.exit_code == 1:
        _report(ended, flags)
    sys.exit(ended.exit_code)


def _decision(on_interrupt: str) -> Callable[[str], bool]:
    def stop(job_id: str) -> bool:
        interrupts.forget()  # while the job is stopped, or somebody is asked, another one counts anew
        if on_interrupt != "ask":
            return on_interrupt == "stop"
        if not sys.stdin.isatty():
            return False
        try:
            return click.confirm(f"\nStop {job_id}? Otherwise it goes on without you", err=True)
        except click.Abort:  # Ctrl-C once more
            return False

    return stop


def _say_what_runs(config: RunConfig, job: Job) -> None:
    from batchseg.cluster.baggage import local_paths

    click.echo(f"{job.id} is {job.status.lower()}", err=True)
    for key, path in local_paths(config).items():
        click.echo(f"every node must see {key}: {path}", err=True)


def _report(job: Job, flags: dict[str, Any]) -> None:
    if flags["as_json"]:
        click.echo(json.dumps(asdict(job), indent=2))
    elif not flags["quiet"]:
        code = "" if job.exit_code is None else f", exit code {job.exit_code}"
        click.echo(f"{job.id}: {job.status}{code}{': ' if job.message else ''}{job.message}", err=True)
        if further := job.said or job.progress:
            click.echo(str(further), err=True)


def _of_ray(flags: dict[str, Any]) -> dict[str, Any]:
    job = {
        "name": flags["name"],
        "env": _variables(flags["env"]),
        "entrypoint_cpus": flags["entrypoint_cpus"],
    }
    return {"address": flags["address"], "job": job}


def _variables(pairs: tuple[str, ...]) -> dict[str, str]:
    split = [pair.partition("=") for pair in pairs]
    for key, equals, _ in split:
        if not key or not equals:
            raise ConfigError(f"--env {key}: must be KEY=VALUE")
    return {key: value for key, _, value in split}
