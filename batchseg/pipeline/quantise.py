"""`segmentor.quantise`: the networks of a run in 8 bits, made of its own images and judged on them."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchseg.config.network import EngineConfig
from batchseg.config.run import RunConfig
from batchseg.config.segmentor import EnsembleSegmentor, OnnxSegmentor
from batchseg.engine.placement import Placement
from batchseg.errors import ConfigError, ModelError
from batchseg.pipeline.assembly import before, models_of, segment
from batchseg.pipeline.model import OpenedModel
from batchseg.segmentors.base import Segmentor
from batchseg.source.plan import Listing
from batchseg.stages.item import Item, Stage
from batchseg.stages.segment import Segment
from batchseg.storage.location import Location, output_errors

FOLDER = "quantised"
CALIBRATED_ON = 300  # images at most
JUDGED_ON = 32
JUDGEMENT = "judgement.json"  # beside a network, written last

Row = dict[str, Any]
Masks = dict[str, NDArray[np.unsignedinteger[Any]]]


@dataclass(frozen=True)
class Judgement:
    """How a quantised model compares with the one that it was made of.

    Attributes:
        agreement: share of the pixels of some images that have the same class.
        images: how many images that were.
        calibrated_on: how many inputs chose its scales; of the same images where there are few.
    """

    agreement: float
    images: int
    calibrated_on: int


def with_quantised(
    config: RunConfig, model: OpenedModel, listing: Listing, root: Location
) -> tuple[OpenedModel, dict[str, Any]]:
    """The model with the networks that are used in place of its own, and what the record says of them.

    What lies in the results folder is used again: another night is to have the same network.

    Raises ModelError where the source has no image to choose scales on, or the networks are not good enough,
    and ConfigError for a model that cannot be quantised.
    """
    wanted = [getattr(each, "quantise", None) is not None for each in models_of(config)]
    if not any(wanted):
        return model, {}
    places = [root / FOLDER / f"{model.fingerprint[:16]}-{number}" for number in range(len(wanted))]
    model = replace(
        model,
        quantised=tuple(place if each else None for place, each in zip(places, wanted, strict=True)),
    )
    judged = places[wanted.index(True)] / JUDGEMENT
    with output_errors(root):
        if not judged.exists() and listing.images:
            judged.write(json.dumps(asdict(_made(config, model, listing))).encode())
        return model, {"quantised": json.loads(judged.read())} if judged.exists() else {}


def _made(config: RunConfig, model: OpenedModel, listing: Listing) -> Judgement:
    from batchseg.segmentors.openvino.quantise import CannotQuantise, quantise, upload

    calibrating, judging = _parted(_sampled(listing, CALIBRATED_ON + JUDGED_ON))
    plain = _InProcess(_plain(config), replace(model, quantised=()))
    recorders = {
        number: _recorded(plain.members, number, model)
        for number, place in enumerate(model.quantised)
        if place is not None
    }
    plain.masks(calibrating)
    try:
        for number, recorder in recorders.items():
            place = model.quantised[number]
            assert place is not None
            with tempfile.TemporaryDirectory() as folder:
                made = Path(folder) / "network"
                quantise(recorder, made, is_transformer=models_of(config)[number].kind == "huggingface")
                upload(made, place)
    except CannotQuantise as exc:
        raise ModelError(f"segmentor.quantise: {config.segmentor.name} {exc}; leave quantise out") from exc
    calibrated_on = min(len(recorder.inputs) for recorder in recorders.values())
    judgement = _judge(plain.masks(judging), _InProcess(config, model).masks(judging), calibrated_on)
    least = min(getattr(each, "quantise_agreement", 0.0) for each in models_of(config))
    if judgement.agreement < least:
        for place in model.quantised:
            if place is not None:
                place.delete_folder()
        raise ModelError(
            f"segmentor.quantise: int8 leaves {judgement.agreement:.2%} of the pixels of {judgement.images} "
            f"images the class that they have without, and segmentor.quantise_agreement wants {least:.2%}; "
            "leave quantise out, or lower that if so many will do"
        )
    return judgement


def _recorded(members: Sequence[Segmentor], number: int, model: OpenedModel) -> Any:
    """From now on a member keeps what its network is given."""
    from batchseg.segmentors.acceleration import source_of
    from batchseg.segmentors.network.engine import HasEngine
    from batchseg.segmentors.openvino.quantise import Recorder

    member = members[number]
    if not isinstance(member, HasEngine):
        raise ConfigError(f"segmentor.quantise: a model such as {model.name} cannot be; leave it out")
    source, at_once = source_of(member.engine, model.members[number].fingerprint)
    member.engine = Recorder(member.engine, source, CALIBRATED_ON, at_once)
    return member.engine


class _InProcess:
    """The model of a run in this process, without Ray."""

    def __init__(self, config: RunConfig, model: OpenedModel) -> None:
        self.before = before(config, model)
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        (stage,) = segment(config, model, Placement("cpu", 1, 0.0, 1.0, threads, 1, 1))
        assert isinstance(stage, Segment)
        self.segment, self.members = stage, stage.members

    def masks(self, rows: Sequence[Row]) -> Masks:
        """Label maps by the ids of the images that could be segmented."""
        items: Iterator[Item] = (Item.from_plan(dict(row)) for row in rows)
        stages: list[Stage] = [*self.before, self.segment]
        for stage in stages:
            items = stage(items)
        return {item.row["id"]: item.prediction.labels_HW for item in items if item.prediction is not None}


def _plain(config: RunConfig) -> RunConfig:
    """With the engines that the models were loaded with."""

    def changed(each: Any) -> Any:
        if not isinstance(each, EngineConfig):
            return each
        engine = "onnxruntime" if isinstance(each, OnnxSegmentor) else "torch"
        return each.model_copy(update={"quantise": None, "engine": engine})

    chosen = config.segmentor
    if isinstance(chosen, EnsembleSegmentor):
        members = tuple(changed(each) for each in chosen.members)
        return config.model_copy(update={"segmentor": chosen.model_copy(update={"members": members})})
    return config.model_copy(update={"segmentor": changed(chosen)})


def _sampled(listing: Listing, most: int) -> list[Row]:
    """Rows of images that can be expected to be readable, spread evenly."""
    step = max(1, listing.images // most)
    rows, seen = [], 0
    for table in listing.tables():
        places = [place for place in range(len(table)) if (seen + place) % step == 0]
        rows += [row for row in table.take(places).to_pylist() if row["status"] is None]
        seen += len(table)
    return rows[:most]


def _parted(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """Those that choose the scales, and those that judge: others, unless there are few."""
    step = max(1, len(rows) // JUDGED_ON)
    judging = rows[::step][:JUDGED_ON]
    names = {row["id"] for row in judging}
    others = [row for row in rows if row["id"] not in names]
    return (others if len(others) >= JUDGED_ON else rows)[:CALIBRATED_ON], judging


def _judge(expected: Masks, found: Masks, calibrated_on: int) -> Judgement:
    names = expected.keys() & found.keys()
    pixels = sum(expected[name].size for name in names)
    equal = sum(int((expected[name] == found[name]).sum()) for name in names)
    return Judgement(equal / max(1, pixels), len(names), calibrated_on)
