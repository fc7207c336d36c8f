"""A run over one part of a training's images, and a word on images that the model has seen."""

from __future__ import annotations

from batchseg.config.run import RunConfig
from batchseg.config.segmentor import HuggingFaceSegmentor
from batchseg.errors import ConfigError
from batchseg.source.plan import Listing
from batchseg.source.split import SPLIT_FILE, Split
from batchseg.storage.location import Location, is_uri, locate


def take_split(config: RunConfig, listing: Listing, work: Location) -> Listing:
    """The images of `config.split`, or all; either way with what the model's training made of the source.

    Raises:
        ConfigError: a part is asked for, and no file tells who is in it.
        SourceError: the file cannot be read, or the source has none of the part.
    """
    places = _places(config)
    if config.split is None:
        known = [Split.read(place) for place in places if place.exists()]
        if known:
            split = Split.joined(known)
            # the same ids may well be other images; the same places are not
            if split.column(listing) == "uri":
                listing.split = split.count(listing, "uri")
        return listing
    place = places[0] if len(places) == 1 else None
    if place is None or not place.exists():
        raise ConfigError(
            f"split {config.split}: there is no {place or SPLIT_FILE} that says which images these are; a "
            "model of `batchseg train` brings it along, and split_file may name that of another training"
        )
    split = Split.read(place)
    chosen = split.choose(listing, config.split, work / "split.arrow")
    chosen.split = split.count(listing, split.column(listing) or "id")
    return chosen


def _places(config: RunConfig) -> list[Location]:
    """The file that is named, or those that may lie with the models."""
    if config.split_file is not None:
        return [locate(config.split_file)]
    models = [model.model for model in config.segmentor.models if isinstance(model, HuggingFaceSegmentor)]
    folders = [locate(model) for model in models]
    return [
        folder / SPLIT_FILE
        for model, folder in zip(models, folders, strict=True)
        if is_uri(model) or folder.is_folder()
    ]
