"""Which engine computes a network that was loaded: its own library, or OpenVINO in its place."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from batchseg.config.network import EngineConfig, SegmentorConfig
from batchseg.errors import ConfigError, ModelError
from batchseg.segmentors.base import Segmentor
from batchseg.segmentors.fetched import cache_folder
from batchseg.segmentors.openvino.loading import has_openvino, load_openvino

if TYPE_CHECKING:
    from batchseg.segmentors.network.engine import Engine
    from batchseg.segmentors.openvino.source import NetworkSource

_PACKAGES = ("openvino", "torch", "torchvision", "transformers", "segmentation_models_pytorch", "timm")


def takes_openvino(config: SegmentorConfig, device: str) -> bool:
    """Whether OpenVINO is to compute a network, or to be tried.

    Raises ConfigError where it is asked for on a GPU, and ModelError where it is not installed.
    """
    if not isinstance(config, EngineConfig) or config.engine not in ("auto", "openvino"):
        return False
    if config.of_openvino:
        if device != "cpu":
            raise ConfigError(
                f"segmentor.{config.of_openvino} is for CPUs, and the model runs on a GPU; say device: cpu"
            )
        load_openvino()
        return True
    compiled = bool(getattr(config, "compile", False))
    return device == "cpu" and not compiled and has_openvino()


def accelerate(
    model: Segmentor,
    config: SegmentorConfig,
    fingerprint: str,
    precision: str,
    *,
    threads: int | None = None,
    quantised: Path | None = None,
) -> None:
    """Have OpenVINO compute a model on a CPU, as far as its configuration says so and it can.

    Args:
        fingerprint: of its checkpoint.
        precision: what it was loaded in.
        threads: that it may use; None: as many as there are cores.
        quantised: folder of the network that is used in place of its own.

    Raises ConfigError where it is asked for and the model is of a kind that it does not compute, and
    ModelError where a quantised network is asked for and there is none.
    """
    if not takes_openvino(config, "cpu"):
        return
    from batchseg.segmentors.network.engine import FileEngine, HasEngine

    assert isinstance(config, EngineConfig)
    required = config.of_openvino is not None
    if config.quantise is not None and quantised is None:
        raise ModelError(f"segmentor.quantise: there is no network of 8 bits of {config.name}; run it again")
    if not isinstance(model, HasEngine):
        if required:
            raise ConfigError(
                f"segmentor.engine: openvino does not compute a model such as {config.name}; leave it out"
            )
        return
    from batchseg.segmentors.openvino.engine import HINTS, OF_QUANTISED, TOLERANCE, OpenVinoEngine
    from batchseg.segmentors.openvino.source import NAME, NetworkFile

    plain = model.engine
    source, at_once = source_of(plain, fingerprint)
    if isinstance(plain, FileEngine):
        precision = "fp32"
    if quantised is not None:
        source = NetworkFile(quantised / NAME)
    if precision not in HINTS:
        return
    model.engine = OpenVinoEngine(
        *(plain, source, precision, threads),
        required=required,
        tolerance=TOLERANCE[precision] if quantised is None else OF_QUANTISED,
        at_once=at_once,
    )


def source_of(plain: Engine, fingerprint: str) -> tuple[NetworkSource, int]:
    """Where OpenVINO gets a network from, and how many images that takes at once.

    Args:
        plain: the engine that it was loaded with.
        fingerprint: of its checkpoint.
    """
    from batchseg.segmentors.network.engine import FileEngine, TorchEngine
    from batchseg.segmentors.openvino.source import NetworkFile, TorchSource

    if isinstance(plain, FileEngine):
        return NetworkFile(plain.path, plain.output), plain.at_once
    assert isinstance(plain, TorchEngine)
    return TorchSource(plain.core, cache_folder("openvino"), _key(fingerprint)), 1


def _key(fingerprint: str) -> str:
    """Of all that a converted network depends on."""
    facts = [fingerprint, *(_version(name) for name in _PACKAGES)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
