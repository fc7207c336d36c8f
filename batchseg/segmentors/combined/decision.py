"""What turns the scores of a model, or of several, into a label map."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from types import MappingProxyType

from batchseg.config.network import ScoringConfig, SegmentorConfig
from batchseg.config.prompting import EVEN
from batchseg.config.run import Kept
from batchseg.config.segmentor import HuggingFaceSegmentor
from batchseg.errors import ConfigError
from batchseg.labels.label_map import LabelMap, is_background
from batchseg.labels.merging import Merging
from batchseg.segmentors.base import Scores, prompting_of
from batchseg.segmentors.combined.ensemble import AnyCheckpoint, EnsembleCheckpoint, Groups
from batchseg.segmentors.llm.names import is_learned

_TWO = 2


@dataclass(frozen=True)
class Keeping:
    """What is kept of the probabilities that were decided by, and what the classes are called."""

    kept: Kept
    names: tuple[str, ...]


@dataclass(frozen=True)
class Decision:
    """What turns scores into a label map: the probabilities of a class add within each member, those of the
    members are averaged, and of the classes, each times its factor, the highest wins.

    Attributes:
        classes: of the label map.
        groups: for each member, the class of the label map of each of its own classes, or void (`classes`) of
            those that are none; None: the same.
        weights: of the members, with a sum of 1.
        factors: of each class's probability before the highest is taken; None: all 1.
        background: what is left over by classes that are decided each by itself; None: they are not.
        none_below: pixels belong to no class where the probability of the best, without its factor, is lower;
            None: all belong to one.
        keeping: what is kept of the probabilities; None: nothing.
        probing: whether probes are taken of them.
    """

    classes: int
    groups: tuple[Groups, ...] = (None,)
    weights: tuple[float, ...] = (1.0,)
    factors: tuple[float, ...] | None = None
    background: int | None = None
    none_below: float | None = None
    keeping: Keeping | None = None
    probing: bool = True

    @property
    def has_none(self) -> bool:
        """Whether some classes of a member are none of the label map's: void competes as a class more."""
        return any(group is not None and self.classes in group for group in self.groups)

    @property
    def claims(self) -> tuple[()] | tuple[int, tuple[float, ...] | None]:
        """What claims of a pixel are counted by: the class they have to beat, and the factors; or nothing."""
        return () if self.background is None else (self.background, self.factors)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one member said of a window, which it saw mirrored by `flip`: h, v, hv, or not at all.

    `look` is its number among the answers to the window, by which they are ordered: a sum of floating-point
    numbers depends on the order.
    """

    scores: Scores
    member: int = 0
    flip: str = ""
    look: int = 0


def decision_of(config: SegmentorConfig, checkpoint: AnyCheckpoint, label_map: LabelMap) -> Decision:
    """How a run decides, by the settings of its segmentor and the label map that was chosen for it.

    Raises ConfigError where a threshold is set for other than two classes, or for a prompted model.
    """
    scoring = config if isinstance(config, ScoringConfig) else ScoringConfig()
    groups: tuple[Groups, ...] = (None,)
    weights: tuple[float, ...] = (1.0,)
    if isinstance(checkpoint, EnsembleCheckpoint):
        groups, weights = checkpoint.groups, checkpoint.weights
    is_prompted = prompting_of(checkpoint) is not None
    if is_prompted and scoring.threshold is not None:
        raise ConfigError(
            f"segmentor.threshold tells the two classes of a model apart, and {scoring.name} is told in "
            "words what to segment; set segmentor.prompting.threshold in its place"
        )
    factors = factors_of(scoring.threshold, foreground_of(checkpoint.label_map), label_map)
    return Decision(
        classes=label_map.num_classes,
        groups=tuple(_composed(own, label_map.groups) for own in groups),
        weights=weights,
        factors=factors or prompt_factors(scoring, label_map, composition(checkpoint.label_map, label_map)),
        background=background_of(label_map) if is_prompted else None,
        none_below=scoring.none_below,
    )


def decided(fingerprint: str, config: ScoringConfig) -> str:
    """A model's fingerprint with the settings that change what is decided; itself where there are none."""
    if not config.deciding:
        return fingerprint
    return hashlib.sha256(json.dumps([fingerprint, *config.deciding]).encode()).hexdigest()


def _composed(first: Groups, then: Groups) -> Groups:
    if first is None or then is None:
        return then if first is None else first
    return tuple(then[index] for index in first)


def factors_of(threshold: float | None, foreground: int, label_map: LabelMap) -> tuple[float, ...] | None:
    """Foreground wins where p > t, which is where p (1 - t) > (1 - p) t.

    Raises ConfigError where there are other than two classes.
    """
    if threshold is None:
        return None
    if label_map.num_classes != _TWO:
        raise ConfigError(
            f"segmentor.threshold tells two classes apart, and there are {label_map.num_classes}; leave it "
            "out, or have classes merged into two (merge)"
        )
    factors = (threshold, 1 - threshold)
    return factors if foreground == 1 else factors[::-1]


def prompt_factors(
    config: SegmentorConfig, label_map: LabelMap, members: Merging = MappingProxyType({})
) -> tuple[float, ...] | None:
    """A class wins over the background where its sigmoid s > t, which is where its odds s / (1 - s), times
    (1 - t) / t, are above 1.

    Args:
        members: the classes that each merged class is made of.

    Raises ConfigError where classes are merged that have different thresholds.
    """
    if not isinstance(config, HuggingFaceSegmentor) or not config.prompting.has_thresholds:
        return None
    asked, rest = config.prompting, background_of(label_map)
    thresholds = []
    for index, name in enumerate(label_map.names):
        own = {asked.of(member) for member in members.get(name, (name,))}
        if len(own) > 1 and index != rest:
            raise ConfigError(
                f"merge: {name!r} is made of classes with different thresholds (segmentor.prompting); give "
                "them one"
            )
        thresholds.append(EVEN if index == rest or not own else own.pop())
    return tuple((1 - threshold) / threshold for threshold in thresholds)


def composition(own: LabelMap, label_map: LabelMap) -> dict[str, tuple[str, ...]]:
    """The classes of a model that each class of the label map is made of."""
    groups = label_map.groups or range(label_map.num_classes)
    return {
        name: tuple(each for each, group in zip(own.names, groups, strict=True) if group == index)
        for index, name in enumerate(label_map.names)
    }


def background_of(label_map: LabelMap) -> int | None:
    """The class that is what the others leave over; None: there is none."""
    return next((index for index, name in enumerate(label_map.names) if is_learned(name)), None)


def foreground_of(own: LabelMap) -> int:
    """Which of two classes: the first where the second is called background, else the second.

    By the model's own names, which are part of its fingerprint; those of a label map are not.
    """
    names = own.names
    return 0 if len(names) == _TWO and is_background(names[1]) and not is_background(names[0]) else 1
