"""What each method finds of one image: figures for the table, and what is drawn beside the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchseg.config.explain import Method
from batchseg.images.heat import Finding
from batchseg.images.overlay import LabelIds
from batchseg.segmentors.attribution.asked import Asked
from batchseg.segmentors.attribution.gradients import integrated_gradients
from batchseg.segmentors.attribution.language import language_off, reader_of, watched_attention
from batchseg.segmentors.attribution.occlusion import Heat, occlusion
from batchseg.segmentors.attribution.target import ClassTarget
from batchseg.segmentors.combined.decide import decide_whole
from batchseg.segmentors.combined.decision import Answer
from batchseg.segmentors.combined.looks import Picture

Found = tuple[dict[str, Any], list[Finding]]


@dataclass(frozen=True)
class Case:
    """An image with its mask, the class that is explained in it, and the model that is asked."""

    picture: Picture
    labels_HW: LabelIds
    asked: Asked
    target: ClassTarget

    def inside_share(self, values_HW: NDArray[np.float32]) -> float | None:
        """Of what is positive, the share inside the region of the class; None where nothing is positive."""
        positive_HW = np.clip(values_HW, 0, None).astype(np.float64)
        total = float(positive_HW.sum())
        return float(positive_HW[self.target.region_HW].sum()) / total if total > 0 else None


def find(method: Method, case: Case, grid: int) -> Found:
    """By one method. Raises whatever a model raises, and RowFault where the method does not fit the image."""
    if method == "language":
        return _language(case)
    if method == "gradients":
        heat = integrated_gradients(case.asked, case.picture, case.target)
        return _of_heat(case, heat, "integrated gradients")
    heat = occlusion(case.asked, case.picture, case.target, grid)
    figures, findings = _of_heat(case, heat, "occlusion")
    return {**figures, "grid": grid}, findings


def decide_now(case: Case) -> tuple[list[Answer], LabelIds]:
    """What the model says of the picture now, and the label map that follows."""
    answers = _answers_now(case)
    labels_HW = decide_whole(answers, case.labels_HW.shape, case.target.decision).labels_HW
    return answers, labels_HW


def _answers_now(case: Case) -> list[Answer]:
    """The picture is seen anew, even by a model that keeps what it saw."""
    for member in case.asked.members:
        if forget := getattr(member, "forget_images", None):
            forget()
    (answers,) = case.asked.answers([case.picture])
    return answers


def _of_heat(case: Case, heat: Heat, title: str) -> Found:
    inside = case.inside_share(heat.values_HW)
    figures = {"target": heat.target, "inside_share": inside, "remainder": heat.remainder}
    return figures, [Finding(title, "speaks for the class", heat.values_HW)]


def _language(case: Case) -> Found:
    reader = reader_of(case.asked.members[0])
    assert reader is not None
    with_it, labels_HW = decide_now(case)
    with language_off(reader):
        without, without_HW = decide_now(case)
    with watched_attention(reader) as attention:
        _answers_now(case)
    changed_HW = labels_HW != without_HW
    figures: dict[str, Any] = {
        "target": float(case.target.of(with_it)),
        "language_off_changed": float(changed_HW.mean()),
        "language_off_target": float(case.target.of(without)),
        "inside_share": None,
    }
    findings = [Finding("without language", "has another class then", changed_HW=changed_HW)]
    attention_HW = attention.of(case.target.region_HW)
    if attention_HW is not None:
        figures["inside_share"] = case.inside_share(attention_HW)
        findings.append(Finding("attention", "attention of the region", attention_HW))
    return figures, findings
