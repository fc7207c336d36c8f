"""The packages onnx, which reads a network's file, and onnxruntime, which computes it."""

from __future__ import annotations

import re
from typing import Any

from batchseg.errors import ModelError

_MISSING = "ONNX networks need the packages onnx and onnxruntime: pip install 'batchseg[onnx]'"
_CUDA = "CUDAExecutionProvider"
_LONGEST = 300  # of the library's own error
_PLACE = re.compile(r"^/\S+\.(cc|h):\d+ .*?\) ")  # in its source
_UNKNOWN = ("is not a registered function/op", "No opset import for domain", "No Op registered for")


def load_onnx() -> Any:
    """The package. Raises ModelError where it is not installed."""
    try:
        import onnx
    except ImportError as exc:
        raise ModelError(_MISSING) from exc
    return onnx


def load_onnxruntime() -> Any:
    """The package. Raises ModelError where it is not installed."""
    try:
        import onnxruntime
    except ImportError as exc:
        raise ModelError(_MISSING) from exc
    return onnxruntime


def open_session(path: str, name: str, device: str, threads: int | None, *, as_it_is: bool = False) -> Any:
    """A network that is ready to compute.

    Args:
        device: cpu, cuda or cuda:N.
        threads: of the CPU that it may use; None: as many as there are cores.
        as_it_is: it is not optimised, because it is looked at and not used.

    Raises ModelError where this ONNX Runtime cannot compute it, or has no CUDA.
    """
    library = load_onnxruntime()
    options = library.SessionOptions()
    options.log_severity_level = 4  # warnings of a network that works are for who made it
    options.intra_op_num_threads, options.inter_op_num_threads = threads or 0, 1
    # threads that wait would take cores from the other stages
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if as_it_is:
        options.graph_optimization_level = library.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return library.InferenceSession(path, options, providers=_providers(device, name))
    except Exception as exc:  # the library's errors have no common class
        raise ModelError(_explained(exc, name, library.__version__)) from exc


def _providers(device: str, name: str) -> list[Any]:
    if device == "cpu":
        return ["CPUExecutionProvider"]
    if _CUDA not in load_onnxruntime().get_available_providers():
        raise ModelError(
            f"{name}: the onnxruntime that is installed cannot use a GPU; pip install onnxruntime-gpu in its "
            "place, or say segmentor.device: cpu"
        )
    return [(_CUDA, {"device_id": int(device.partition(":")[2] or 0)}), "CPUExecutionProvider"]


def _explained(exc: Exception, name: str, version: str) -> str:
    if isinstance(exc, ModelError):
        return str(exc)
    reason = " ".join(str(exc).split()).rpartition("failed:")[2].strip()
    reason = _PLACE.sub("", reason)[:_LONGEST]
    if "out of bounds" in reason and "External" in reason:
        return (
            f"{name} keeps weights in another file, and that is shorter than it says; copy it again, or "
            "save the network in one file"
        )
    if any(said in reason for said in _UNKNOWN):
        return (
            f"{name} has an operation that onnxruntime {version} does not know ({reason}); upgrade it (pip "
            "install --upgrade onnxruntime), or export the network without that operation"
        )
    if "IR version" in reason or "opset" in reason.lower():
        return (
            f"{name} is newer than the onnxruntime {version} that is installed ({reason}); upgrade it (pip "
            "install --upgrade onnxruntime), or export the network with an older opset"
        )
    return f"{name} cannot be loaded by onnxruntime {version}: {reason}"
