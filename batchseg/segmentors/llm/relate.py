"""Propose where the classes of one label map go in another: by their names, and by what texts say of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from batchseg.config.arguments import Plain, from_arguments
from batchseg.config.kinds import infer_segmentor
from batchseg.config.labels import MapLabelsConfig
from batchseg.errors import LabelMapError
from batchseg.labels.label_file import load_wording
from batchseg.labels.names import fold_name, is_mere_number, spoken
from batchseg.labels.relation import RelationRow, is_built_in, is_left_over

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from batchseg.segmentors.llm.text import TextModel

RUNNER_UPS = 3
_WIDE = 10_000  # columns: a row is a line
Found = tuple[int, Literal["name", "synonym"]]


@dataclass(frozen=True)
class Worded:
    """The classes of a label map in words.

    Attributes:
        names: as the label map has them.
        synonyms: of each class, other names.
        texts: of each class, what a language model reads.
    """

    names: tuple[str, ...]
    synonyms: tuple[tuple[str, ...], ...]
    texts: tuple[tuple[str, ...], ...]

    @classmethod
    def of_names(cls, names: Sequence[str]) -> Worded:
        """Classes of which nothing else is known."""
        return cls(tuple(names), ((),) * len(names), tuple((spoken(name),) for name in names))

    @classmethod
    def load(cls, name_or_path: str) -> Worded:
        """Of a label map. Raises LabelMapError."""
        wording = load_wording(name_or_path)
        texts = zip(wording.phrases, wording.descriptions, strict=True)
        return cls(
            tuple(own for own, *_ in wording.phrases),
            tuple(tuple(others) for _, *others in wording.phrases),
            tuple((*map(spoken, phrases), *described) for phrases, described in texts),
        )


@dataclass(frozen=True)
class Proposal:
    """Where the classes of one label map go in another.

    Attributes:
        text: the YAML file, for a person to review.
        unmet: classes of the other label map that nothing goes to.
        output: where the file was written; None: nowhere.
    """

    rows: tuple[RelationRow, ...]
    unmet: tuple[str, ...]
    text: str
    output: str | None = None


def map_labels(
    from_labels: MapLabelsConfig | Plain,
    to_labels: Plain | None = None,
    *,
    language_model: Plain | None = None,
    none_below: float | None = None,
    output: Plain | None = None,
) -> Proposal:
    """Propose where each class of a model goes in another label map; nothing is applied before a review.

    Names that are the same come first, then synonyms. With a language model, the others go where names,
    synonyms and descriptions are most alike (cosine), or to none below `none_below`.

    Args:
        from_labels: the whole job; or a label map by name or file, or a model's folder or ONNX file,
            as --from.
        to_labels: a label map by name or file, as --to.

    Raises:
        BatchsegError: a label map or the language model cannot be read, or the output is there already.
    """
    given = {
        "to_labels": to_labels,
        "language_model": language_model,
        "none_below": none_below,
        "output": output,
    }
    config = from_arguments(MapLabelsConfig, ("from_labels", from_labels), given, None, {})
    if config.output is not None and Path(config.output).exists():
        raise LabelMapError(
            f"{config.output}: is there already, and may have been reviewed; choose another --output, or "
            "remove it"
        )
    source, target = _worded(config.from_labels), Worded.load(config.to_labels)
    rows = tuple(propose(source, target, _text_model(config), config.none_below))
    met = {row.target for row in rows}
    left_over = {name for name in target.names if is_left_over(name)}
    unmet = tuple(name for name in target.names if name not in met | left_over)
    text = _as_yaml(config, rows, unmet)
    if config.output is not None:
        Path(config.output).write_text(text, encoding="utf-8")
    return Proposal(rows, unmet, text, config.output)


def propose(source: Worded, target: Worded, model: TextModel | None, none_below: float) -> list[RelationRow]:
    """A row for each class of `source`."""
    known = by_names(source, target)
    cosines_ST = None if model is None else cosines(source, target, model)
    rows = []
    for at, name in enumerate(source.names):
        row: dict[str, Any] = {"source": name, "target": None, "reviewed": False}
        same = known.get(at)
        if cosines_ST is not None and not is_left_over(name):
            row |= row_by_text(cosines_ST[at], target.names, None if same is None else same[0], none_below)
        if same is not None:
            row |= {"target": target.names[same[0]], "by": same[1]}
        rows.append(RelationRow(**row))
    return rows


def row_by_text(
    cosines_T: NDArray[np.float32], names: Sequence[str], known: int | None, none_below: float
) -> dict[str, Any]:
    """Where a class goes by its cosines: those of classes that no word describes are NaN."""
    order = [int(at) for at in (-cosines_T).argsort(kind="stable") if cosines_T[at] == cosines_T[at]]
    if not order:
        return {}
    best = order[0] if known is None or known not in order else known
    others = [at for at in order if at != best][:RUNNER_UPS]
    row = {
        "cosine": round(float(cosines_T[best]), 3),
        "runner_ups": {names[at]: round(float(cosines_T[at]), 3) for at in others},
    }
    if known is None and cosines_T[best] >= none_below:
        return {**row, "target": names[best], "by": "text"}
    if known is None:  # the best is a runner-up of none
        row["runner_ups"] = {names[at]: round(float(cosines_T[at]), 3) for at in order[:RUNNER_UPS]}
    return row


def by_names(source: Worded, target: Worded) -> dict[int, Found]:
    """The class of `target` of each class of `source` that is called alike: by name, then by a synonym.

    Case and separators do not count, nor do words such as `merged` that data sets add. A name that several
    classes of `target` have says nothing, and neither does a mere number.
    """
    exact = _places([(name,) for name in target.names], fold_name)
    plain = _places([(name,) for name in target.names], _plain)
    wider = _places([(name, *more) for name, more in zip(target.names, target.synonyms, strict=True)], _plain)
    found: dict[int, Found] = {}
    for at, (name, synonyms) in enumerate(zip(source.names, source.synonyms, strict=True)):
        if is_left_over(name):
            same = next((to for to, other in enumerate(target.names) if is_left_over(other)), None)
        else:
            same = exact.get(fold_name(name), plain.get(_plain(name)))
        if same is not None:
            found[at] = (same, "name")
            continue
        others = {wider[key] for key in map(_plain, (name, *synonyms)) if key in wider}
        if len(others) == 1:
            found[at] = (others.pop(), "synonym")
    return found


def _plain(name: str) -> str:
    return fold_name(spoken(name))


def _places(names: Sequence[Sequence[str]], fold: Any) -> dict[str, int]:
    """The place of what stands in one place alone."""
    meanings: dict[str, set[int]] = {}
    for at, some in enumerate(names):
        for key in map(fold, some):
            meanings.setdefault(key, set()).add(at)
    return {
        key: next(iter(places))
        for key, places in meanings.items()
        if len(places) == 1 and not is_mere_number(key)
    }


def cosines(source: Worded, target: Worded, model: TextModel) -> NDArray[np.float32]:
    """Cosines [S, T] of the classes' texts, less what all texts have in common.

    NaN stands for what no word describes, such as a background.

    The vector of a class is the mean over its texts.
    """
    prompts = ("{}",)
    centre_D = model.centre(prompts)
    vectors_SD, vectors_TD = (model.embed(each.texts, prompts, centre_D) for each in (source, target))
    cosines_ST: NDArray[np.float32] = (vectors_SD @ vectors_TD.T).numpy()
    cosines_ST[:, [is_left_over(name) for name in target.names]] = float("nan")
    return cosines_ST


def _text_model(config: MapLabelsConfig) -> TextModel | None:
    if config.language_model is None:
        return None
    from batchseg.segmentors.llm.language import READERS
    from batchseg.segmentors.llm.text import TextModel

    return TextModel.load(os.path.expanduser(config.language_model), READERS)


def _worded(name_or_path: str) -> Worded:
    """Of a label map, or of the classes of a model: in a folder, or an ONNX network."""
    model = os.path.expanduser(name_or_path)
    is_model = os.path.isdir(model) or model.lower().endswith(".onnx")
    if is_built_in(name_or_path) or not is_model:
        return Worded.load(name_or_path)
    from batchseg.config.load import validate_segmentor
    from batchseg.segmentors.registry import open_checkpoint

    return Worded.of_names(open_checkpoint(validate_segmentor(infer_segmentor(model))).label_map.names)


def _as_yaml(config: MapLabelsConfig, rows: Sequence[RelationRow], unmet: Sequence[str]) -> str:
    how = (
        "by names alone, for no language model was given: what is called otherwise goes to none"
        if config.language_model is None
        else f"by names, and by the cosines of their texts; below {config.none_below:g} they go to none"
    )
    comments = [
        f"Where the classes of {config.from_labels} go in {config.to_labels}, proposed {how}.",
        "Look at each row: correct its target (null: none of them), and set reviewed: true. A run takes it",
        "with --merge and this file; classes that go to none are its background or other, or else void.",
    ]
    if unmet:
        comments.append(f"Nothing goes to: {', '.join(unmet)}.")
    head: Mapping[str, Any] = {
        "from": config.from_labels,
        "to": _as_seen_from(config.output, config.to_labels),
        "language_model": config.language_model,
        "none_below": None if config.language_model is None else config.none_below,
    }
    lines = [f"# {' '.join(comment.split())}" for comment in comments]
    dumped = yaml.safe_dump(dict(head), sort_keys=False, allow_unicode=True, width=_WIDE)
    return "\n".join([*lines, f"{dumped}classes:", *(f"- {_row(each)}" for each in rows), ""])


def _row(row: RelationRow) -> str:
    content = row.model_dump()
    for name in ("cosine", "runner_ups", "by"):
        if not content[name] and content[name] != 0:
            del content[name]
    text: str = yaml.safe_dump(
        content, sort_keys=False, allow_unicode=True, default_flow_style=True, width=_WIDE
    )
    return text.strip()


def _as_seen_from(output: str | None, labels: str) -> str:
    """The path of a label map's file from the folder that the relation lies in."""
    if is_built_in(labels):
        return labels
    path = os.path.expanduser(labels)
    try:
        return Path(os.path.relpath(path, os.path.dirname(output or "") or ".")).as_posix()
    except ValueError:  # on another drive
        return Path(os.path.abspath(path)).as_posix()
