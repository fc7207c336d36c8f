"""Shell globs on ids."""

from __future__ import annotations

import fnmatch
import re
from functools import lru_cache


def matches(path: str, globs: tuple[str, ...]) -> bool:
    """Whether a path matches one of the globs: `*` crosses folders, and `**/` may stand for none."""
    pattern = _compiled(globs)
    return pattern is not None and pattern.match(path) is not None


@lru_cache(maxsize=64)
def _compiled(globs: tuple[str, ...]) -> re.Pattern[str] | None:
    variants = {variant for glob in globs for variant in (glob, glob.replace("**/", ""))}
    return re.compile("|".join(map(fnmatch.translate, sorted(variants)))) if variants else None
