"""What the ledger keeps of a committed row: 50 bytes, in which it can be told from any other."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchseg.results.masks import below_masks
from batchseg.schema import Status, TruthStatus
from batchseg.source.prompts import image_name
from batchseg.storage.embedded import is_embedded
from batchseg.storage.keys import Keys, keys

READ = (
    "id",
    "uri",
    "mask",
    "source_version",
    "fingerprint",
    "status",
    "truth_status",
    "truth_version",
    "score_fingerprint",
    "acknowledged",
    "prompt",
)
# what the keys need of a row: keys of texts, numbers of fingerprints, the place in TruthStatus, and whether
# its fault is acknowledged and whether it was the model's
ROW = np.dtype(
    [
        ("id", np.int64),
        ("mask", np.int64),
        ("place", np.int64),
        ("version", np.int64),
        ("truth_version", np.int64),
        ("model", np.int32),
        ("score", np.int32),
        ("ok", np.bool_),
        ("truth", np.uint8),
        ("acknowledged", np.bool_),
        ("by_model", np.bool_),
    ]
)
# another model may read what was too long for this one
_BY_MODEL = pa.array([Status.MODEL_FAILED.value, Status.BAD_PROMPT.value])
TRUTHS = [None, *(status.value for status in TruthStatus)]


def encode_rows(images: pa.Table, names: dict[str | None, int]) -> NDArray[np.void]:
    """Rows of `images` as ROW, [N]; fingerprints that `names` does not number yet are added to it."""
    rows = np.empty(len(images), ROW)
    rows["id"], rows["mask"] = keys(images["id"]), keys(below_masks(images["mask"]))
    rows["place"] = place_keys(images)
    rows["version"] = keys(images["source_version"])
    rows["truth_version"] = keys(images["truth_version"])
    rows["model"] = _numbers(images["fingerprint"], names)
    rows["score"] = _numbers(images["score_fingerprint"], names)
    rows["ok"] = pc.equal(images["status"], Status.OK.value).to_numpy()
    rows["acknowledged"] = images["acknowledged"].is_valid().to_numpy()
    rows["by_model"] = pc.is_in(images["status"], _BY_MODEL).to_numpy()
    truths = pc.index_in(images["truth_status"], pa.array(TRUTHS, pa.string()))
    rows["truth"] = pc.fill_null(truths, 0).to_numpy()
    return rows


def place_keys(images: pa.Table) -> Keys:
    """Where each image lies, as far as its id does not say so: under the same id there may be another file.

    A source as a whole may move. Bytes in a manifest are told apart by their digest.
    """
    names, uris = images["id"].to_numpy(), images["uri"].to_numpy()
    if "prompt" in images.column_names and images["prompt"].null_count < len(images):
        names = map(image_name, names, images["prompt"].to_numpy())
    pairs = zip(names, uris, strict=True)
    return keys([None if uri.endswith(name) or is_embedded(uri) else uri for name, uri in pairs])


def _numbers(fingerprints: pa.ChunkedArray, names: dict[str | None, int]) -> NDArray[np.int32]:
    found = fingerprints.unique()
    codes = [names.setdefault(name, len(names)) for name in found.to_pylist()]
    places = pc.index_in(fingerprints, found).to_numpy()
    numbers: NDArray[np.int32] = np.array(codes, np.int32)[places]
    return numbers
