"""What the ledger answers with: the two keys, and what is committed of the images that are asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.bool_]
Places = NDArray[np.intp]

MEASURED = "measured-"  # what the score's key begins with where there is no truth

# what a row that is only scored anew keeps: all that is known of its mask
KEPT = (
    "source_version",
    "model",
    "fingerprint",
    "height",
    "width",
    "mask",
    "confidence_mean",
    "entropy_mean",
    "entropy_p95",
    "low_confidence_fraction",
    "contested_fraction",
    "presence",
    "segment_s",
)


@dataclass(frozen=True)
class Key:
    """What a run would compute its masks and scores with.

    Attributes:
        mask: fingerprint of the model and of every setting that changes a mask.
        score: fingerprint of how truths are read, and of what is measured beside.
        has_files: whether masks are files below masks/, as they are not where existing ones are scored.
        without_truth: as `score`, of what is measured of masks without a truth, after MEASURED. None:
            nothing is.
    """

    mask: str
    score: str
    has_files: bool = True
    without_truth: str | None = None


@dataclass(frozen=True)
class Verdict:
    """What is committed of some listed images, [N] each.

    Attributes:
        at: each one's row in the ledger, or -1.
        segmented: its mask is there, of this version of the image and of this model.
        scored: so is its score, of this version of the truth; where no truth is meant, there is none.
        failed: there is a row, and it says that the image failed.
        acknowledged: it failed, or its truth did, and neither is tried again until the file changes.
    """

    at: Places
    segmented: Rows
    scored: Rows
    failed: Rows
    acknowledged: Rows
