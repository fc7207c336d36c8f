"""Submit a run to a Ray cluster, follow it, and come back with its own exit code."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any

from batchseg.cluster.baggage import JOB_FILE, as_seen_everywhere, pack_job
from batchseg.cluster.server import Server
from batchseg.config.run import RunConfig
from batchseg.errors import ClusterError, ConfigError

INTERRUPTED = 130
ENTRYPOINT = f"exec python -m batchseg run --config {JOB_FILE}"
STOP_S = "30"  # Ray's own patience, 3 s, may not last until what is finished is committed
RECONNECT_S = 1.0
ATTEMPTS = 5
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")

OnLog = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """A job on a cluster.

    Attributes:
        status: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED.
        exit_code: that of `batchseg run`; 130 where it was stopped, 1 where it failed without one, and None
            until it has ended.
        message: Ray's own words on the status.
    """

    id: str
    status: str
    exit_code: int | None
    message: str

    @property
    def ended(self) -> bool:
        return self.status in ENDED


def leave(job_id: str) -> bool:
    """What Ctrl-C does unless somebody is asked: the job goes on, and is only not followed any longer."""
    return False


class Cluster:
    """The jobs of a running Ray cluster. Every method raises ClusterError where it does not answer.

    Args:
        address: of its job server, such as `http://head:8265`.
    """

    def __init__(self, address: str) -> None:
        self.server = Server(address)

    def submit(self, config: RunConfig) -> Job:
        """Start the job, or find it: one of the same name that has not ended yet is not started again.

        Ids cannot be used twice, so they are NAME-1, NAME-2 and so on.
        Raises ClusterError where another configuration runs under the same name.
        """
        name = config.ray.job.name or default_name(config)
        with tempfile.TemporaryDirectory(prefix="batchseg-") as folder:
            digest = pack_job(config, Path(folder))
            for _ in range(ATTEMPTS):  # somebody else may take the same id meanwhile
                numbered = _numbered(self.server.jobs(), name)
                running = next((job for job in numbered.values() if job.status not in ENDED), None)
                if running is not None:
                    return _known(running, digest)
                job_id = f"{name}-{max(numbered, default=0) + 1}"
                if self.server.submit(submission_id=job_id, **_order(config, folder, digest)):
                    return Job(job_id, "PENDING", None, "")
        raise ClusterError(f"{name}: others submit under the same name; try again")

    def status(self, job_id: str) -> Job:
        return _job(self.server.job(job_id))

    def stop(self, job_id: str) -> Job:
        """Ask the job to end; what it has finished is committed."""
        self.server.stop(job_id)
        return self.status(job_id)

    def follow(self, job_id: str, on_log: OnLog, on_interrupt: Callable[[str], bool] = leave) -> Job:
        """Hand on the job's log, from its beginning, until it has ended.

        `on_interrupt` is asked after Ctrl-C whether to stop the job, which is then followed to its end.
        Raises KeyboardInterrupt otherwise.
        """
        shown = 0
        while True:
            try:
                at = 0
                for chunk in self.server.log(job_id):
                    on_log(chunk[max(0, shown - at) :])
                    at += len(chunk)
                    shown = max(shown, at)
                if (job := self.status(job_id)).ended:
                    return job
                sleep(RECONNECT_S)
            except KeyboardInterrupt:
                if not on_interrupt(job_id):
                    raise
                self.stop(job_id)


def submit(
    config: RunConfig, address: str | None = None, on_log: OnLog | None = None, wait: bool = True
) -> Job:
    """Run a job on a Ray cluster.

    Args:
        config: the whole job; `ray.job` says under which name and how it is started.
        address: of the cluster's job server; by default `ray.address` of the configuration.
        on_log: called with pieces of the job's log; by default they are printed.
        wait: whether to follow the job to its end.

    Raises:
        ClusterError: the cluster does not answer, does not let us in, or refuses the job.
    """
    cluster = Cluster(job_server(config, address))
    job = cluster.submit(config)
    return cluster.follow(job.id, on_log or _print) if wait else job


def job_server(config: RunConfig, address: str | None) -> str:
    """The address to submit to. Raises ConfigError where there is none."""
    if found := address or config.ray.address:
        return found
    raise ConfigError("submit needs the cluster's job server: give --address http://HEAD:8265")


def default_name(config: RunConfig) -> str:
    """One name a results folder, in which only one job may write at a time."""
    place = as_seen_everywhere(config)["output"]["path"]
    return f"batchseg-{hashlib.sha256(place.encode()).hexdigest()[:8]}"


def _order(config: RunConfig, folder: str, digest: str) -> dict[str, Any]:
    env = {"RAY_JOB_STOP_WAIT_TIME_S": STOP_S, **config.ray.job.env}
    return {
        "entrypoint": ENTRYPOINT,
        "runtime_env": {"working_dir": folder, "env_vars": env},
        "metadata": {"batchseg": digest},
        "entrypoint_num_cpus": config.ray.job.entrypoint_cpus or None,
    }


def _numbered(jobs: list[Any], name: str) -> dict[int, Any]:
    """NAME-1, NAME-2 ... by number."""
    found = {}
    for job in jobs:
        before, _, number = (job.submission_id or "").rpartition("-")
        if before == name and number.isdigit():
            found[int(number)] = job
    return found


def _known(details: Any, digest: str) -> Job:
    if (details.metadata or {}).get("batchseg") != digest:
        raise ClusterError(
            f"{details.submission_id} is running with another configuration; "
            "wait for it, stop it, or choose another --name"
        )
    return _job(details)


def _job(details: Any) -> Job:
    status, message = str(details.status.value), (details.message or "").partition(", last available")[0]
    return Job(details.submission_id, status, _exit_code(status, details.driver_exit_code), message)


def _exit_code(status: str, code: int | None) -> int | None:
    if status == "STOPPED":
        return INTERRUPTED
    if code is None:
        return 1 if status == "FAILED" else None
    return code if code >= 0 else 128 - code  # ended by a signal: what a shell makes of that


def _print(text: str) -> None:
    print(text, end="", flush=True)
