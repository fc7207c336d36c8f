"""Ray, started quietly and stopped only if it was started here."""

from __future__ import annotations

import logging
import os
import signal
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import Any

from batchseg.errors import ConfigError

ANSWER_S = 5.0


@contextmanager
def ray_session(address: str | None) -> Iterator[None]:
    """Connect to a cluster, or start Ray in this process; a session that is already there is used as it is.

    A cluster is named by `address` or by RAY_ADDRESS; none is ever joined by chance.
    Raises ConfigError where none answers there.
    """
    ray = _quiet_import()
    if ray.is_initialized():
        with _quiet():
            yield
        return
    address = address or os.environ.get("RAY_ADDRESS")
    if address:
        _check_answers(address)
    on_terminate = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address or "local",
            include_dashboard=None if address else False,
            logging_level=logging.CRITICAL,
            log_to_driver=False,
        )
    except (ConnectionError, ValueError, RuntimeError) as exc:
        raise ConfigError(f"ray.address {address}: no Ray cluster can be used there: {exc}") from exc
    if callable(on_terminate) and current_thread() is main_thread():
        signal.signal(signal.SIGTERM, on_terminate)  # ray.init puts one of its own in its place
    try:
        with _quiet():
            yield
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Ray itself keeps trying for minutes."""
    if address.startswith(("http://", "https://")):
        raise ConfigError(
            f"ray.address {address}: that is a job server, which `batchseg submit` gives jobs to"
        )
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return  # "auto": Ray knows at once
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_S).close()
    except OSError as exc:
        raise ConfigError(f"ray.address {address}: nothing answers there: {exc.strerror or exc}") from exc


def _quiet_import() -> Any:
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray announces it as its next default
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray
        import ray.data
    return ray


@contextmanager
def _quiet() -> Iterator[None]:
    """The caller shows progress and reports errors; Ray's bars, logs and tracebacks would tear that."""
    import ray.data

    context, logger = ray.data.DataContext.get_current(), logging.getLogger("ray.data")
    before = (context.enable_progress_bars, context.print_on_execution_start, logger.level)
    context.enable_progress_bars, context.print_on_execution_start = False, False
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        context.enable_progress_bars, context.print_on_execution_start = before[:2]
        logger.setLevel(before[2])
