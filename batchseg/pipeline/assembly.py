"""The stages of a run, made where they run: what follows what, and what each is given."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import zip_longest

from batchseg.config.network import NetworkConfig, SegmentorConfig
from batchseg.config.overlay import Overlays
from batchseg.config.run import RunConfig
from batchseg.config.segmentor import AnyMember, EnsembleSegmentor
from batchseg.config.source import ImageReading
from batchseg.engine.graph import Stages
from batchseg.engine.heap import keep_freed_memory
from batchseg.engine.placement import Placement
from batchseg.images.decode import Size, whole
from batchseg.inspect.prompts import fault_of_prompts
from batchseg.labels.reading import Reading, as_written
from batchseg.metrics.measures import Measures
from batchseg.pipeline.model import OpenedModel
from batchseg.segmentors.acceleration import accelerate, takes_openvino
from batchseg.segmentors.base import Checkpoint, Preparer, Resizer, Segmentor
from batchseg.segmentors.combined.looks import Looks
from batchseg.segmentors.network.precision import resolve_precision
from batchseg.stages.by_window import score_lying
from batchseg.stages.decode import decode
from batchseg.stages.item import Stage, as_list
from batchseg.stages.measure import measure
from batchseg.stages.overlay import keep_picture, write_overlay
from batchseg.stages.parts import join_parts, keep_parts, read_parts, score_parts
from batchseg.stages.prepare import check_prompt, prepare
from batchseg.stages.restore import restore
from batchseg.stages.score import score
from batchseg.stages.segment import Batching, Segment
from batchseg.stages.viewing import Sight
from batchseg.stages.write import write_mask
from batchseg.storage.location import Location, locate
from batchseg.storage.lock import Lock

COMPILING_S = 600.0  # what a network may take for it at a new shape


def segmenting(
    config: RunConfig,
    model: OpenedModel,
    front: Callable[[RunConfig, OpenedModel], list[Stage]],
    after: Callable[[], list[Stage]],
    placement: Placement,
) -> Stages:
    """decode, prepare | segment | score, write; of a part of a raster: read | segment | score, keep.

    Raises ConfigError and ModelError where an engine is asked for that cannot be had there.
    """
    for each in models_of(config):
        takes_openvino(each, placement.device)
    return Stages(
        before=partial(front, config, model),
        model=partial(segment, config, model, placement),
        after=after,
    )


def before_parts(config: RunConfig, model: OpenedModel) -> list[Stage]:
    """From a raster to what the windows of a part see of it."""
    assert config.tiling is not None
    return [*_asked(model), read_parts(config.tiling, config.limits, model.reading)]


def _asked(model: OpenedModel) -> list[Stage]:
    """What refuses prompts, where each image has one of its own."""
    fault_of = fault_of_prompts(model.checkpoint)
    return [check_prompt(fault_of)] if fault_of is not None else []


def score_and_keep(config: RunConfig, reading: Reading, results: str, lock: Lock | None) -> list[Stage]:
    """From the label map of a part to counts and a file."""
    return [score_parts(reading, config.limits), keep_parts(locate(results), lock)]


def joining(after: Callable[[], list[Stage]], placement: Placement) -> Stages:
    """Rasters, from their parts."""
    return Stages(before=list, model=None, after=after)


def join_and_draw(
    config: RunConfig, reading: Reading, images_as: ImageReading, results: str, lock: Lock | None
) -> list[Stage]:
    """From the files of parts to a mask."""
    root, drawn = locate(results), _drawn_at_once(config)
    assert config.tiling is not None
    joined = join_parts(root, reading.label_map, config.tiling, lock, config.output.probabilities)
    return [joined, *_measured(config, reading, images_as), *_overlays(config, reading, root, drawn)]


def scoring(
    config: RunConfig, reading: Reading, results: Location, images_as: ImageReading, placement: Placement
) -> Stages:
    """restore | score: the same without a front, for masks that lie there."""
    return Stages(
        before=partial(as_list, restore, results, reading.label_map, config.limits, images_as),
        model=None,
        after=partial(score_again, config, reading, results, images_as),
    )


def before(config: RunConfig, model: OpenedModel) -> list[Stage]:
    """From a URI to the model's input, or to the picture where several looks are to be made of it."""
    looks = _looks(config, model)
    (preparer, *_) = looks.preparers
    enough: Callable[[Size], Size] = whole
    chosen = config.segmentor
    scaled = isinstance(chosen, NetworkConfig) and chosen.scaled_decode and looks.is_plain
    if scaled and isinstance(preparer, Resizer):
        enough = preparer.input_hw
    drawn = _drawn_at_once(config)
    return [
        *_asked(model),
        decode(config.limits, enough, model.reading),
        *([keep_picture(drawn)] if drawn else []),
        *([prepare(preparer)] if looks.is_plain else []),
    ]


