"""What a checkpoint's text model reads of a text, by its tokenizer alone, without torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from batchseg.errors import ModelError
from batchseg.segmentors.strangers import hollow_file

_TOKENIZER = "tokenizer.json"
_PARTS = ("vocab.json", "merges.txt")


def require_tokenizer(folder: Path, name: str) -> None:
    """Raises ModelError where a checkpoint has none."""
    whole = (folder / _TOKENIZER).is_file()
    if not whole and not all((folder / part).is_file() for part in _PARTS):
        raise ModelError(
            f"{name} has no {_TOKENIZER}, so nothing tells how to read prompts; add it: "
            f'AutoTokenizer.from_pretrained(BASE).save_pretrained("{name}"), where BASE is the model it came '
            "from"
        )
    if whole and (hollow := hollow_file(folder / _TOKENIZER, f"{name}/{_TOKENIZER}")):
        raise ModelError(hollow)


class Tokens(NamedTuple):
    """How many there are, and how many of them stand for something that the tokenizer knows."""

    total: int
    known: int


def read_tokens(folder: Path, text: str) -> Tokens:
    """The tokens of a text, its beginning and its end among them. Raises ModelError."""
    return _tokenizer(folder)(text)


@lru_cache(maxsize=4)
def _tokenizer(folder: Path) -> Callable[[str], Tokens]:
    try:
        if not (folder / _TOKENIZER).is_file():
            return _older(folder)
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(folder / _TOKENIZER))
    except Exception as exc:  # the libraries' own code may fail in any way
        raise ModelError(f"cannot load the tokenizer of {folder}: {exc}") from exc
    tokenizer.no_truncation()  # which would hide that a text is too long
    tokenizer.no_padding()
    model = json.loads(tokenizer.to_str())["model"]
    unknown = model.get("unk_id", tokenizer.token_to_id(model.get("unk_token") or ""))

    def read(text: str) -> Tokens:
        found = tokenizer.encode(text)
        ids = zip(found.ids, found.special_tokens_mask, strict=True)
        return Tokens(len(found.ids), sum(each != unknown and not added for each, added in ids))

    return read


def _older(folder: Path) -> Callable[[str], Tokens]:
    from transformers import AutoTokenizer  # loads torch; it alone joins older files

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)

    def read(text: str) -> Tokens:
        ids = tokenizer(text, verbose=False)["input_ids"]
        return Tokens(len(ids), len([each for each in ids if each not in tokenizer.all_special_ids]))

    return read
