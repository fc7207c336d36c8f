"""batchseg: segment a folder of images, tonight and every night.

    result = batchseg.run(batchseg.load_config("job.yaml"))

The names below are loaded when they are first used, so that `import batchseg` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchseg.analysis.compare import CompareReport, compare
    from batchseg.analysis.evaluate import evaluate
    from batchseg.cluster.submit import Cluster, Job, submit
    from batchseg.config import DigitsConfig, EvaluateConfig, RunConfig
    from batchseg.config_compare import CompareConfig, NightConfig
    from batchseg.config_train import TrainConfig
    from batchseg.errors import BatchsegError
    from batchseg.labels import LabelMap, load_label_map
    from batchseg.load import load_config, read_config
    from batchseg.metrics import ConfusionMatrix
    from batchseg.nightly import NightResult, night
    from batchseg.pipeline import dry_run, run
    from batchseg.results.record import RunResult
    from batchseg.schema import Status
    from batchseg.segmentors.base import ModelInput, Prediction, Segmentor
    from batchseg.segmentors.kinds import load_segmentor
    from batchseg.training.scenes import make_digits
    from batchseg.training.train import TrainResult, train
    from batchseg.upsample import bilinear_argmax

__version__ = "0.1.0"

_HOMES = {
    "BatchsegError": "batchseg.errors",
    "Cluster": "batchseg.cluster.submit",
    "CompareConfig": "batchseg.config_compare",
    "CompareReport": "batchseg.analysis.compare",
    "ConfusionMatrix": "batchseg.metrics",
    "DigitsConfig": "batchseg.config",
    "EvaluateConfig": "batchseg.config",
    "Job": "batchseg.cluster.submit",
    "LabelMap": "batchseg.labels",
    "ModelInput": "batchseg.segmentors.base",
    "NightConfig": "batchseg.config_compare",
    "NightResult": "batchseg.nightly",
    "Prediction": "batchseg.segmentors.base",
    "RunConfig": "batchseg.config",
    "RunResult": "batchseg.results.record",
    "Segmentor": "batchseg.segmentors.base",
    "Status": "batchseg.schema",
    "TrainConfig": "batchseg.config_train",
    "TrainResult": "batchseg.training.train",
    "bilinear_argmax": "batchseg.upsample",
    "compare": "batchseg.analysis.compare",
    "dry_run": "batchseg.pipeline",
    "evaluate": "batchseg.analysis.evaluate",
    "load_config": "batchseg.load",
    "load_label_map": "batchseg.labels",
    "load_segmentor": "batchseg.segmentors.kinds",
    "make_digits": "batchseg.training.scenes",
    "night": "batchseg.nightly",
    "read_config": "batchseg.load",
    "run": "batchseg.pipeline",
    "submit": "batchseg.cluster.submit",
    "train": "batchseg.training.train",
}

__all__ = [
    "BatchsegError",
    "Cluster",
    "CompareConfig",
    "CompareReport",
    "ConfusionMatrix",
    "DigitsConfig",
    "EvaluateConfig",
    "Job",
    "LabelMap",
    "ModelInput",
    "NightConfig",
    "NightResult",
    "Prediction",
    "RunConfig",
    "RunResult",
    "Segmentor",
    "Status",
    "TrainConfig",
    "TrainResult",
    "bilinear_argmax",
    "compare",
    "dry_run",
    "evaluate",
    "load_config",
    "load_label_map",
    "load_segmentor",
    "make_digits",
    "night",
    "read_config",
    "run",
    "submit",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
