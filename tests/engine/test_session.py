"""Which address is a Ray cluster's, and what is said of all others: in seconds, not in Ray's minutes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Event, Thread
from time import monotonic

import grpc
import numpy as np
import pytest
from PIL import Image

import batchseg
from batchseg.engine import session
from batchseg.engine.session import READERS

MODELS = Path(__file__).parent.parent / "integration"


@pytest.fixture
def job(tmp_path: Path) -> list[str]:
    """The words of a command that segments one image."""
    (tmp_path / "images").mkdir()
    Image.fromarray(np.full((6, 9), 200, np.uint8)).save(tmp_path / "images" / "a.png")
    words = ["run", str(tmp_path / "images"), "--model", "threshold", "--output", str(tmp_path / "out")]
    return [sys.executable, "-m", "batchseg", *words]


def start(words: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def web_server() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_cluster_is_used(job: list[str], ray_session: None, tmp_path: Path) -> None:
    import ray

    (tmp_path / "notes").mkdir()
    job[job.index("threshold")] = "placed_model:Placed"
    more = ["--set", f"segmentor.options.notes={tmp_path / 'notes'}", "--actors", "2"]
    address = ["--address", ray.get_runtime_context().gcs_address]
    done = start([*job, *more, *address], PYTHONPATH=str(MODELS))
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr  # Ray has one for more actors than there is work
    assert (tmp_path / "out" / "masks" / "a.png").exists()
    (node,) = ray.nodes()
    assert [path.name for path in (tmp_path / "notes").iterdir()] == [node["NodeID"]]


def test_a_web_server_is_no_cluster(job: list[str], web_server: int, tmp_path: Path) -> None:
    done = start([*job, "--address", f"127.0.0.1:{web_server}"])
    assert done.returncode == 2
    assert f"127.0.0.1:{web_server}: what answers there is not Ray; a cluster's port is 6379" in done.stderr


def test_what_never_answers_is_no_cluster(job: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"ray://127.0.0.1:{silent.getsockname()[1]}"
        done = start([*job, "--set", f"ray.address={address}"])
    assert done.returncode == 2
    assert f"{address}: what answers there is not Ray" in done.stderr


@contextmanager
def grpc_server(*handlers: grpc.GenericRpcHandler) -> Iterator[int]:
    """The port of a gRPC server that is not Ray."""
    server = grpc.server(ThreadPoolExecutor(2), handlers)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None).wait()


class Silent(grpc.GenericRpcHandler):
    """Takes every call and answers none."""

    def __init__(self) -> None:
        self.ended = Event()

    def service(self, handler_call_details: object) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(self.answer)

    def answer(self, request: bytes, context: object) -> bytes:
        self.ended.wait()
        return b""


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_another_grpc_server_is_no_cluster(job: list[str], scheme: str) -> None:
    with grpc_server() as port:
        done = start([*job, "--address", f"{scheme}127.0.0.1:{port}"])
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert f"{scheme}127.0.0.1:{port}: what answers there is not Ray" in done.stderr


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_grpc_server_that_gives_no_answer_is_not_waited_for(job: list[str], scheme: str) -> None:
    silent = Silent()
    with grpc_server(silent) as port:
        began = monotonic()
        done = start([*job, "--address", f"{scheme}127.0.0.1:{port}"])
        took = monotonic() - began
        silent.ended.set()
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert f"{scheme}127.0.0.1:{port}: nothing answers there: it takes a connection" in done.stderr
    assert took < 60


def test_a_password_in_the_environment_s_address_is_not_repeated(job: list[str]) -> None:
    done = start(job, RAY_ADDRESS="me:wJalrXUtnFEMI@127.0.0.1:6379")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "RAY_ADDRESS) must hold no user and password" in done.stderr
    assert "wJalrXUtnFEMI" not in done.stderr


@pytest.mark.parametrize("address", ["ray://head", "head:99999", ":6379"])
def test_what_is_no_address_is_said_at_once(job: list[str], address: str) -> None:
    done = start(job, RAY_ADDRESS=address)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"ray.address {address}: must be host:port" in done.stderr


LATE = """
import threading, ray
from batchseg.engine.session import ray_session

def read(ref):
    for _ in range(30_000):
        ray.get(ref)
    print("all read")

with ray_session(None):
    threading.Thread(target=read, args=(ray.put(1),), name="iter_threaded", daemon=True).start()
"""


def test_threads_that_still_read_end_before_ray_does() -> None:
    done = start([sys.executable, "-c", LATE])
    assert (done.returncode, done.stdout) == (0, "all read\n"), done.stderr


SHARED = """
import sys
import batchseg, ray

def noted(init=ray.init, **settings):
    started.append(settings)
    return init(**settings)

ray.init, started = noted, []
settings = {"output": {"report": True}}
run = batchseg.run(sys.argv[1], model="threshold", output=sys.argv[2], settings=settings)
print(run.page is not None, len(started), ray.is_initialized())
job = {**run.record["config"], "output": sys.argv[2] + " of the night"}
night = batchseg.night(batchseg.NightConfig.model_validate(job))
print(night.run.segmented, night.page is not None, len(started), ray.is_initialized())
"""


def test_a_job_and_its_page_share_a_session(job: list[str], tmp_path: Path) -> None:
    done = start([sys.executable, "-c", SHARED, str(tmp_path / "images"), str(tmp_path / "out")])
    assert done.stdout.splitlines() == ["True 1 False", "1 True 2 False"], done.stderr


def test_the_threads_that_read_are_known_by_name(
    in_tasks: None, job: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    def start_noted(thread: Thread, real: Callable[[Thread], None] = Thread.start) -> None:
        started.append(thread.name)
        real(thread)

    monkeypatch.setattr(Thread, "start", start_noted)
    batchseg.run(str(tmp_path / "images"), model="threshold", output=str(tmp_path / "out"))
    assert [name for name in READERS if not any(each.startswith(name) for each in started)] == [], started


def test_advice_on_settings_of_ray_that_are_ours_is_not_shown(ray_session: None) -> None:
    """As where a small job has fewer chunks than actors."""
    advice = ("you might configure override_num_blocks", UserWarning, "ray.py", 1)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with session.ray_session(None):
            warnings.warn_explicit(*advice, module="ray.data._internal.execution.operators.map_operator")
            warnings.warn_explicit("of a model", UserWarning, "mine.py", 1, module="mine")
    assert [str(warning.message) for warning in told] == ["of a model"]
