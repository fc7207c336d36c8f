"""A segmentor of the user's own, named `module:Class` or `path/to/file.py:Class`.

The class needs one method and one attribute; the rest is optional:

    class Mine:
        labels = ["background", "cell"]              # names, or a LabelMap

        def __init__(self, device, **options): ...   # `segmentor.options`; `device` is "cpu" or "cuda"
                                                     # a parameter `threads` gets the number of CPU threads

        def segment(self, images):                   # list of uint8 RGB [H, W, 3], or of what `prepare` made
            return [label_map, ...]                  # integer class ids [H, W], one an image, or scores

        scores = "logits"                            # or "probabilities": what the floats [C, h, w] are that
                                                     # `segment` returns, as arrays or tensors of any size;
                                                     # [1, h, w] is one class against the background

        @staticmethod
        def prepare(image):                          # uint8 RGB [H, W, 3], on a CPU worker
            return array                             # uint8 [h, w, C], of any size; the mask gets the image's

        fingerprint = "weights of May"               # in place of the source text and the files of options

Where `source.bands` names bands, the images have these, [H, W, C], in uint8, uint16 or float32 as they are
stored; `prepare` may return either type.

Without that its fingerprint has the text of its module, its options, and the contents of the files and
folders that they name: another weights file under the same name is another model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from inspect import getattr_static
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchseg.config.bands import BlackWhite
from batchseg.config.segmentor import CustomSegmentor
from batchseg.errors import ModelError
from batchseg.images.overlay import nearest
from batchseg.labels.label_map import LabelMap
from batchseg.segmentors.base import ModelInput, Preparer, Scores
from batchseg.segmentors.combined.decision import decided
from batchseg.segmentors.custom_code import Target, make, without_exit
from batchseg.segmentors.custom_fingerprint import code_fingerprint
from batchseg.segmentors.custom_scores import described, is_scores, own_scores
from batchseg.segmentors.threshold import Identity


@dataclass(frozen=True)
class CustomCheckpoint:
    """The class by name; it is made anew in every actor.

    Attributes:
        prepares: whether the class has a `prepare` of its own.
    """

    target: Target
    label_map: LabelMap
    fingerprint: str
    options: dict[str, Any] = field(default_factory=dict)
    prepares: bool = False
    notes: tuple[str, ...] = ()
    stride: int = 1

    @property
    def channels(self) -> None:
        """Only the class knows."""
        return None

    @classmethod
    def open(cls, config: CustomSegmentor) -> CustomCheckpoint:
        """Import the class on the driver, so that a wrong name fails before anything starts."""
        target = Target.find(config.model)
        made = target.load()
        labels = getattr(made, "labels", None)
        if not callable(getattr(made, "segment", None)) or labels is None:
            raise ModelError(f"{config.model}: the class needs a method `segment` and an attribute `labels`")
        is_map = isinstance(labels, LabelMap)  # whose classes are those that the class answers with
        label_map = replace(labels, groups=None) if is_map else _label_map(labels, config.model)
        identity = decided(code_fingerprint(target, made, config.options), config)
        found = Target(target.text, target.folder_of(made))
        return cls(found, label_map, identity, config.options, callable(getattr(made, "prepare", None)))

    def preparer(self, as_is: bool = False) -> Preparer:
        """A `prepare` of the user's own is called in any case."""
        return CustomPreparer(self.target, self.options) if self.prepares else Identity()

    def load(self, device: str, precision: str, threads: int | None = None) -> CustomModel:
        """Raises ModelError where the class cannot be made."""
        model = make(self.target, self.target.load(), device, self.options, threads)
        return CustomModel(model, self.label_map, self.target.text, self.prepares)


