"""Places: the settings that name a file, a folder or a cluster. They are recorded, so they hold no secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import unquote_plus

from pydantic import AfterValidator, Field

WHERE_TO_PUT_THEM = (
    "put them in the environment (for S3: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN) "
    "or give the machine a role"
)
_LOCAL = ("file",)  # whatever stands in such a URI is the name of a file
_KEY_ALONE = ("s3", "http", "https")  # here a user's name without a password is a key or a token
_ANONYMOUS = "anonymous"

# The user part of a URI ends at an @ before the first slash. A secret may hold slashes that nobody escaped:
# then a colon with no port behind it gives it away.
_USER = re.compile(r"[^/?#]*@")
_USER_WITH_SLASHES = re.compile(r"(?!\[)[^/?#@:]*:(?!\d*([/?#]|$)).*@")
_S3_USER_WITH_SLASHES = re.compile(r"[^/?#@:]*:.*@")  # a bucket has no port
_QUESTION = re.compile(r"[?&;]")
_SECRET = re.compile(
    r"(.*_)?(access_key(_id)?|secret|secret_(access_)?key|(account|api|private|shared|sas)_?key"
    r"|(access|session|security|auth|sas|bearer|refresh)_?token|passw(or)?d|pwd|credentials?|signature)"
    r"|sig|token"
)


class SecretGivenError(ValueError):
    """A setting holds a secret: what was given must not be repeated."""


_USER_IN_TEXT = re.compile(r"(\w:/{1,2})[^\s@'\"]*:[^\s@'\"]*@")
_KEY_IN_TEXT = re.compile(r"((?:secret|access|session|account)_\w*(?:key|token)=)[^&\s'\"]+", re.IGNORECASE)


def has_credentials(uri: str) -> bool:
    """Whether a URI holds a password, a key or a token: before its host or among its options."""
    return without_credentials(uri) != uri


def without_credentials(uri: str) -> str:
    """The same URI without its user part and without those options that are secrets."""
    scheme, mark, rest = uri.partition("://")
    if not mark or scheme.lower() in _LOCAL:
        return uri
    rest = _without_user(scheme.lower(), rest)
    path, question, query = rest.partition("?")
    if question:
        kept = [option for option in _QUESTION.split(query) if not _is_secret(option)]
        if len(kept) < len(_QUESTION.split(query)):
            rest = path + ("?" + "&".join(kept) if kept else "")
    return f"{scheme}://{rest}"


def without_secrets(text: str) -> str:
    """A sentence, without the credentials of what may be a URI in it."""
    return _KEY_IN_TEXT.sub(r"\1", _USER_IN_TEXT.sub(r"\1", text))


def redacted(value: Any) -> Any:
    """A value of a configuration, without the credentials of the URIs in it."""
    if isinstance(value, str):
        return without_credentials(value)
    if isinstance(value, Mapping):
        return {key: redacted(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = (redacted(item) for item in value)
        return tuple(items) if isinstance(value, tuple) else list(items)
    return value


def refuse_credentials(value: Any) -> Any:
    """The value itself, or a SecretGivenError that does not repeat the secret."""
    if redacted(value) != value:
        raise SecretGivenError(f"must hold no credentials, which would be recorded; {WHERE_TO_PUT_THEM}")
    return value


def refuse_in_address(address: str) -> str:
    """The address of a cluster itself, or a SecretGivenError that does not repeat the secret."""
    if has_credentials(address if "://" in address else f"ray://{address}"):
        raise SecretGivenError(
            "must hold no user and password, which would be recorded; give the host and port alone, and let "
            "RAY_AUTH_MODE and RAY_AUTH_TOKEN carry a token"
        )
    return address


def _without_user(scheme: str, rest: str) -> str:
    if found := _USER.match(rest):
        user, colon, password = found[0][:-1].partition(":")
        is_key = bool(colon and password) or (scheme in _KEY_ALONE and user not in ("", _ANONYMOUS))
        return rest[found.end() :] if is_key else rest
    found = (_S3_USER_WITH_SLASHES if scheme == "s3" else _USER_WITH_SLASHES).match(rest)
    return rest[found.end() :] if found else rest


def _is_secret(option: str) -> bool:
    name, _, value = option.partition("=")
    plain = unquote_plus(name).strip().lower().replace("-", "_")
    return bool(value) and _SECRET.fullmatch(plain) is not None


Place = Annotated[str, Field(min_length=1), AfterValidator(refuse_credentials)]
Address = Annotated[str, AfterValidator(refuse_in_address)]
