"""Ray, started quietly and stopped only if it was started here."""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from importlib import import_module
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from batchseg.config.places import SecretGivenError, refuse_in_address
from batchseg.engine.lean import few_processes, no_statistics
from batchseg.engine.quiet import is_quiet, native_stderr
from batchseg.errors import ConfigError

ANSWER_S = 5.0
# how the names of Ray Data's threads begin; its Prefetcher is none of them, for it parks and may never end
READERS = ("StreamingExecutor", "iter_threaded", "ray-data-metadata-prefetch")
READERS_S = 10.0  # they need a moment, and more on a machine that is busy with other things
SET_THE_TOKEN = (
    "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token to the cluster's "
    "own token"
)
_SETTINGS = 4  # the type of a frame, which stands behind its length of three bytes
_NO_SETTINGS = bytes([0, 0, 0, _SETTINGS, 0, 0, 0, 0, 0])
# what either server of Ray is asked, and with which message: a Ray client server's is PING
_OF_CLUSTER = ("/ray.rpc.NodeInfoGcsService/CheckAlive", b"")
_OF_CLIENT_SERVER = ("/ray.rpc.RayletDriver/ClusterInfo", b"\x08\x06")
_kept: ContextVar[ExitStack | None] = ContextVar("_kept", default=None)  # stops Ray at the end of `ray_kept`


@contextmanager
def ray_kept() -> Iterator[None]:
    """Ray that a session within starts goes on until the end: it takes seconds to start and to stop."""
    with ExitStack() as stack:
        before = _kept.set(stack)
        try:
            yield
        finally:
            _kept.reset(before)


@contextmanager
def ray_session(address: str | None) -> Iterator[None]:
    """Connect to a cluster, or start Ray in this process; a session that is already there is used as it is.

    A cluster is named by `address` or by RAY_ADDRESS; none is ever joined by chance.
    Raises ConfigError where none answers there.
    """
    with native_stderr():
        yield from _session(address)


def _session(address: str | None) -> Iterator[None]:
    is_local = False
    with ExitStack() as own:
        with _quiet_import() as ray:
            if not ray.is_initialized():
                address = address or os.environ.get("RAY_ADDRESS")
                if address:
                    _check_answers(address)
                (_kept.get() or own).enter_context(_started(ray, address))
                is_local = not address
        if is_local:
            (_kept.get() or own).enter_context(no_statistics())
        with _quiet():
            yield


@contextmanager
def _started(ray: Any, address: str | None) -> Iterator[None]:
    with _without_reports():
        try:
            _init(ray, address)
            yield
        finally:
            with native_stderr():
                try:
                    _await_readers()
                finally:
                    ray.shutdown()


def _await_readers() -> None:
    """Let the threads end with which Ray Data reads a dataset: nobody waits for them after an interrupt.

    One that calls Ray after `ray.shutdown` ends the whole process there and then, with 1 and without a word.
    """
    until = monotonic() + READERS_S
    for thread in threading.enumerate():
        if thread.name.startswith(READERS):
            thread.join(max(0.0, until - monotonic()))


def _init(ray: Any, address: str | None) -> None:
    on_terminate = signal.getsignal(signal.SIGTERM)
    try:
        with nullcontext() if address else few_processes():
            ray.init(
                address=address or "local",
                include_dashboard=None if address else False,
                logging_level=logging.CRITICAL,
                log_to_driver=False,
            )
    except (ConnectionError, ValueError, RuntimeError) as exc:
        # the reason is in Ray's own log alone, but something has answered just now
        advice = f"; where it asks for a token, {SET_THE_TOKEN}" if "Failed to connect" in str(exc) else ""
        raise ConfigError(f"ray.address {address}: no Ray cluster can be used there: {exc}{advice}") from exc
    except SystemExit as exc:  # what Ray's own handler makes of a SIGTERM
        raise KeyboardInterrupt from exc
    finally:
        _restore(on_terminate)


def _restore(on_terminate: Any) -> None:
    if callable(on_terminate) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_terminate)  # ray.init puts one of its own in its place


