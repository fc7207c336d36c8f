"""Submit a run to a Ray cluster, follow it, and come back with its own exit code."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from batchseg.cluster.baggage import JOB_FILE, as_seen_everywhere, pack_job
from batchseg.cluster.server import Server
from batchseg.config.run import RunConfig
from batchseg.errors import ClusterError, ConfigError
from batchseg.results.progress import INTERRUPTED_LINE, ProgressLine, read_progress

INTERRUPTED = 130
ENTRYPOINT = f"exec python -m batchseg run --config {JOB_FILE}"
STOP_S = "30"  # Ray's own patience, 3 s, may not last until what is finished is committed
STOPPED_S = 60.0  # what a job may take to end once it is told; Ray kills it after STOP_S
RECONNECT_S = 1.0
ATTEMPTS = 5
COMPLETE = (0, 3, 4)  # exit codes of a run that came to its end
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
        started: when, in seconds since 1970; None until then.
        progress: how far it is, as its log says every half minute; None where that says nothing yet.
        said: what the job itself said when it was interrupted: how much is committed.
    """

    id: str
    status: str
    exit_code: int | None
    message: str
    started: float | None = None
    progress: ProgressLine | None = None
    said: str | None = None

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
        """How a job is, and how far; a NAME stands for the last of NAME-1, NAME-2 and so on."""
        return self._looked_at(self.server.job(self._full_id(job_id)))

    def jobs(self) -> list[Job]:
        """All jobs that were submitted by this program and the cluster still knows, the oldest first."""
        ours = [job for job in self.server.jobs() if "batchseg" in (job.metadata or {})]
        return [self._looked_at(job) for job in sorted(ours, key=lambda job: job.start_time or inf)]

    def stop(self, job_id: str, wait_s: float = STOPPED_S) -> Job:
        """Ask the job to end, and wait until it has; what it has finished is committed.

        Raises ClusterError where it has not ended in time.
        """
        job_id = self._full_id(job_id)
        self.server.stop(job_id)
        until = monotonic() + wait_s
        while not _job(details := self.server.job(job_id)).ended:
            if monotonic() >= until:
                raise ClusterError(f"{job_id}: was told to stop, but still runs after {wait_s:g} s")
            sleep(RECONNECT_S)
        return self._looked_at(details)

    def _full_id(self, name: str) -> str:
        jobs = self.server.jobs()
        numbered = _numbered(jobs, name)
        if not numbered or any(job.submission_id == name for job in jobs):
            return name
        return f"{name}-{max(numbered)}"

    def _looked_at(self, details: Any) -> Job:
        job = _job(details)
        if job.status == "PENDING":
            return job
        log = self.server.whole_log(job.id)
        told = [line for line in log.splitlines() if line.startswith(INTERRUPTED_LINE)]
        progress = read_progress(log)
        if progress is not None and job.exit_code in COMPLETE:
            progress = ProgressLine(progress.total, progress.total)
        return replace(job, progress=progress, said=told[-1] if told else None)

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
                self.server.stop(job_id)


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
    started = details.start_time / 1000 if details.start_time else None
    return Job(details.submission_id, status, _exit_code(status, details.driver_exit_code), message, started)


def _exit_code(status: str, code: int | None) -> int | None:
    if status == "STOPPED":
        return INTERRUPTED
    if code is None:
        return 1 if status == "FAILED" else None
    return code if code >= 0 else 128 - code  # ended by a signal: what a shell makes of that


def _print(text: str) -> None:
    print(text, end="", flush=True)
