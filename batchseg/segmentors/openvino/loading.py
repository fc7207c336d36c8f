"""The packages openvino, which computes networks on CPUs, and nncf, which quantises them."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from batchseg.errors import ModelError

_TELEMETRY = "openvino_telemetry"
_MISSING = "{} needs the packages openvino and nncf: pip install 'batchseg[openvino]'"


def has_openvino() -> bool:
    """Whether it is installed. It is not imported."""
    return find_spec("openvino") is not None


def load_openvino() -> Any:
    """The package. Raises ModelError where it is not installed."""
    try:
        with silent():
            import openvino
    except ImportError as exc:
        raise ModelError(_MISSING.format("segmentor.engine: openvino")) from exc
    return openvino


def load_nncf() -> Any:
    """The package. Raises ModelError where it is not installed."""
    load_openvino()
    try:
        with silent():
            import nncf
    except ImportError as exc:
        raise ModelError(_MISSING.format("segmentor.quantise: int8")) from exc
    nncf.set_log_level(logging.ERROR)
    return nncf


@contextmanager
def silent() -> Iterator[None]:
    """Without warnings for developers, and without the package that would report use to its makers.

    Both libraries go on without it, and report nothing then.
    """
    missing = object()
    before = sys.modules.get(_TELEMETRY, missing)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # as if it were not installed
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        del sys.modules[_TELEMETRY]
        if before is not missing:
            sys.modules[_TELEMETRY] = before  # type: ignore[assignment]
