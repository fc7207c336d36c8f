"""What the language model makes of the prompts of a training, computed once before the first step.

The states of all different prompts lie in one file, float16, which workers map into memory: it takes disk of
the length of the file (two bytes for each token and each unit of the model's width), and memory only for
what is in use.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from batchseg.errors import SourceError
from batchseg.segmentors.huggingface.checkpoint import HuggingFaceCheckpoint
from batchseg.segmentors.llm.names import reads_prompts
from batchseg.segmentors.llm.token_states import PromptReader
from batchseg.source.folder import Folder
from batchseg.source.listing import PROMPT
from batchseg.source.manifest import Manifest
from batchseg.training.rows import Rows

STATES, PLACES, FOLDER = "states.npy", "places.parquet", "prompts"


@dataclass(frozen=True)
class PromptStates:
    """The token states of all prompts.

    Attributes:
        states_TE: float16, of all tokens of all prompts, one prompt after another.
        places: of each prompt its first token and how many it has.
    """

    states_TE: NDArray[np.float16]
    places: dict[str, tuple[int, int]]

    @classmethod
    def of(cls, state: Path) -> PromptStates | None:
        """Those that were written for a training; None where it has no prompts."""
        folder = state / FOLDER
        if not folder.is_dir():
            return None
        table = pq.read_table(folder / PLACES)
        prompts, starts, counts = (table[name].to_pylist() for name in ("prompt", "start", "count"))
        places = dict(zip(prompts, zip(starts, counts, strict=True), strict=True))
        return cls(np.load(folder / STATES, mmap_mode="r"), places)

    def batch(self, prompts: Sequence[str], device: torch.device) -> tuple[Tensor, Tensor]:
        """The states [B, L, E] of some prompts, float32 and padded, and which are no padding [B, L]."""
        places = [self.places[prompt] for prompt in prompts]
        longest = max(count for _, count in places)
        states_BLE = np.zeros((len(places), longest, self.states_TE.shape[1]), np.float32)
        is_word_BL = np.zeros((len(places), longest), bool)
        for row, (start, count) in enumerate(places):
            states_BLE[row, :count] = self.states_TE[start : start + count]
            is_word_BL[row, :count] = True
        return torch.from_numpy(states_BLE).to(device), torch.from_numpy(is_word_BL).to(device)


def write_states(reader: PromptReader | None, rows: Rows, state: Path) -> None:
    """Read all different prompts, and keep their states. Raises ModelError for one that cannot be read.

    Args:
        reader: None: there are no prompts.
    """
    folder = state / FOLDER
    if reader is None or folder.is_dir():  # which a training that goes on has
        return
    used = pa.concat_tables([rows.train, rows.validation])
    different: list[str] = sorted(pc.unique(used[PROMPT.name]).to_pylist())
    tokens = reader.tokens(different)
    counts = np.array([len(ids) for ids in tokens])
    starts = np.cumsum(counts) - counts
    unfinished = folder.with_name(f".{FOLDER}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    width = reader.text.model.config.hidden_size
    states_TE = np.lib.format.open_memmap(unfinished / STATES, "w+", np.float16, (int(counts.sum()), width))
    for place, states_LE in reader.states(tokens):
        states_TE[starts[place] : starts[place] + counts[place]] = states_LE.numpy()
    states_TE.flush()
    columns = {"prompt": different, "start": starts, "count": counts}
    pq.write_table(pa.table(columns), unfinished / PLACES)
    os.replace(unfinished, folder)


def prompt_reader(start: HuggingFaceCheckpoint, source: Folder | Manifest) -> PromptReader | None:
    """What reads the prompts for a model that learns from some; None for one that does not.

    Raises:
        SourceError: the source has no prompts for it, or prompts that it does not take.
        ModelError: its language model cannot be loaded.
    """
    folder = start.location.folder()
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    check_prompts(source, reads_prompts(content))
    return PromptReader.of(folder, content["prompt_layer"]) if reads_prompts(content) else None


def check_prompts(source: Folder | Manifest, with_prompts: bool) -> None:
    """Raises SourceError where a source lacks the prompts that a model learns from, or has some for one that
    does not."""
    path = source.source.path
    if with_prompts and isinstance(source, Folder):
        raise SourceError(
            f"{path}: is a folder, and a model with head prompt learns from prompts: give a manifest with "
            "the columns image, truth and prompt"
        )
    has_prompts = isinstance(source, Manifest) and source.has_prompts
    if with_prompts and not has_prompts:
        raise SourceError(
            f"{path}: has no column `prompt` that says what each truth shows, which a model with head prompt "
            "learns from; --column prompt=NAME says which column it is"
        )
    if has_prompts and not with_prompts:
        raise SourceError(
            f"{path}: has a column `prompt` that says what each truth shows, and this model has no head for "
            "it: train a new one with model.head: prompt, or rename the column"
        )