def _label_map(labels: Any, model: str) -> LabelMap:
    """Of the names that a class lists. Raises ModelError where its `labels` are no list of names."""
    # a mapping may run the other way, a set has no order, and a text would be taken letter by letter
    listed = isinstance(labels, Iterable) and not isinstance(labels, str | bytes | Mapping | set | frozenset)
    names = tuple(labels) if listed else ()
    if not listed or not all(isinstance(name, str) and name.strip() for name in names):
        raise ModelError(
            f"{model}: `labels` must list the names of the classes, in the order of their ids, such as "
            f'["background", "cell"], and are {str(labels)[:80]!r}'
        )
    return LabelMap.from_names(names)


class CustomPreparer:
    """The user's own `prepare`. A method of an instance gets one of this process's own, on the CPU."""

    def __init__(self, target: Target, options: dict[str, Any]) -> None:
        self.target, self.options = target, options

    @cached_property
    def _prepare(self) -> Any:
        made = self.target.load()
        if isinstance(getattr_static(made, "prepare"), staticmethod | classmethod):
            return made.prepare
        return make(self.target, made, "cpu", self.options, 1).prepare

    def __call__(self, image_HWC: NDArray[Any], scale: Sequence[BlackWhite] | None = None) -> ModelInput:
        """Raises ValueError for an answer that is no image."""
        with without_exit():
            prepared = np.asarray(self._prepare(image_HWC))
        # of 8-bit images uint8 alone: whatever else would come of a forgotten conversion
        types = (np.uint8,) if image_HWC.dtype == np.uint8 else (np.uint8, np.uint16, np.float32)
        if prepared.dtype not in types or prepared.ndim != 3 or not prepared.size:
            named = ", ".join(np.dtype(each).name for each in types)
            raise ValueError(
                f"{self.target.text}: prepare must return {named} [h, w, C], not {described(prepared)}"
            )
        height, width, _ = image_HWC.shape
        return ModelInput(np.ascontiguousarray(prepared)[None], (height, width), {})


class CustomModel:
    """Adapts the user's class to the Segmentor protocol.

    Args:
        name: of the class, as the user wrote it.
        prepared: label maps may have the size of what `prepare` made; they are brought to the image's.
    """

    def __init__(self, model: Any, label_map: LabelMap, name: str, prepared: bool = False) -> None:
        self.model, self.label_map, self.name, self.prepared = model, label_map, name, prepared

    def scores(self, inputs: Sequence[ModelInput]) -> list[Scores]:
        """Raises ValueError for an answer that cannot be right, and whatever the user's class raises."""
        with without_exit():
            answers = self.model.segment([each.pixels_THWC[0] for each in inputs])
        if not hasattr(answers, "__len__") or len(answers) != len(inputs):
            found = f"{len(answers)}" if hasattr(answers, "__len__") else type(answers).__name__
            raise ValueError(
                f"{self.name}: segment must return {len(inputs)} label maps, one an image, not {found}"
            )
        return [self._checked(answer, each) for answer, each in zip(answers, inputs, strict=True)]

    def _checked(self, answer: Any, each: ModelInput) -> Scores:
        if is_scores(answer):
            return own_scores(answer, getattr(self.model, "scores", None), self.label_map, self.name)
        return Scores("labels", self._checked_labels(np.asarray(answer), each))

    def _checked_labels(self, labels: NDArray[Any], each: ModelInput) -> NDArray[Any]:
        if labels.ndim != 2 or labels.dtype.kind not in "iub":
            raise ValueError(
                f"{self.name}: a label map must be integer [H, W], and scores must be floats [C, h, w]; this "
                f"is {described(labels)}"
            )
        if labels.size and not 0 <= labels.min() <= labels.max() <= self.label_map.void:
            raise ValueError(
                f"{self.name}: class ids must lie in 0 .. {self.label_map.num_classes - 1}, and there are "
                f"{labels.min()} .. {labels.max()}"
            )
        if self.prepared and labels.shape == each.pixels_THWC.shape[1:3]:
            labels = nearest(labels, each.image_hw)
        if labels.shape != each.image_hw:
            raise ValueError(
                f"{self.name}: a label map of shape {labels.shape} for an image of {each.image_hw}"
            )
        return np.ascontiguousarray(labels, dtype=self.label_map.dtype)
