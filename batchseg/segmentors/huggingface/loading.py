"""The network of a checkpoint, whole, and the number format that it computes in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from batchseg.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

    from batchseg.segmentors.huggingface.files import CheckpointPlace


def load_network(kind: Any, folder: Path, location: CheckpointPlace) -> Any:
    """A network of transformers in float32. Raises ModelError where a weight is missing.

    Args:
        kind: the class of the network, or one of the library's Auto classes.
    """
    import transformers

    transformers.utils.logging.disable_progress_bar()  # one bar an actor would only litter the log
    try:
        network, info = kind.from_pretrained(
            folder,
            dtype=torch.float32,  # the default is the file's: half precision is autocast's choice, not its
            use_safetensors=True,
            output_loading_info=True,
            trust_remote_code=location.trust_remote_code,
            local_files_only=True,
        )
    except Exception as exc:  # the library's own code may fail in any way
        raise ModelError(f"cannot load {location.name}: {type(exc).__name__}: {exc}") from exc
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ModelError(
            f"{location.name} lacks {len(missing)} of the weights of {type(network).__name__}, {missing[0]} "
            "among them: it was not trained to segment, or not saved whole"
        )
    return network