def segment(config: RunConfig, model: OpenedModel, placement: Placement) -> list[Stage]:
    """From the model's input to a label map."""
    networks = [each for each in models_of(config) if isinstance(each, NetworkConfig)]
    if placement.device == "cpu" and networks:
        keep_freed_memory()
    resolved = resolve_precision(config.segmentor.precision, placement.device)
    members = [
        _loaded(checkpoint, each, resolved, placement, quantised=place)
        for checkpoint, each, place in zip_longest(model.members, models_of(config), model.quantised)
    ]
    compiled = any(each.compile for each in networks)
    compiled = compiled or any(takes_openvino(each, placement.device) for each in models_of(config))
    torch = sys.modules.get("torch")  # a model without torch, such as `threshold`, has no threads to set
    if torch is not None and placement.device == "cpu":
        torch.set_num_threads(placement.threads)
    looks = _looks(config, model)
    one_size = config.tiling is not None or all(map(_reads_one_size, looks.preparers))
    batches = Batching(
        placement.batch_size,
        placement.largest_batch,
        timeout_s=config.limits.segment_timeout_s,
        first_call_s=COMPILING_S if compiled else 0.0,
        pad=bool(networks) and placement.fixed_batches and one_size,
    )
    several, precision = None if looks.is_plain else looks, resolved if networks else None
    if any(model.quantised):
        precision = "int8"
    # confidences of objects need no truth
    probe_all = "objects" in config.metrics
    return [Segment(members, model.decision, batches, precision, several, probe_all=probe_all)]


def _loaded(
    checkpoint: Checkpoint,
    config: SegmentorConfig,
    precision: str,
    placement: Placement,
    *,
    quantised: Location | None,
) -> Segmentor:
    loaded = checkpoint.load(placement.device, precision, placement.threads)
    if placement.device == "cpu":
        threads, network = placement.threads, None
        if quantised is not None:
            from batchseg.segmentors.openvino.quantise import at_hand

            network = at_hand(quantised)
        accelerate(loaded, config, checkpoint.fingerprint, precision, threads=threads, quantised=network)
    return loaded


def models_of(config: RunConfig) -> Sequence[AnyMember]:
    """The members of an ensemble, or the one model."""
    chosen = config.segmentor
    return chosen.members if isinstance(chosen, EnsembleSegmentor) else [chosen]


def _looks(config: RunConfig, model: OpenedModel) -> Looks:
    return Looks.of(model.members, model.decision, config.tiling, config.views)


def _reads_one_size(preparer: Preparer) -> bool:
    """Whether all images go into the model at one size: else batches of each size would have to be filled."""
    return isinstance(preparer, Resizer) and preparer.input_hw((512, 1024)) == preparer.input_hw((1024, 512))


def score_and_write(config: RunConfig, reading: Reading, results: str, lock: Lock | None) -> list[Stage]:
    """From a label map to counts and files."""
    root, drawn = locate(results), _drawn_at_once(config)
    mask = write_mask(root, reading.label_map, lock, config.output.probabilities)
    keep = drawn is not None and drawn.kind == "triptych"
    measured = _measured(config, reading, keep_truth=keep)
    scored = score(reading, config.limits, keep_truth=keep or bool(measured))
    return [scored, *measured, mask, *_overlays(config, reading, root, drawn)]


def score_again(config: RunConfig, reading: Reading, root: Location, images_as: ImageReading) -> list[Stage]:
    """From a label map that lies there to counts, and a new picture where that shows the truth."""
    drawn = _drawn_at_once(config)
    drawn = drawn if drawn and drawn.kind == "triptych" else None
    scored = score_and_measure(config, reading, images_as, keep_truth=drawn is not None)
    return [*scored, *_overlays(config, reading, root, drawn)]


def score_and_measure(
    config: RunConfig, reading: Reading, images_as: ImageReading, *, keep_truth: bool = False
) -> list[Stage]:
    """From a label map that lies there to counts, and to what else is asked for."""
    measured = _measured(config, reading, images_as, keep_truth=keep_truth)
    keep = keep_truth or bool(measured)
    own = as_written(reading.label_map)
    return [score_lying(own, reading, config.limits, images_as, keep_truth=keep), *measured]


def _drawn_at_once(config: RunConfig) -> Overlays | None:
    """The overlays that are drawn as their images are finished; a choice of them waits for the end."""
    wanted = config.output.pictures
    return wanted if wanted is not None and wanted.count is None else None


def _measured(
    config: RunConfig, reading: Reading, images_as: ImageReading | None = None, keep_truth: bool = False
) -> list[Stage]:
    """The boundaries and objects of label maps, where they are asked for."""
    measures = Measures.of(config, reading.label_map)
    if measures is None:
        return []
    return [measure(measures, reading, config.limits, images_as, keep_truth=keep_truth)]


def _overlays(config: RunConfig, reading: Reading, root: Location, drawn: Overlays | None) -> list[Stage]:
    if drawn is None:
        return []
    return [write_overlay(root, Sight(reading, ImageReading.of(config.source)), config.limits, drawn)]
