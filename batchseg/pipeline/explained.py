"""One image that is explained: its mask and picture read again, and the model asked about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from batchseg.config.explain import ExplainConfig, Method
from batchseg.config.run import RunConfig
from batchseg.errors import BatchsegError, ConfigError, RowFault
from batchseg.images.bands import as_rgb
from batchseg.images.heat import Region, draw_findings
from batchseg.images.overlay import LabelIds, Pixels
from batchseg.labels.label_map import is_background
from batchseg.labels.names import fold_name
from batchseg.pipeline.findings import Case, decide_now, find
from batchseg.pipeline.model import OpenedModel
from batchseg.schema import Status
from batchseg.segmentors.attribution.asked import Asked
from batchseg.segmentors.attribution.gradients import load_captum, refuse_without_gradients
from batchseg.segmentors.attribution.language import reader_of, require_reader
from batchseg.segmentors.attribution.target import ClassTarget
from batchseg.segmentors.base import Segmentor
from batchseg.segmentors.combined.looks import Looks, Picture
from batchseg.stages.decode import decode
from batchseg.stages.item import Item
from batchseg.stages.prepare import model_fault
from batchseg.stages.viewing import read_prediction
from batchseg.storage.location import Location
from batchseg.storage.reader import truth_reader

Result = TypeVar("Result")
_SAME = 0.95  # of the pixels that a model must decide as in the mask: rounding moves a few at borders


class Explanation(NamedTuple):
    """What one method found: columns of `explanations`, and the picture, uint8 RGB."""

    figures: dict[str, Any]
    picture_HWC: Pixels


@dataclass
class Explainer:
    """A loaded model and the methods by which it is explained.

    Raises ConfigError where a method is asked for that the model does not have.
    """

    config: ExplainConfig
    job: RunConfig
    model: OpenedModel
    members: list[Segmentor]
    results: Location
    methods: tuple[Method, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.looks = Looks.of(self.model.members, self.model.decision, None, self.job.views)
        self.decision = replace(self.model.decision, keeping=None, probing=False)
        self.class_id = self._chosen_class()
        self.methods = self.config.methods or self._by_default()
        for method in self.methods:
            if method != "occlusion":
                self._refuse_several(method)
            if method == "gradients":
                refuse_without_gradients(self.members[0], self.model.name)
                load_captum()
            elif method == "language":
                require_reader(self.members[0], self.model.name)
        self.decode = decode(self.job.limits, reading=self.model.reading)
        self.masks = truth_reader()

    def explain(self, row: dict[str, Any]) -> Iterator[Explanation]:
        """By each method, in turn.

        Args:
            row: of `images`, of an image that has a mask.

        Raises RowFault where the image or its mask cannot be used, or the model fails.
        """
        case = self._case(row)
        region = self._region(case)
        image_HWC = as_rgb(case.picture.pixels_HWC, case.picture.scale)
        about = {
            "class_id": case.target.class_id,
            "class_name": region.name,
            "area_share": float(region.where_HW.mean()),
        }
        for method in self.methods:
            found, findings = _guarded(partial(find, method, case, self.config.grid))
            figures = {**about, "method": method, **found}
            yield Explanation(figures, draw_findings(image_HWC, region, findings, _sentence(figures)))

    # -- which class and methods

    def _chosen_class(self) -> int | None:
        wanted, names = self.config.class_name, self.model.label_map.names
        if wanted is None:
            return None
        known = {fold_name(name): index for index, name in enumerate(names)}
        if fold_name(wanted) not in known:
            more = f" and {len(names) - 20} more" if len(names) > 20 else ""
            raise ConfigError(
                f"class_name (--class): there is no class {wanted!r}; there are {', '.join(names[:20])}{more}"
            )
        return known[fold_name(wanted)]

    @property
    def _is_plain(self) -> bool:
        return len(self.members) == 1 and self.job.views.count == 1

    def _by_default(self) -> tuple[Method, ...]:
        has_language = self._is_plain and reader_of(self.members[0]) is not None
        return ("occlusion", "language") if has_language else ("occlusion",)

    def _refuse_several(self, method: str) -> None:
        if not self._is_plain:
            raise ConfigError(
                f"the method {method} is for one model that sees a picture once, and this run decided by "
                "several models or views; take the method occlusion"
            )

    # -- what is explained

    def _case(self, row: dict[str, Any]) -> Case:
        """Raises RowFault."""
        size_hw = (row["height"], row["width"])
        void = self.model.label_map.num_classes
        labels_HW = read_prediction(self.masks, str(self.results / row["mask"]), size_hw, void).labels_HW
        class_id = self._class_in(labels_HW)
        item = Item({"id": row["id"], "uri": row["uri"], "size": None, "truth": None, "mask": row["mask"]})
        (item,) = self.decode(iter([item]))
        if item.fault is not None:
            raise item.fault
        assert item.image_HWC is not None
        if item.size_hw != size_hw:
            height, width = item.size_hw or (0, 0)
            raise RowFault(
                Status.UNREADABLE,
                f"it is {width} x {height} pixels by now, its mask {size_hw[1]} x {size_hw[0]}; run again",
            )
        picture = Picture(item.image_HWC, item.scale)
        asked = Asked(self.members, self.looks, row["prompt"])
        target = ClassTarget(labels_HW == class_id, class_id, self.decision)
        case = Case(picture, labels_HW, asked, target)
        _refuse_another(case, item.nodata_HW)
        return case

    def _region(self, case: Case) -> Region:
        label_map, class_id = self.model.label_map, case.target.class_id
        return Region(case.target.region_HW, label_map.names[class_id], label_map.colours[class_id])

    def _class_in(self, labels_HW: LabelIds) -> int:
        names = self.model.label_map.names
        pixels = np.bincount(labels_HW.ravel(), minlength=len(names) + 1)[: len(names)]
        if self.class_id is not None:
            if not pixels[self.class_id]:
                raise RowFault(
                    Status.UNSUPPORTED, f"its mask has no {names[self.class_id]!r} that could be explained"
                )
            return self.class_id
        for index, name in enumerate(names):
            if is_background(name):
                pixels[index] = 0
        if not pixels.any():
            raise RowFault(
                Status.UNSUPPORTED,
                "its mask has no class but background; name that (--class) if it is what is to be explained",
            )
        return int(pixels.argmax())


def _refuse_another(case: Case, nodata_HW: NDArray[np.bool_] | None) -> None:
    """Raises RowFault where the model decides otherwise than in the mask: then it is of another image."""
    decided_HW = _guarded(lambda: decide_now(case)[1])
    same_HW = decided_HW == case.labels_HW
    same = float((same_HW if nodata_HW is None else same_HW[~nodata_HW]).mean())
    if same < _SAME:
        raise RowFault(
            Status.MODEL_FAILED,
            f"the model decides as in its mask in {same:.0%} of the pixels alone, so the image has changed "
            "since; run again",
        )


def _guarded(work: Callable[[], Result]) -> Result:
    """A model may fail in any way. Raises RowFault."""
    try:
        return work()
    except BatchsegError:
        raise
    except Exception as exc:
        raise model_fault("the model failed", exc) from exc


def _sentence(figures: dict[str, Any]) -> str:
    """What stands below the picture."""
    words = [f"Mean probability of {figures['class_name']} over its region {figures['target']:.3f}"]
    if figures["method"] == "language":
        words[0] += f", {figures['language_off_target']:.3f} without language"
        words.append(f"{figures['language_off_changed']:.1%} of the pixels change")
    if figures["inside_share"] is not None:
        noun = "attention" if figures["method"] == "language" else "what speaks for it"
        words.append(
            f"{figures['inside_share']:.0%} of {noun} lies inside it, by chance {figures['area_share']:.0%}"
        )
    return f"{'; '.join(words)}."
