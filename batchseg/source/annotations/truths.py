"""Annotations as the truths of a folder of images."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from batchseg.images.annotation import Annotation
from batchseg.source.annotations.found import AnnotatedImage, FoundAnnotations, problem_of
from batchseg.source.annotations.matching import Matching
from batchseg.source.annotations.opened import open_annotations
from batchseg.source.annotations.spool import SPOOL_FILE, AnnotationFacts, Spool
from batchseg.source.truths import NO_TRUTH, Truth
from batchseg.storage.location import Location, output_errors
from batchseg.storage.versions import digest

_NAMED = 3


@dataclass
class _Listing:
    """One listing: what is annotated, on which image, and what of it was used."""

    found: FoundAnnotations
    groups: list[list[AnnotatedImage]]
    matching: Matching
    spool: Spool
    classes: dict[str, None] = field(default_factory=dict)
    blank: int = 0


class AnnotatedTruths:
    """The annotations of a file, held against the images of a folder.

    Args:
        place: of the file.
        root: of the images, with which their paths begin.
        stem: how the stem of an image changes to that of the image that was annotated.
        is_partial: whether annotated images need not be among those that are listed.

    Attributes:
        names: some of the images that the last listing found annotated.
        notes: what the last listing found to say of the file as such.
    """

    def __init__(
        self, place: Location, root: Location, stem: Callable[[str], str], *, is_partial: bool
    ) -> None:
        self.place, self.root, self.stem, self.is_partial = place, root, stem, is_partial
        self.names: list[str] = []
        self.notes: list[str] = []
        self._listing: _Listing | None = None

    @contextmanager
    def opened(self, images: Iterable[tuple[str, Sequence[str]]], work: Location) -> Iterator[None]:
        """Within it `of` answers; after it the annotations lie in `work`, where workers read them.

        Args:
            images: all of the source, as the arguments of `of`.

        Raises SourceError where the file is none that is read, and OutputError.
        """
        with open_annotations(self.place) as found:
            groups = _grouped(found.images)
            names = [group[0].name for group in groups]
            self.names, self.notes = names[:_NAMED], found.notes
            matching = Matching(names)
            root = self.root.path.strip("/")
            for below, files in images:
                for name in files:
                    stem = self.stem(os.path.splitext(name)[0])
                    matching.see(below + name, f"{root}/{below}{stem}")
            matching.settle()
            with output_errors(work):
                self._listing = _Listing(found, groups, matching, Spool(work / SPOOL_FILE))
            try:
                yield
            except BaseException:
                self._listing.spool.close()
                raise
            with output_errors(work):
                self._listing.spool.close(self._facts(self._listing))
            self._listing = None

    def of(self, below: str, names: Sequence[str]) -> list[Truth]:
        """The truth of each image of one folder."""
        assert self._listing is not None
        listing, truths = self._listing, list[Truth]()
        for name in names:
            place = listing.matching.of_image.get(below + name)
            truths.append(NO_TRUTH if place is None else self._truth(listing, listing.groups[place]))
        return truths

    def _truth(self, listing: _Listing, group: list[AnnotatedImage]) -> Truth:
        annotation = _only(group)
        data = annotation.to_bytes()
        listing.classes.update(dict.fromkeys(name for name in annotation.names if name is not None))
        listing.blank += annotation.problem is None and annotation.picture is None and not annotation.areas
        with output_errors(listing.spool.place.parent):
            return listing.spool.add(data), digest(data)

    def _facts(self, listing: _Listing) -> AnnotationFacts:
        missing = (
            None if self.is_partial else [listing.matching.names[at] for at in listing.matching.unmatched]
        )
        return AnnotationFacts(
            path=str(self.place),
            classes=list(listing.classes),
            notes=[f"{self.place}: {sentence}" for sentence in self._notes(listing, missing)],
            unmatched=None if missing is None else len(missing),
            examples=(missing or [])[:_NAMED],
        )

    def _notes(self, listing: _Listing, missing: Sequence[str] | None) -> Iterator[str]:
        matching, names = listing.matching, listing.matching.names
        yield from listing.found.notes
        if listing.found.left_out:
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in listing.found.left_out.most_common())
            yield f"left out: {kinds}"
        if missing:
            yield f"{_images(len(missing))} not among those of the source, such as {missing[0]}"
        if matching.unclear:
            which = names[matching.unclear[0]]
            yield f"{_images(len(matching.unclear))} left out, for several of the source fit, such as {which}"
        if matching.by_end:
            name, claim = names[matching.by_end[0]], matching.claims[matching.by_end[0]]
            yield (
                f"{_images(len(matching.by_end))} told by the end of the path alone, such as {name}, which "
                f"is taken for {claim.image_id}"
            )
        if listing.blank:
            yield f"{_images(listing.blank)} without any area, and all pixels count as annotated by nobody"


def _grouped(images: Sequence[AnnotatedImage]) -> list[list[AnnotatedImage]]:
    """By name: a file should name an image once."""
    groups: dict[str, list[AnnotatedImage]] = defaultdict(list)
    for image in images:
        groups[image.name].append(image)
    return list(groups.values())


def _only(group: list[AnnotatedImage]) -> Annotation:
    annotation = group[0].read()
    if any(other.read() != annotation for other in group[1:]):
        return problem_of(
            f"the file of the annotations has {group[0].name} {len(group)} times, with different annotations"
        )
    return annotation


def _images(count: int) -> str:
    return f"{count:,} annotated images are" if count > 1 else "1 annotated image is"