def _check_answers(address: str) -> None:
    """Ray itself keeps trying for minutes, and deaf to Ctrl-C."""
    if address in ("auto", "local"):  # there Ray knows at once
        return
    try:
        refuse_in_address(address)  # RAY_ADDRESS is no setting of ours, and was not looked at yet
    except SecretGivenError as exc:
        raise ConfigError(f"ray.address (or RAY_ADDRESS) {exc}") from None
    if address.startswith(("http://", "https://")):
        raise ConfigError(
            f"ray.address {address}: that is a job server, which `batchseg submit` gives jobs to"
        )
    place = _host_and_port(address)
    try:
        with socket.create_connection(place, ANSWER_S) as connection:
            is_plain = os.environ.get("RAY_USE_TLS", "0") != "1"
            if is_plain:
                _greet(connection)
        if is_plain:
            _ask(*place, *(_OF_CLIENT_SERVER if address.startswith("ray://") else _OF_CLUSTER))
    except OSError as exc:
        raise ConfigError(f"ray.address {address}: nothing answers there: {exc.strerror or exc}") from exc
    except _StrangerError as exc:
        raise ConfigError(
            f"ray.address {address}: what answers there is not Ray; a cluster's port is 6379 by default, "
            "that of a Ray client server 10001"
        ) from exc


def _host_and_port(address: str) -> tuple[str, int]:
    with suppress(ValueError):  # as for a port that is no number, or a name that no host can have
        parts = urlsplit(address if "://" in address else f"//{address}")
        if parts.scheme in ("", "ray") and parts.hostname and parts.port and not parts.path:
            parts.hostname.encode("idna")
            return parts.hostname, parts.port
    raise ConfigError(
        f"ray.address {address}: must be host:port, ray://host:port of a Ray client server, or auto"
    )


class _StrangerError(Exception):
    """Something listens that does not speak Ray's protocol."""


def _greet(connection: socket.socket) -> None:
    """Ray speaks gRPC, and so HTTP/2, where either side begins with its settings (RFC 9113, 3.4)."""
    connection.settimeout(ANSWER_S)
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _NO_SETTINGS)
    try:
        answer = connection.recv(len(_NO_SETTINGS), socket.MSG_WAITALL)
    except (TimeoutError, ConnectionResetError) as exc:
        raise _StrangerError from exc
    if len(answer) < len(_NO_SETTINGS) or answer[3] != _SETTINGS:
        raise _StrangerError


def _ask(host: str, port: int, method: str, message: bytes) -> None:
    """Call a method that every server of Ray has. Any other refusal, as for want of a token, is Ray's own."""
    import grpc

    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    with grpc.insecure_channel(target, options=(("grpc.enable_http_proxy", 0),)) as channel:
        try:
            channel.unary_unary(method)(message, timeout=ANSWER_S)
        except grpc.RpcError as exc:
            if exc.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNKNOWN):
                raise _StrangerError from exc
            if exc.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise TimeoutError(
                    errno.ETIMEDOUT, f"it takes a connection, but gives no answer within {ANSWER_S:g} s"
                ) from exc


@contextmanager
def _quiet_import() -> Iterator[Any]:
    """Ray; and at the end Ray Data, which is loaded beside the start of Ray, as that mostly waits."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray announces it as its next default
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray

        _load("ray._common.usage.usage_lib")  # the one module of Ray's that both would load at once
        beside = threading.Thread(target=_load, args=("ray.data",), daemon=True)
        beside.start()
        yield ray
        beside.join()
        import ray.data  # says what is wrong with it, if anything is


def _load(name: str) -> None:
    with suppress(Exception):
        import_module(name)


@contextmanager
def _without_reports() -> Iterator[None]:
    """Ray prints what goes wrong in a cluster, as when actors end within a task: `(raylet) ...`."""
    from ray._private import worker

    before = getattr(worker, "_worker_logs_enabled", True)
    worker._worker_logs_enabled = before and not is_quiet()  # as Ray's own debugger does
    try:
        yield
    finally:
        worker._worker_logs_enabled = before


@contextmanager
def _quiet() -> Iterator[None]:
    """The caller shows progress and reports errors; Ray's bars, logs and tracebacks would tear that."""
    import ray.data

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of settings that Ray itself fills in
        context, logger = ray.data.DataContext.get_current(), logging.getLogger("ray.data")
    before = (context.enable_progress_bars, context.print_on_execution_start, logger.level)
    context.enable_progress_bars, context.print_on_execution_start = False, False
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            # of settings that nobody has here, as where the rest of a run is less than the actors could do
            warnings.filterwarnings("ignore", module=r"ray\.data\.")
            yield
    finally:
        context.enable_progress_bars, context.print_on_execution_start = before[:2]
        logger.setLevel(before[2])
