"""A configured model, opened but not loaded: its checkpoint, its label map, and their keys."""

from __future__ import annotations

from dataclasses import dataclass

from batchseg.config.run import RunConfig
from batchseg.inspect.preflight import choose_labels
from batchseg.labels.label_map import LabelMap
from batchseg.pipeline.fingerprints import mask_fingerprint, score_fingerprint, single_fingerprint
from batchseg.results.ledger import Key
from batchseg.segmentors.base import Checkpoint
from batchseg.segmentors.registry import open_checkpoint


@dataclass(frozen=True)
class OpenedModel:
    """The checkpoint, the label map it is run with, and the keys of both.

    Attributes:
        notes: how its own label map reads truths; none where another label map is given.
        renamed: the fingerprint that rows of batchseg 0.1 bear for this model, to that of today.
    """

    name: str
    checkpoint: Checkpoint
    label_map: LabelMap
    key: Key
    renamed: dict[str, str]
    notes: tuple[str, ...] = ()

    @classmethod
    def open(cls, config: RunConfig) -> OpenedModel:
        """Raises ModelError and LabelMapError."""
        checkpoint = open_checkpoint(config.segmentor)
        label_map = choose_labels(config.labels, checkpoint)
        facts = (checkpoint, label_map, config.segmentor.precision)
        key = Key(mask_fingerprint(*facts), score_fingerprint(label_map))
        name = getattr(config.segmentor, "model", config.segmentor.kind)
        notes = checkpoint.notes if config.labels is None else ()
        return cls(name, checkpoint, label_map, key, {single_fingerprint(*facts): key.mask}, notes)
