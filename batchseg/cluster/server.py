"""Ray's job server, with deadlines and errors of our own."""

from __future__ import annotations

import asyncio
import logging
import os
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

from batchseg.config.places import SecretGivenError, refuse_in_address
from batchseg.engine.session import SET_THE_TOKEN
from batchseg.errors import ClusterError, ConfigError

ANSWER_S = 5.0
CHATTY = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
)
SILENCE_S = 5.0  # of a log, until the server is asked whether it still lives


class Server:
    """The job server at an address such as `http://head:8265`.

    Every method raises ClusterError where it does not answer, or does not let us in.
    """

    def __init__(self, address: str) -> None:
        try:
            refuse_in_address(address)
        except SecretGivenError as exc:
            raise ConfigError(f"the job server's address {exc}") from None
        if not address.startswith(("http://", "https://")):
            raise ConfigError(
                f"{address}: jobs are submitted to a cluster's job server, such as http://10.0.0.5:8265"
            )
        self.address = address
        with self._asking(), _only_address_counts():
            self._client = _client(address)

    def jobs(self) -> list[Any]:
        """Ray's JobDetails of every job."""
        with self._asking():
            return list(self._client.list_jobs())

    def job(self, job_id: str) -> Any:
        """Ray's JobDetails of one job."""
        with self._asking():
            return self._client.get_job_info(job_id)

    def submit(self, **what: Any) -> bool:
        """Start a job; False where there has been one of the same id."""
        with self._asking():
            try:
                self._client.submit_job(**what)
            except RuntimeError as exc:
                if "already exists" not in str(exc):
                    raise
                return False
        return True

    def stop(self, job_id: str) -> None:
        with self._asking():
            self._client.stop_job(job_id)

    def whole_log(self, job_id: str) -> str:
        """What the job has printed so far."""
        with self._asking():
            return str(self._client.get_job_logs(job_id))

    def log(self, job_id: str) -> Iterator[str]:
        """The job's log from its beginning, as it grows; it may end early, where a connection breaks."""
        chunks: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        # in a thread, for in a notebook an event loop is running already
        Thread(target=self._read_log, args=(job_id, chunks), daemon=True).start()
        while True:
            try:
                chunk = chunks.get(timeout=SILENCE_S)
            except queue.Empty:
                self.job(job_id)
                continue
            if chunk is None:
                return
            yield chunk

    def _read_log(self, job_id: str, chunks: queue.SimpleQueue[str | None]) -> None:
        import aiohttp

        async def read() -> None:
            async for chunk in self._client.tail_job_logs(job_id):
                chunks.put(chunk)

        try:
            asyncio.run(read())
        except (RuntimeError, OSError, aiohttp.ClientError):
            pass  # whoever follows the job asks what has become of it
        finally:
            chunks.put(None)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        from ray.exceptions import AuthenticationError

        try:
            yield
        except AuthenticationError as exc:
            raise ClusterError(_refused(self.address, str(exc))) from exc
        except (OSError, KeyError, ValueError) as exc:  # the latter two: it answers, and is no job server
            raise ClusterError(f"{self.address}: no Ray cluster answers there") from exc
        except RuntimeError as exc:
            raise ClusterError(f"{self.address}: {_last_line(exc)}") from exc


def _refused(address: str, reason: str) -> str:
    what = "does not accept this token" if "Invalid" in reason else "asks for a token"
    return f"{address}: the cluster {what}; {SET_THE_TOKEN}"


def _last_line(exc: Exception) -> str:
    """Ray sends the traceback of its server, whose last line says what is wrong."""
    lines = [line.strip(" .") for line in str(exc).splitlines()]
    return next((line for line in reversed(lines) if line), "it refused, and gave no reason")


def _client(address: str) -> Any:
    from ray.job_submission import JobSubmissionClient

    class Client(JobSubmissionClient):  # type: ignore[misc]
        """A head that hangs does not answer either; Ray would wait for ever."""

        def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:
            return super()._do_request(method, endpoint, **{"timeout": ANSWER_S, **options})

    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    return Client(address)


@contextmanager
def _only_address_counts() -> Iterator[None]:
    """Ray lets these variables override the address that it is given."""
    hidden = {name: os.environ.pop(name, None) for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")}
    try:
        yield
    finally:
        os.environ.update({name: value for name, value in hidden.items() if value is not None})
