"""What a mask and a score are computed with, as one hash each: the rule, once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from batchseg.labels.label_map import LabelMap
from batchseg.labels.reading import Reading
from batchseg.metrics.measures import Measures
from batchseg.results.verdict import MEASURED
from batchseg.segmentors.combined.ensemble import AnyCheckpoint


def mask_fingerprint(
    checkpoint: AnyCheckpoint, label_map: LabelMap, precision: str, altering: Sequence[str]
) -> str:
    """Of the model and of every setting that changes a mask.

    Args:
        precision: as asked for, not as resolved: a night on another machine continues the same results.
        altering: how pictures are read and looked at, where that is not as by default.
    """
    return _digest([checkpoint.fingerprint, label_map.mask_fingerprint, precision, *altering])


def score_fingerprint(reading: Reading, measures: Measures | None = None) -> str:
    """Of how truths are read, and of what is measured beside the confusion matrix."""
    return _digest([reading.fingerprint, *([] if measures is None else [_canonical(measures.facts)])])


def without_truth_fingerprint(measures: Measures | None) -> str | None:
    """Of what is measured of masks without a truth; None: nothing."""
    facts = None if measures is None else measures.facts_without_truth
    return None if facts is None else f"{MEASURED}{_digest([_canonical(facts)])}"


def earlier_fingerprints(
    checkpoint: AnyCheckpoint, label_map: LabelMap, precision: str, altering: Sequence[str]
) -> list[str]:
    """What `mask_fingerprint` was in results folders of earlier versions, which are carried on.

    Of batchseg 0.1, which had one fingerprint for masks and scores, and of the versions after it, in which a
    mask's fingerprint covered the names and colours of the classes.
    """
    earlier = (label_map.single_fingerprint, label_map.drawn_fingerprint)
    return [_digest([checkpoint.fingerprint, each, precision, *altering]) for each in earlier]


def existing_fingerprint(reading: Reading) -> str:
    """Of how existing masks are read, in place of a model."""
    return f"masks-{_digest([reading.fingerprint])}"


def decided_fingerprint(mask: str, label_map: LabelMap, deciding: Sequence[str]) -> str:
    """Of masks that were decided again.

    Args:
        mask: fingerprint of the masks that the probabilities lie beside.
        deciding: the settings that they were decided by.
    """
    return _digest(["decided", mask, label_map.mask_fingerprint, *deciding])


def _canonical(facts: Mapping[str, Any]) -> str:
    return json.dumps(facts, sort_keys=True)


def _digest(facts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
