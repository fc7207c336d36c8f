"""batchseg: segment a folder of images, tonight and every night.

    result = batchseg.run("photos/", model="./my-segformer", output="results/", truth="masks/")
    result = batchseg.run(batchseg.load_config("job.yaml"))

The names below are loaded when they are first used, so that `import batchseg` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchseg.cluster.submit import Cluster, Job, submit
    from batchseg.comparison.compare import CompareReport, compare
    from batchseg.config.compare import CompareConfig, NightConfig
    from batchseg.config.decide import DecideConfig
    from batchseg.config.doctor import DoctorConfig
    from batchseg.config.evaluate import EvaluateConfig
    from batchseg.config.explain import ExplainConfig
    from batchseg.config.export import ExportConfig
    from batchseg.config.labels import MapLabelsConfig
    from batchseg.config.load import load_config, read_config
    from batchseg.config.network import ScoringConfig, SegmentorConfig
    from batchseg.config.overlay import OverlayConfig, Overlays
    from batchseg.config.report import ReportConfig
    from batchseg.config.run import RunConfig
    from batchseg.config.scenes import DigitsConfig, PhrasesConfig
    from batchseg.config.suspects import SuspectsConfig
    from batchseg.config.train import TrainConfig
    from batchseg.errors import BatchsegError
    from batchseg.exports.export import ExportReport, export
    from batchseg.inspect.doctor import DoctorReport, doctor
    from batchseg.inspect.verify import VerifyReport, verify
    from batchseg.labels.label_file import load_label_map
    from batchseg.labels.label_map import LabelMap
    from batchseg.metrics.confusion import ConfusionMatrix
    from batchseg.pipeline.decide import decide
    from batchseg.pipeline.drawing import OverlayReport
    from batchseg.pipeline.evaluate import evaluate
    from batchseg.pipeline.explain import ExplainReport, explain
    from batchseg.pipeline.night import NightResult, night
    from batchseg.pipeline.overlay import overlay
    from batchseg.pipeline.promote import Promotion, drop_candidate, promote
    from batchseg.pipeline.run import dry_run, run
    from batchseg.pipeline.trial import TrialResult
    from batchseg.reporting.make import PageReport, report
    from batchseg.results.acknowledge import Acknowledged, acknowledge
    from batchseg.results.opened import OpenedResults, open_results
    from batchseg.results.result import RunResult
    from batchseg.results.suspects import Suspect, Suspects, suspects
    from batchseg.scenes.data_set import make_digits, make_phrases
    from batchseg.schema import Status
    from batchseg.segmentors.base import ModelInput, Prediction, Scores, Segmentor
    from batchseg.segmentors.llm.relate import Proposal, map_labels
    from batchseg.segmentors.network.upsample import bilinear_argmax
    from batchseg.segmentors.registry import SegmentorKind, load_segmentor
    from batchseg.training.folds import FoldsResult
    from batchseg.training.one import TrainResult
    from batchseg.training.train import train

__version__ = "0.1.0"

_HOMES = {
    "Acknowledged": "batchseg.results.acknowledge",
    "BatchsegError": "batchseg.errors",
    "Cluster": "batchseg.cluster.submit",
    "CompareConfig": "batchseg.config.compare",
    "CompareReport": "batchseg.comparison.compare",
    "ConfusionMatrix": "batchseg.metrics.confusion",
    "DecideConfig": "batchseg.config.decide",
    "DigitsConfig": "batchseg.config.scenes",
    "DoctorConfig": "batchseg.config.doctor",
    "DoctorReport": "batchseg.inspect.doctor",
    "EvaluateConfig": "batchseg.config.evaluate",
    "ExplainConfig": "batchseg.config.explain",
    "ExplainReport": "batchseg.pipeline.explain",
    "ExportConfig": "batchseg.config.export",
    "ExportReport": "batchseg.exports.export",
    "Job": "batchseg.cluster.submit",
    "LabelMap": "batchseg.labels.label_map",
    "MapLabelsConfig": "batchseg.config.labels",
    "ModelInput": "batchseg.segmentors.base",
    "NightConfig": "batchseg.config.compare",
    "NightResult": "batchseg.pipeline.night",
    "OpenedResults": "batchseg.results.opened",
    "OverlayConfig": "batchseg.config.overlay",
    "OverlayReport": "batchseg.pipeline.drawing",
    "Overlays": "batchseg.config.overlay",
    "PageReport": "batchseg.reporting.make",
    "PhrasesConfig": "batchseg.config.scenes",
    "Prediction": "batchseg.segmentors.base",
    "Promotion": "batchseg.pipeline.promote",
    "Proposal": "batchseg.segmentors.llm.relate",
    "ReportConfig": "batchseg.config.report",
    "RunConfig": "batchseg.config.run",
    "RunResult": "batchseg.results.result",
    "Scores": "batchseg.segmentors.base",
    "ScoringConfig": "batchseg.config.segmentor",
    "Segmentor": "batchseg.segmentors.base",
    "SegmentorConfig": "batchseg.config.segmentor",
    "SegmentorKind": "batchseg.segmentors.registry",
    "Status": "batchseg.schema",
    "Suspect": "batchseg.results.suspects",
    "Suspects": "batchseg.results.suspects",
    "SuspectsConfig": "batchseg.config.suspects",
    "TrainConfig": "batchseg.config.train",
    "FoldsResult": "batchseg.training.folds",
    "TrainResult": "batchseg.training.one",
    "TrialResult": "batchseg.pipeline.trial",
    "VerifyReport": "batchseg.inspect.verify",
    "acknowledge": "batchseg.results.acknowledge",
    "bilinear_argmax": "batchseg.segmentors.network.upsample",
    "compare": "batchseg.comparison.compare",
    "decide": "batchseg.pipeline.decide",
    "doctor": "batchseg.inspect.doctor",
    "drop_candidate": "batchseg.pipeline.promote",
    "dry_run": "batchseg.pipeline.run",
    "evaluate": "batchseg.pipeline.evaluate",
    "explain": "batchseg.pipeline.explain",
    "export": "batchseg.exports.export",
    "load_config": "batchseg.config.load",
    "load_label_map": "batchseg.labels.label_file",
    "load_segmentor": "batchseg.segmentors.registry",
    "make_digits": "batchseg.scenes.data_set",
    "make_phrases": "batchseg.scenes.data_set",
    "map_labels": "batchseg.segmentors.llm.relate",
    "night": "batchseg.pipeline.night",
    "open_results": "batchseg.results.opened",
    "overlay": "batchseg.pipeline.overlay",
    "promote": "batchseg.pipeline.promote",
    "read_config": "batchseg.config.load",
    "report": "batchseg.reporting.make",
    "run": "batchseg.pipeline.run",
    "submit": "batchseg.cluster.submit",
    "suspects": "batchseg.results.suspects",
    "train": "batchseg.training.train",
    "verify": "batchseg.inspect.verify",
}

__all__ = [
    "Acknowledged",
    "BatchsegError",
    "Cluster",
    "CompareConfig",
    "CompareReport",
    "ConfusionMatrix",
    "DecideConfig",
    "DigitsConfig",
    "DoctorConfig",
    "DoctorReport",
    "EvaluateConfig",
    "ExplainConfig",
    "ExplainReport",
    "ExportConfig",
    "ExportReport",
    "FoldsResult",
    "Job",
    "LabelMap",
    "MapLabelsConfig",
    "ModelInput",
    "NightConfig",
    "NightResult",
    "OpenedResults",
    "OverlayConfig",
    "OverlayReport",
    "Overlays",
    "PageReport",
    "PhrasesConfig",
    "Prediction",
    "Promotion",
    "Proposal",
    "ReportConfig",
    "RunConfig",
    "RunResult",
    "Scores",
    "ScoringConfig",
    "Segmentor",
    "SegmentorConfig",
    "SegmentorKind",
    "Status",
    "Suspect",
    "Suspects",
    "SuspectsConfig",
    "TrainConfig",
    "TrainResult",
    "TrialResult",
    "VerifyReport",
    "acknowledge",
    "bilinear_argmax",
    "compare",
    "decide",
    "doctor",
    "drop_candidate",
    "dry_run",
    "evaluate",
    "explain",
    "export",
    "load_config",
    "load_label_map",
    "load_segmentor",
    "make_digits",
    "make_phrases",
    "map_labels",
    "night",
    "open_results",
    "overlay",
    "promote",
    "read_config",
    "report",
    "run",
    "submit",
    "suspects",
    "train",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
