"""The package segmentation_models_pytorch, and timm, which it is built on."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from typing import Any

from batchseg.errors import ModelError

SMP = "segmentation_models_pytorch"
PICKLED = "pytorch_model.bin"  # its weights, as older versions saved them
_MISSING = f"models of {SMP} need the package of that name: pip install 'batchseg[smp]'"


def require_smp() -> None:
    """Raises ModelError where it is not installed. It is not imported, which takes seconds."""
    if find_spec(SMP) is None:
        raise ModelError(_MISSING)


def load_smp() -> Any:
    """The package. Raises ModelError where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on what it imports itself
        try:
            import segmentation_models_pytorch
        except ImportError as exc:
            raise ModelError(_MISSING) from exc
    return segmentation_models_pytorch


def load_timm() -> Any:
    """The package. Raises ModelError where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import timm
        except ImportError as exc:
            raise ModelError(_MISSING) from exc
    return timm
