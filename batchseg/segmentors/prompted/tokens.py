"""How long a text is for a checkpoint's text model, by its tokenizer alone, without torch."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from batchseg.errors import ModelError

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


def count_tokens(folder: Path, text: str) -> int:
    """How many tokens a text has, its beginning and its end among them. Raises ModelError."""
    return len(_tokenizer(folder)(text))


@lru_cache(maxsize=4)
def _tokenizer(folder: Path) -> Any:
    """A function from a text to its token ids."""
    try:
        if not (folder / _TOKENIZER).is_file():
            from transformers import AutoTokenizer  # loads torch; it alone joins older files

            older = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            return lambda text: older(text, verbose=False)["input_ids"]
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(folder / _TOKENIZER))
    except Exception as exc:  # the libraries' own code may fail in any way
        raise ModelError(f"cannot load the tokenizer of {folder}: {exc}") from exc
    tokenizer.no_truncation()  # which would hide that a text is too long
    tokenizer.no_padding()
    return lambda text: tokenizer.encode(text).ids
