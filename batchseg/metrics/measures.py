"""Which further metrics are computed and how: the settings, held against the classes there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from batchseg.config.metrics import BoundarySettings, Measured
from batchseg.config.suggest import did_you_mean
from batchseg.errors import ConfigError
from batchseg.images.outlines import load_shapely
from batchseg.labels.label_map import LabelMap, is_background
from batchseg.metrics.objects import CONNECTIVITY, MATCH_IOU

_TOLERANCE = 2.0  # of classes that a mapping does not name


@dataclass(frozen=True)
class BoundaryMeasure:
    """Attributes:
    width: of the band, as a share of the diagonal.
    tolerances: of NSD, of each class.
    in_spacing: whether distances are in units of the spacing, and not in pixels.
    """

    width: float
    tolerances: tuple[float, ...]
    in_spacing: bool


@dataclass(frozen=True)
class ObjectMeasure:
    """Attributes:
    classes: those whose connected components are objects.
    geometry: whether their outlines are kept.
    """

    classes: tuple[int, ...]
    geometry: bool


@dataclass(frozen=True)
class Measures:
    """What is measured beside the confusion matrix.

    Attributes:
        spacing: height and width of a pixel; None: the image's own, if it has one.
    """

    num_classes: int
    boundary: BoundaryMeasure | None
    objects: ObjectMeasure | None
    spacing: tuple[float, float] | None

    @classmethod
    def of(cls, config: Measured, label_map: LabelMap) -> Measures | None:
        """None where nothing is asked for.

        Raises ConfigError where a class is not in the label map, or a package is missing.
        """
        if not config.metrics:
            return None
        names = label_map.names
        boundary = objects = None
        if "boundary" in config.metrics:
            tolerances = _tolerances(config.boundary, names)
            unit = config.boundary.unit or ("pixels" if config.spacing is None else "spacing")
            boundary = BoundaryMeasure(config.boundary.width, tolerances, unit == "spacing")
        if "objects" in config.metrics:
            chosen = config.objects.classes or [name for name in names if not is_background(name)]
            _refuse_unknown("objects.classes", chosen, names)
            if config.objects.geometry:
                load_shapely()
            objects = ObjectMeasure(tuple(sorted(map(names.index, {*chosen}))), config.objects.geometry)
        spacing = config.spacing if isinstance(config.spacing, tuple | None) else (config.spacing,) * 2
        return cls(len(names), boundary, objects, spacing)

    @property
    def facts(self) -> dict[str, Any]:
        """All that a figure depends on."""
        return asdict(self)

    @property
    def facts_without_truth(self) -> dict[str, Any] | None:
        """All that the objects of a mask without a truth depend on; None: nothing is computed of it."""
        return None if self.objects is None else asdict(self) | {"boundary": None}

    @property
    def definitions(self) -> dict[str, str]:
        """In words, by metric, for the record."""
        said = {}
        if self.boundary is not None:
            unit = "units of the spacing" if self.boundary.in_spacing else "pixels"
            said["boundary"] = (
                f"Boundary IoU of Cheng et al. 2021 with a band of {self.boundary.width:g} of the diagonal; "
                f"NSD and HD95 as MONAI's, in {unit}. A class in truth or prediction alone has Boundary IoU "
                "0, NSD 0 and no HD95; one in neither is not counted. Figures of the data set come from "
                "summed pixels, HD95 is the mean of the images that have one; means run over classes."
            )
        if self.objects is not None:
            said["objects"] = (
                f"Objects are {CONNECTIVITY}-connected components of a class, matched where their IoU is "
                f"above {MATCH_IOU:g}; PQ of Kirillov et al. 2019 from sums over the data set, a mean over "
                "classes. A class without an object on either side is not counted. Pixels without truth are "
                "taken out, and a predicted object of which they are more than half is no false positive."
            )
        return said


def _tolerances(settings: BoundarySettings, names: tuple[str, ...]) -> tuple[float, ...]:
    given = settings.tolerance
    if not isinstance(given, Mapping):
        return (given,) * len(names)
    _refuse_unknown("boundary.tolerance", given, names)
    return tuple(given.get(name, _TOLERANCE) for name in names)


def _refuse_unknown(setting: str, chosen: Iterable[str], names: tuple[str, ...]) -> None:
    for name in chosen:
        if name not in names:
            known = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
            raise ConfigError(
                f"{setting}: no class is called {name!r}{did_you_mean(name, names)}; there are {known}"
            )
