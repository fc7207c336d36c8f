"""Decide: what was said of a picture -> its label map, and how sure the model was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from batchseg.segmentors.base import ModelInput, Prediction, Scores, Segmentor
from batchseg.segmentors.combined.decision import Answer, Decision

if TYPE_CHECKING:
    from batchseg.segmentors.combined.fuse import Grid


def decide_whole(
    answers: Sequence[Answer],
    size: tuple[int, int],
    decision: Decision,
    nodata_HW: NDArray[np.bool_] | None = None,
) -> Prediction:
    """The label map [height, width] of what was said of a whole picture.

    One model that saw a picture once decides as its library does: the highest of the interpolated scores.
    Raises ValueError where scores are not numbers, or where there are none and probabilities are asked for.

    Args:
        nodata_HW: where the picture has no data, for the probabilities.
    """
    has_scores = any(each.scores.kind != "labels" for each in answers)
    if not has_scores:
        refuse_labels_alone(decision)
    if len(answers) == 1 and not has_scores:
        return _of_labels(answers[0].scores, size, decision)
    from batchseg.segmentors.combined.fuse import fuse

    grids = fuse(answers, decision)
    labels_HW = _labels(grids, size, decision)
    confidence = probes = probabilities = None
    if has_scores:
        confidence = _confidence(grids, decision)
    if has_scores and decision.probing:
        from batchseg.segmentors.combined.probed import probe_whole

        probes = probe_whole(grids, size, decision.classes)
    if decision.keeping is not None:
        from batchseg.segmentors.combined.kept import keep_whole

        probabilities = keep_whole(grids, size, labels_HW, decision, nodata_HW)
    ids_HW = labels_HW.cpu().numpy().astype(_dtype(decision), copy=False)
    return Prediction(ids_HW, confidence, probabilities, probes, presence_of(answers))


def presence_of(answers: Sequence[Answer]) -> float | None:
    """How likely what is meant is to be there: the mean of all who say so."""
    said = [each.scores.presence for each in answers if each.scores.presence is not None]
    return sum(said) / len(said) if said else None


def refuse_labels_alone(decision: Decision) -> None:
    """Raises ValueError where probabilities are asked for, and a model answers with label maps alone."""
    asked = {
        "output.probabilities (--probabilities)": decision.keeping,
        "segmentor.none_below (--none-below)": decision.none_below,
        "segmentor.threshold": decision.factors,
    }
    for name, value in asked.items():
        if value is not None:
            raise ValueError(
                f"it answers with label maps, which have no probabilities; leave {name} out, or have it "
                "return scores"
            )


def segment_whole(segmentor: Segmentor, inputs: Sequence[ModelInput], decision: Decision) -> list[Prediction]:
    """The label maps of some pictures that one model sees once, as they were prepared."""
    answers = segmentor.scores(inputs)
    return [
        decide_whole([Answer(scores)], each.image_hw, decision)
        for scores, each in zip(answers, inputs, strict=True)
    ]


def _of_labels(scores: Scores, size: tuple[int, int], decision: Decision) -> Prediction:
    """Of a label map alone, which needs no torch."""
    labels_HW: NDArray[Any] = scores.maps
    if labels_HW.shape != size:
        raise ValueError(f"a label map of shape {labels_HW.shape} for an image of {size}")
    group = decision.groups[0]
    if group is not None:
        labels_HW = np.array([*group, decision.classes])[labels_HW]
    return Prediction(labels_HW.astype(_dtype(decision), copy=False))


def _dtype(decision: Decision) -> np.dtype[Any]:
    return np.min_scalar_type(decision.classes)


def _labels(grids: list[Grid], size: tuple[int, int], decision: Decision) -> Any:
    from batchseg.segmentors.combined.fuse import as_probabilities
    from batchseg.segmentors.network.several import several_argmax, several_below
    from batchseg.segmentors.network.upsample import bilinear_argmax, bilinear_unsure

    if len(grids) > 1:
        maps = [grid.maps_CHW for grid in grids]
        labels_HW = several_argmax([weighed(each, "probabilities", decision) for each in maps], size)
        if decision.none_below is not None:
            best_HW = labels_HW if decision.factors is None else several_argmax(maps, size)
            labels_HW[several_below(maps, best_HW, decision.none_below)] = decision.classes
        return labels_HW
    (grid,) = grids
    labels_HW = bilinear_argmax(weighed(grid.maps_CHW, grid.kind, decision), size)
    if decision.none_below is not None:
        below, kind = decision.none_below, grid.kind
        # odds of sigmoids between cells can all be lower than at the cells
        bounded = kind != "sigmoids"
        unsure_HW = bilinear_unsure(
            grid.maps_CHW, size, below, lambda maps: as_probabilities(kind, maps), bounded=bounded
        )
        labels_HW[unsure_HW] = decision.classes
    return labels_HW


def weighed(maps_CHW: Any, kind: str, decision: Decision) -> Any:
    """Scores whose highest is the class that is decided for: with each class's factor."""
    if decision.factors is None:
        return maps_CHW
    # void, where it is a class more, has none
    factors_C11 = maps_CHW.new_tensor([*decision.factors, 1.0])[: len(maps_CHW), None, None]
    if kind == "sigmoids":  # of odds the factor is (1 - t) / t: a class is there from its threshold t on
        return maps_CHW - (1 / (1 + factors_C11) - 0.5)
    return maps_CHW + factors_C11.log() if kind == "logits" else maps_CHW * factors_C11


def _confidence(grids: list[Grid], decision: Decision) -> Any:
    """At the resolution of the finest grid, of the classes without void."""
    import torch
    from torch.nn.functional import interpolate

    from batchseg.segmentors.combined.fuse import normalised
    from batchseg.segmentors.network.confidence import confidence, confidence_of_logits

    if len(grids) == 1:
        if grids[0].kind == "logits" and len(grids[0].maps_CHW) == decision.classes and not decision.claims:
            return confidence_of_logits(grids[0].maps_CHW)
        return confidence(grids[0].probabilities_CHW[: decision.classes], *decision.claims)
    finest = max((grid.maps_CHW.shape[1:] for grid in grids), key=lambda shape: shape[0] * shape[1])
    maps = (grid.maps_CHW[None] for grid in grids)
    finer = [interpolate(each, finest, mode="bilinear", align_corners=False)[0] for each in maps]
    total_CHW = torch.stack(finer).sum(0)
    return confidence(normalised(total_CHW)[: decision.classes], *decision.claims)
