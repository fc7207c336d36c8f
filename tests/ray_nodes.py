"""A Ray cluster of separate processes on this machine, as `ray start` makes it; others do not notice it."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any

import psutil
import requests
from processes import runs

ROOT = Path(__file__).parent.parent
START_S = 240.0
STORE_BYTES = 128 * 2**20


def free_port() -> int:
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def environment(*python_path: Path) -> dict[str, str]:
    """A clean shell with this Python first, and the package of this checkout."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.defpath])
    modules = os.pathsep.join(str(each) for each in (*python_path, ROOT))
    return {"PATH": path, "HOME": os.environ.get("HOME", "/"), "PYTHONPATH": modules, "LANG": "C.UTF-8"}


class Nodes:
    """A head without CPUs, and as many nodes as are added; `address` is the job server's."""

    def __init__(self, folder: Path, env: dict[str, str], token: str | None = None) -> None:
        self.folder = folder
        self.token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {}
        self.env = {**env, "RAY_AUTH_MODE": "disabled", **self.token, "RAY_USAGE_STATS_ENABLED": "0"}
        self.env["RAY_metrics_report_interval_ms"] = "2500"
        self.ports = {name: free_port() for name in ("gcs", "jobs", "client", "metrics")}
        self.gcs = f"127.0.0.1:{self.ports['gcs']}"
        self.address = f"http://127.0.0.1:{self.ports['jobs']}"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.head = self._start(
            "--head", "--num-cpus=0", f"--port={self.ports['gcs']}", f"--dashboard-port={self.ports['jobs']}",
            f"--ray-client-server-port={self.ports['client']}", f"--temp-dir={folder}",
        )  # fmt: skip
        self._wait(self._answers)

    def add(self, cpus: int = 1, resources: str = "{}") -> subprocess.Popen[bytes]:
        """One more node."""
        before = self.alive()
        node = self._start(f"--address={self.gcs}", f"--num-cpus={cpus}", f"--resources={resources}")
        self._wait(lambda: self.alive() > before)
        return node

    def alive(self) -> int:
        """Nodes that the head counts."""
        answer = requests.get(f"{self.address}/nodes?view=summary", headers=self._headers(), timeout=10)
        return sum(node["raylet"].get("state") == "ALIVE" for node in answer.json()["data"]["summary"])

    def metrics(self) -> str:
        """What the head's endpoint tells Prometheus."""
        return requests.get(f"http://127.0.0.1:{self.ports['metrics']}/metrics", timeout=10).text

    def kill(self, node: subprocess.Popen[bytes]) -> None:
        """kill -9 of a node: its raylet, its agents and its workers."""
        family = psutil.Process(node.pid).children(recursive=True)
        for process in (*family, node):
            with suppress(ProcessLookupError, psutil.NoSuchProcess):
                os.kill(process.pid, signal.SIGKILL)
        psutil.wait_procs(family, timeout=10)
        node.wait()

    def close(self) -> None:
        for node in reversed(self.processes):
            if node.poll() is None:
                self.kill(node)

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        ports = f"--metrics-export-port={self.ports['metrics'] if '--head' in words else free_port()}"
        fixed = ("--block", "--dashboard-agent-listen-port=0", f"--object-store-memory={STORE_BYTES}", ports)
        with open(self.folder / f"node_{len(self.processes)}.log", "wb") as log:
            node = subprocess.Popen(
                ["ray", "start", *words, *fixed],
                env=self.env,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
            )
        self.processes.append(node)
        return node

    def _answers(self) -> bool:
        with suppress(requests.RequestException):
            found = requests.get(f"{self.address}/api/jobs/", headers=self._headers(), timeout=10)
            return found.status_code == 200 and self.alive() >= 1
        return False

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token['RAY_AUTH_TOKEN']}"} if self.token else {}

    def _wait(self, happened: Any) -> None:
        deadline, node = monotonic() + START_S, self.processes[-1]
        while not happened():
            logs = "\n".join(path.read_text()[-2000:] for path in sorted(self.folder.glob("node_*.log")))
            assert runs(node), logs
            assert monotonic() < deadline, logs


@contextmanager
def ray_nodes(*python_path: Path, token: bool = False) -> Iterator[Nodes]:
    """A head, ended with all that was added to it."""
    # a short path, for Ray's sockets lie in it
    folder = Path(tempfile.mkdtemp(prefix="bs-", dir="/tmp"))
    nodes = None
    try:
        nodes = Nodes(folder, environment(*python_path), secrets.token_hex(32) if token else None)
        yield nodes
    finally:
        if nodes is not None:
            nodes.close()
        shutil.rmtree(folder, ignore_errors=True)
