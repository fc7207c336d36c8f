"""A configured model, opened but not loaded: its checkpoint, its label map, and their keys."""

from __future__ import annotations

from dataclasses import dataclass, replace

from batchseg.config.run import RunConfig
from batchseg.config.source import ImageReading
from batchseg.inspect.preflight import choose_bands, choose_labels, refuse_mirrored_sides, refuse_small_tile
from batchseg.inspect.prompts import refuse_more_classes, refuse_other_prompts
from batchseg.labels.label_map import LabelMap
from batchseg.pipeline.fingerprints import earlier_fingerprints, mask_fingerprint
from batchseg.segmentors.base import Checkpoint, Normaliser, PixelRange, Resizing, prompting_of
from batchseg.segmentors.combined.decision import Decision, Keeping, decision_of
from batchseg.segmentors.combined.ensemble import AnyCheckpoint, members_of, resizings_of
from batchseg.segmentors.registry import open_checkpoint
from batchseg.source.folder import Folder
from batchseg.source.manifest import Manifest
from batchseg.storage.location import Location


@dataclass(frozen=True)
class OpenedModel:
    """The checkpoint, and the label map it is run with.

    Attributes:
        reading: how the pixels of its images are read.
        fingerprint: of both, and of every setting that changes a mask.
        notes: how its own label map reads truths; none where another label map is given.
        quantised: of each member the folder of the network that is used in place of its own, if there is one;
            empty: none is.
        renamed: the fingerprints that rows of earlier versions bear for this model, to that of today.
    """

    name: str
    checkpoint: AnyCheckpoint
    label_map: LabelMap
    reading: ImageReading
    fingerprint: str
    renamed: dict[str, str]
    decision: Decision
    notes: tuple[str, ...] = ()
    quantised: tuple[Location | None, ...] = ()

    @property
    def members(self) -> tuple[Checkpoint, ...]:
        """The models that decide together, most often one."""
        return members_of(self.checkpoint)

    @property
    def expected(self) -> PixelRange | None:
        """The range of pixels that the model was trained on, where it is known."""
        return self.checkpoint.pixel_range if isinstance(self.checkpoint, Normaliser) else None

    @property
    def resizings(self) -> tuple[Resizing, ...]:
        """How its members bring pictures to the size of their input."""
        return resizings_of(self.checkpoint)

    def refuse_other_prompts(self, source: Folder | Manifest) -> None:
        """Raises ConfigError where the source has prompts that the model does not take, or the reverse."""
        mode = prompting_of(self.checkpoint)
        refuse_other_prompts(source, mode, self.name)
        refuse_more_classes(self.label_map, mode, self.name)

    @classmethod
    def open(cls, config: RunConfig) -> OpenedModel:
        """Raises ModelError, LabelMapError, and ConfigError where the source's bands are not the model's."""
        checkpoint = open_checkpoint(config.segmentor, config.labels)
        reading = choose_bands(config.source, checkpoint)
        label_map = choose_labels(config.labels, checkpoint, config.merge)
        tiling = [] if config.tiling is None else config.tiling.altering
        altering = [*reading.altering, *tiling, *config.views.altering]
        facts = (checkpoint, label_map, config.segmentor.mask_precision, altering)
        refuse_small_tile(config.tiling, checkpoint)
        refuse_mirrored_sides(config.views, label_map)
        mask = mask_fingerprint(*facts)
        # those of a prompted model are about its prompts
        notes = checkpoint.notes if config.labels is None or prompting_of(checkpoint) else ()
        renamed = dict.fromkeys(earlier_fingerprints(*facts), mask)
        decision = decision_of(config.segmentor, checkpoint, label_map)
        if config.output.probabilities is not None:
            keeping = Keeping(config.output.probabilities, label_map.names)
            decision = replace(decision, keeping=keeping)
        return cls(config.segmentor.name, checkpoint, label_map, reading, mask, renamed, decision, notes)
