"""Objects as polygons where they lie: on the map by the image's georeference, or in its pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from batchseg.errors import ConfigError, OutputError
from batchseg.exports.coverage import simplified, without_gaps
from batchseg.exports.labelled import ExportJob, Labelled
from batchseg.images.outlines import Geometries, load_shapely, outlines, placed

PIXELS = "pixels"


class Placing:
    """Makes polygons of one CRS, which is that of the first image unless `crs` names one.

    Args:
        job: whose `simplify` and `crs` are followed.

    Raises ConfigError where a package is not installed, or nobody knows the CRS.
    """

    def __init__(self, job: ExportJob) -> None:
        self._shapely, self._pyproj = load_shapely(), _load_pyproj()
        self._tolerance = job.config.simplify
        self._wanted = self._known(job.config.crs) if job.config.crs else None
        self._first: tuple[str, Any] | None = None  # an image and where it lies
        self._transformer: Any = None

    @property
    def crs(self) -> Any:
        """pyproj's CRS, or None for pixels and coordinates of no known CRS; of what was placed so far."""
        if self._wanted is not None:
            return self._wanted
        return None if self._first is None or self.in_pixels else self._first[1]

    @property
    def in_pixels(self) -> bool:
        """Whether what was placed so far lies in the pixels of its images."""
        return self._wanted is None and (self._first is None or self._first[1] == PIXELS)

    def polygons(self, picture: Labelled) -> Geometries:
        """The outline of each object, the outer ring counterclockwise where y goes up.

        Raises OutputError where the image does not lie in the same CRS as those before it.
        """
        self._settle(picture)
        numbers_HW, count = picture.objects.numbers_HW, picture.objects.count
        if self._tolerance is not None:
            numbers_HW = without_gaps(numbers_HW, count)
        # lines that are bent or thinned out need a point wherever neighbours meet
        shared = self._tolerance is not None or self._transformer is not None
        found = outlines(numbers_HW, coverage=shared)
        if picture.georeference is not None and (affine := picture.georeference.transform) is not None:
            found = placed(found, tuple(affine)[:6])
        if self._transformer is not None:
            found = self._shapely.transform(found, self._transformer.transform, interleaved=False)
            if not np.isfinite(self._shapely.get_coordinates(found)).all():
                raise OutputError(f"{picture.id} lies outside of what {_name(self._wanted)} covers")
        if self._tolerance is not None:
            found = simplified(found, self._tolerance)[:count]
        oriented: Geometries = self._shapely.orient_polygons(found)
        return oriented

    def _settle(self, picture: Labelled) -> None:
        place = self._place(picture)
        if self._wanted is not None:
            if self._first is None or self._first[1] != place:
                self._first, self._transformer = (picture.id, place), self._to_wanted(picture, place)
        elif self._first is None:
            self._first = picture.id, place
        elif self._first[1] != place:
            raise OutputError(
                f"{self._first[0]} lies in {_name(self._first[1])} and {picture.id} in {_name(place)}, but a "
                "file has one CRS; choose images of one with --where, or name one for all with --crs"
            )

    def _place(self, picture: Labelled) -> Any:
        georeference = picture.georeference
        if georeference is None or georeference.transform is None:
            return PIXELS
        return self._pyproj.CRS.from_wkt(georeference.crs.to_wkt()) if georeference.crs else None

    def _to_wanted(self, picture: Labelled, place: Any) -> Any:
        if not _is_crs(place):
            raise OutputError(f"{picture.id} lies in {_name(place)}, which cannot be put into {self._wanted}")
        if place == self._wanted:
            return None
        return self._pyproj.Transformer.from_crs(place, self._wanted, always_xy=True)

    def _known(self, name: str) -> Any:
        try:
            return self._pyproj.CRS.from_user_input(name)
        except self._pyproj.exceptions.CRSError as exc:
            raise ConfigError(f"crs: {name!r} is no known CRS; name it such as EPSG:4326") from exc


def _is_crs(place: Any) -> bool:
    return place is not None and place != PIXELS


def _name(place: Any) -> str:
    if place is None:
        return "a CRS that its file does not name"
    if place == PIXELS:
        return "no CRS but pixels"
    authority = place.to_authority()
    return ":".join(authority) if authority else str(place.name)


def _load_pyproj() -> Any:
    try:
        import pyproj
    except ImportError as exc:
        raise ConfigError("polygons need the package pyproj: pip install 'batchseg[export]'") from exc
    return pyproj
