"""Configuration from YAML, with overrides, and every problem named with its place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from batchseg.config.base import (
    CLASS_RULE,
    FAILED_RULE,
    JOB_NAME_RULE,
    SUFFIX_RULE,
    WHICH_RULE,
    Model,
)
from batchseg.config.kinds import BY_NAME, ENSEMBLE
from batchseg.config.places import SecretGivenError, redacted, without_credentials
from batchseg.config.run import RunConfig
from batchseg.config.segmentor import AnySegmentor
from batchseg.config.strict_yaml import load_yaml
from batchseg.config.suggest import likely_key
from batchseg.errors import ConfigError

Config = TypeVar("Config", bound=Model)


def load_config(
    path: str | Path | None = None,
    settings: Iterable[str] = (),
    overrides: Mapping[str, Any] | None = None,
) -> RunConfig:
    """Read a RunConfig; see `read_config`."""
    return read_config(RunConfig, path, settings, overrides)


def read_config(
    kind: type[Config],
    path: str | Path | None = None,
    settings: Iterable[str] = (),
    overrides: Mapping[str, Any] | None = None,
) -> Config:
    """Read a configuration of any kind.

    Args:
        path: YAML file; None starts from nothing.
        settings: `key.sub=value` strings (or one alone), the value in YAML; they have the last word.
        overrides: nested values laid over the file's, such as `{"output": {"path": "results"}}`.

    Raises:
        ConfigError: the file cannot be read, or a key or a value is wrong; every problem is named.
    """
    data = read_yaml(path) if path is not None else {}
    data = merge(data, overrides or {})
    for setting in (settings,) if isinstance(settings, str) else settings:
        data = merge(data, _nested(setting))
    return validate(kind, data, str(path) if path is not None else "the configuration")


def validate(kind: type[Config], data: Mapping[str, Any], origin: str) -> Config:
    """Validate values against a configuration model. Raises ConfigError that names every problem."""
    try:
        return kind.model_validate(data)
    except ValidationError as exc:
        problems = "\n".join(
            f"  {_place(error['loc'])}: {_sentence(error)}{_advice(kind, error)}" for error in exc.errors()
        )
        raise ConfigError(f"{origin} does not hold together:\n{problems}") from exc


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML file that holds a mapping. Raises ConfigError."""
    try:
        data = load_yaml(Path(path).read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
    except ValueError as exc:
        raise ConfigError(f"{path}: not valid YAML: {exc}") from exc
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: holds {type(data).__name__}, not a mapping of settings")
    return data


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay nested values over others; a plain value below a mapping counts as its main key."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(value, Mapping):
            merged[key] = merge(_beneath(key, old, value), value)
        elif value is True and isinstance(old, Mapping):
            continue  # `--overlays` switches on what a file says more about
        else:
            merged[key] = value
    return merged


def config_differences(old: Any, new: Any, place: str = "") -> list[tuple[str, Any, Any]]:
    """Where two configurations differ: key, value before, value now."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [(f"{place}.{key}".lstrip("."), key) for key in sorted({*old, *new})]
        return [found for at, key in keys for found in config_differences(old.get(key), new.get(key), at)]
    return [] if old == new else [(place, old, new)]


def _beneath(key: str, old: Any, value: Mapping[str, Any]) -> Mapping[str, Any]:
    main = _MAIN_KEY.get(key, "")
    old = {main: old} if main and isinstance(old, str | int) and not isinstance(old, bool) else old
    if not isinstance(old, Mapping):
        return {}
    if main not in value and not (key == "segmentor" and "members" in value):
        return old
    # another model or source may be of another kind, which its name tells anew
    gone = {"kind", main, *(_OF_ENSEMBLES if "members" in old or "members" in value else ())}
    return {name: item for name, item in old.items() if name not in gone}


_OF_ENSEMBLES = ("members", "weights", "merge")
_MAIN_KEY = {"source": "path", "output": "path", "segmentor": "model", "truth": "path", "tiling": "size"}


def _nested(setting: str) -> dict[str, Any]:
    path, equals, text = setting.partition("=")
    if not equals or not path:
        raise ConfigError(
            f"--set {without_credentials(setting)}: must be key=value, such as segmentor.batch_size=16"
        )
    try:
        value: Any = load_yaml(text)
    except ValueError as exc:
        raise ConfigError(
            f"--set {path}: the value is not valid YAML: {exc}; text is quoted as in {path}='\"...\"'"
        ) from exc
    for key in reversed(path.split(".")):
        value = {key: value}
    nested: dict[str, Any] = value
    return nested


def _place(location: tuple[int | str, ...]) -> str:
    """`source.folder.path` -> `source.path`: the tag of a union is no key of the file."""
    parts = [str(part) for part in location if not str(part).startswith("(")]
    # alone `threshold` is the setting of that name, of a kind that a package brings
    if len(parts) > 1 and parts[1] in _TAGS.get(parts[0], ()) and parts != ["segmentor", "threshold"]:
        del parts[1]
    if parts[:2] == ["segmentor", "members"] and len(parts) > 3 and parts[3] in _SEGMENTORS:
        del parts[3]
    return ".".join(parts) or "(top level)"


_SEGMENTORS = frozenset((*BY_NAME, ENSEMBLE))
_TAGS = {
    "source": ("folder", "manifest"),
    "segmentor": _SEGMENTORS,
    "model": ("name", "new"),
    "validation": ("share", "globs"),
    "merge": ("groups", "file"),
}


def _advice(kind: type[Model], error: Any) -> str:
    """What was probably meant, or what gives it on the command line."""
    if error["type"] == "extra_forbidden":
        return likely_key(kind, error["loc"]) if _sentence(error) == _CLEARER["extra_forbidden"] else ""
    given = _GIVEN_BY.get(_place(error["loc"])) if error["type"] == "missing" else None
    return f"; give {given}" if given else ""


_GIVEN_BY = {
    "source": "the argument SOURCE",
    "source.path": "the argument SOURCE",
    "masks": "the argument MASKS",
    "truth": "the argument TRUTH",
    "segmentor": "--model",
    "segmentor.model": "--model",
    "model": "--model",
    "output": "--output",
    "output.path": "--output",
    "labels": "--labels",
    "from_labels": "--from",
    "to_labels": "--to",
    "results": "the argument RESULTS",
    "old": "the argument OLD",
    "new": "the argument NEW",
}


def _sentence(error: Any) -> str:
    kind, given = error["type"], error["input"]
    if kind == "extra_forbidden" and error["loc"][:2] == ("source", "manifest"):
        return "not a setting of a manifest, which names its truth and its images in its own columns"
    if kind == "extra_forbidden" and error["loc"][-1] in _OF_SOME and _SEGMENTORS & {*error["loc"]}:
        if error["loc"][-2:-1] == ("ensemble",):
            return "is a setting of one model, so give it to a member"
        return f"is a setting of {_OF_SOME[error['loc'][-1]]}"
    if kind in ("extra_forbidden", "missing"):
        return _CLEARER[kind]
    message = _CLEARER.get(kind) or _CLEARER.get(error.get("ctx", {}).get("pattern")) or str(error["msg"])
    hidden = isinstance(given, dict | list | tuple) or isinstance(
        error.get("ctx", {}).get("error"), SecretGivenError
    )
    shown = "" if hidden else f" (given: {redacted(given)!r})"
    return message.removeprefix("Value error, ") + shown


_OF_NETWORKS = "the models of transformers, torchvision and segmentation_models_pytorch alone"
_OF_SCORES = "models that give scores, and the threshold segmentor gives none"
_OF_SOME = {
    "classes": "the models of transformers, of segmentation_models_pytorch and of ONNX alone",
    "prompting": "the models of transformers alone",
    "compile": _OF_NETWORKS,
    "scaled_decode": _OF_NETWORKS,
    "none_below": _OF_SCORES,
    "threshold": _OF_SCORES,
}

# by type of error, or by the pattern that was not met
_CLEARER = {
    "extra_forbidden": "unknown key",
    "missing": "is required",
    "model_type": "must be a mapping of settings",
    "model_attributes_type": "must be a name or a mapping of settings",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "string_too_short": "must not be empty",
    SUFFIX_RULE: "must be FROM=TO, such as _image=_label",
    FAILED_RULE: "must be a number of images or a percentage, such as 5 or 0.5%",
    CLASS_RULE: "must be module:Class or path/to/file.py:Class",
    WHICH_RULE: "must be all, worst N or sample N, such as worst 50",
    JOB_NAME_RULE: "must be of letters, digits, and . _ -",
}


_QUIET = ConfigDict(hide_input_in_errors=True)


def validate_segmentor(data: Any) -> AnySegmentor:
    """The configuration of one segmentor. Raises ConfigError."""
    try:
        return TypeAdapter[AnySegmentor](AnySegmentor, config=_QUIET).validate_python(data)
    except ValidationError as exc:
        kind = data.get("kind") if isinstance(data, Mapping) else None
        problems = "; ".join(
            ": ".join([*map(str, _below(kind, error["loc"])), _sentence(error)]) for error in exc.errors()
        )
        raise ConfigError(f"the segmentor {redacted(data)!r} does not hold together: {problems}") from exc


def _below(kind: Any, location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """The place within a segmentor: errors of our kinds begin with the kind, and those of packages do not."""
    return location[1:] if location[:1] == (kind,) else location
