"""What several looks at one window say, brought to as few grids as they have sizes.

Scores on one grid are averaged there: their class probabilities, by the weights of the members. Where there
is one grid alone and all scores are logits, the logarithm of that average takes the place of the logits: a
model decides beside its own copy as it does alone, and merging classes moves no border between others. Grids
of several sizes are interpolated as probabilities, and then added. Of one model that gives sigmoids, the
views on one grid are averaged as such.

Sigmoids s are of classes that are decided each by itself. Given that at most one of them holds at a pixel,
their probabilities are as their odds s / (1 - s), and that of a background, whose s is 0.5, is as 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from batchseg.segmentors.combined.decision import Answer, Decision

_BELOW_ONE = 1 - 2**-24  # in float32
_DIMENSIONS = {"": (), "h": (-1,), "v": (-2,), "hv": (-2, -1)}


@dataclass(frozen=True)
class Grid:
    """Scores of the label map's classes [C, h, w], float32.

    With kind `logits` their softmax are probabilities, with `probabilities` they are not negative and divided
    by their sum, with `sigmoids` their odds are.
    """

    kind: str
    maps_CHW: Tensor

    @cached_property
    def probabilities_CHW(self) -> Tensor:
        return as_probabilities(self.kind, self.maps_CHW)


def as_probabilities(kind: str, maps_C: Tensor) -> Tensor:
    """Scores as probabilities over the first axis."""
    if kind == "logits":
        return maps_C.softmax(0)
    if kind == "sigmoids":
        odds_C = odds(maps_C)
        odds_C += torch.finfo(odds_C.dtype).tiny  # even where all are zero
        return odds_C.div_(odds_C.sum(0))
    return normalised(maps_C)


def odds(sigmoids: Tensor) -> Tensor:
    """s / (1 - s), float32; of 1 as of the number below it."""
    below_one = sigmoids.float().clamp(max=_BELOW_ONE)
    return below_one.div_(1 - below_one)


def normalised(scores_C: Tensor) -> Tensor:
    """Scores divided by their sum over the first axis; even where all are zero."""
    positive_C = scores_C + torch.finfo(scores_C.dtype).tiny
    return positive_C / positive_C.sum(0)


def fuse(answers: Sequence[Answer], decision: Decision) -> list[Grid]:
    """The grids of one window, each weighted by its share of the answers; at most one of a size.

    Where a member abstains, in a label map, there is a last class more, which is void.
    """
    first = answers[0]
    if len(answers) == 1 and first.scores.kind != "labels" and decision.groups[first.member] is None:
        return [Grid(first.scores.kind, _upright(first).float())]
    kinds = {each.scores.kind for each in answers}
    abstains = any(each.scores.kind == "labels" and _has_void(each, decision) for each in answers)
    if kinds == {"sigmoids"} and _of_one_grid(answers, decision):
        return [Grid("sigmoids", *_sums(answers, decision, abstains=False, raw=True))]
    sums = _sums(answers, decision, abstains=abstains, raw=kinds == {"probabilities"})
    if len(sums) == 1 and kinds == {"logits"}:
        return [Grid("logits", sums[0].clamp(min=torch.finfo(sums[0].dtype).tiny).log())]
    return [Grid("probabilities", maps_CHW) for maps_CHW in sums]


def _of_one_grid(answers: Sequence[Answer], decision: Decision) -> bool:
    """Whether one model looked several times, and answered on one grid with the classes that are decided."""
    looks = {(each.member, each.scores.maps.shape) for each in answers}
    return len(looks) == 1 and decision.groups[answers[0].member] is None


def probability_grids(answers: Sequence[Answer], decision: Decision) -> list[Tensor]:
    """The same as probabilities [C, h, w], which sum to one over all grids and classes.

    With label maps there is the class more in any case: the next window may have it.
    """
    abstains = any(each.scores.kind == "labels" for each in answers)
    return _sums(answers, decision, abstains=abstains, raw=False)


def _sums(answers: Sequence[Answer], decision: Decision, *, abstains: bool, raw: bool) -> list[Tensor]:
    total = sum(decision.weights[each.member] for each in answers)
    sums: dict[torch.Size, Tensor] = {}
    for each in sorted(answers, key=lambda each: each.look):
        maps_CHW = _of_label_map(each, decision, decision.classes + abstains, raw)
        maps_CHW = maps_CHW * (decision.weights[each.member] / total)
        size = maps_CHW.shape[1:]
        sums[size] = sums[size] + maps_CHW if size in sums else maps_CHW
    return [*sums.values()]


def _of_label_map(answer: Answer, decision: Decision, classes: int, raw: bool) -> Tensor:
    """Probabilities of the label map's classes, or with `raw` such as need not sum to one."""
    group, scores = decision.groups[answer.member], answer.scores
    maps_CHW = _upright(answer)
    if scores.kind == "labels":
        labels_HW = maps_CHW.long()
        if group is not None:
            labels_HW = torch.tensor([*group, decision.classes])[labels_HW]
        return torch.nn.functional.one_hot(labels_HW, classes).permute(2, 0, 1).float()
    maps_CHW = maps_CHW.float()
    if not raw:
        maps_CHW = as_probabilities(scores.kind, maps_CHW)
    if group is None and len(maps_CHW) == classes:
        return maps_CHW
    merged_CHW = maps_CHW.new_zeros((classes, *maps_CHW.shape[1:]))
    into = torch.tensor(group if group is not None else range(len(maps_CHW)), device=maps_CHW.device)
    return merged_CHW.index_add_(0, into, maps_CHW)


def _upright(answer: Answer) -> Tensor:
    maps = answer.scores.maps
    tensor = maps if isinstance(maps, Tensor) else torch.from_numpy(maps.astype("int32", copy=False))
    dimensions = _DIMENSIONS[answer.flip]
    return tensor.flip(dimensions) if dimensions else tensor


def _has_void(answer: Answer, decision: Decision) -> bool:
    group = decision.groups[answer.member]
    classes = decision.classes if group is None else len(group)
    return bool((answer.scores.maps >= classes).any())
