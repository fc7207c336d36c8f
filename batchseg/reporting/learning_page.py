"""The page of a training: how it went, what it learnt of each class, and some validation images."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone

import numpy as np
from PIL import Image
from pydantic import ValidationError

from batchseg import __version__
from batchseg.config.base import Limits
from batchseg.config.report import PAGE
from batchseg.config.source import ImageReading
from batchseg.config.train import TrainConfig
from batchseg.errors import LabelMapError, RowFault
from batchseg.images.overlay import LabelIds, Pixels, resized
from batchseg.labels.label_map import LabelMap
from batchseg.labels.reading import Reading
from batchseg.labels.recorded import recorded_label_map
from batchseg.reporting.curves import Curve, LearntClass, Training, best_of, classes_of, curves_of
from batchseg.reporting.facts import changed_settings
from batchseg.reporting.headline import Headline, as_sentence
from batchseg.reporting.layers import encode_difference, encode_labels, encode_photo
from batchseg.reporting.pictures import LAYERS, LONGEST
from batchseg.reporting.shown import ImageGroup, ShownImage
from batchseg.reporting.shown_page import PageWithImages
from batchseg.results.learning import Learning, Row, training_record, window_name
from batchseg.results.progress import duration
from batchseg.schema import Status
from batchseg.stages.by_window import is_large
from batchseg.stages.viewing import Sight, Viewer
from batchseg.storage.location import Location

MOST_EPOCHS = 500  # rows of the table; the others are in history.parquet
MOST_CLASSES = 300  # likewise; in class_history.parquet
_COLUMNS = {  # of the history, what the table shows, and how
    "loss": ("Loss", "general"),
    "mean_iou": ("Mean IoU", "share"),
    "giou": ("gIoU", "share"),
    "accuracy": ("Accuracy", "share"),
    "validation_nll": ("Log loss", "general"),
    "temperature": ("Temperature", "general"),
    "learning_rate": ("Learning rate", "general"),
    "train_s": ("Seconds", "general"),
}


@dataclass
class LearningPage(PageWithImages):
    """The whole page. A section that has nothing to say is empty, and is left out.

    Attributes:
        trainings: one, or one a fold.
        epochs: rows of the history, each with `training`, its name.
        columns: of these, with a heading and a form.
        folds: of a cross-validation, what each fold predicted.
        predictions: a link to the page of all that they predicted; None where it is not beside this one.
    """

    results: str
    record: Row
    label_map: LabelMap
    trainings: list[Training]
    groups: list[ImageGroup] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    predictions: str | None = None

    def __post_init__(self) -> None:
        self.made = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
        self.version = __version__
        self.headline = _headline(self.record, self.trainings)
        self.facts = [(name, text) for name, text in _facts(self.record) if text]
        self.settings = changed_settings(self.record["config"], TrainConfig)
        self.plan: Row = self.record.get("plan") or {}
        self.folds: list[Row] = self.record.get("folds") or []
        self.curves: list[Curve] = curves_of(self.trainings)
        classes = classes_of(self.trainings)
        self.unjudged = [row.name for row in classes if row.iou is None]
        self.classes: list[LearntClass] = classes[:MOST_CLASSES]
        self.hidden_classes = len(classes) - len(self.classes)
        epochs = [{"training": each.name, **row} for each in self.trainings for row in each.learning.history]
        self.epochs = epochs[:MOST_EPOCHS]
        self.hidden_epochs = len(epochs) - len(self.epochs)
        known = {name for row in epochs for name, value in row.items() if value is not None}
        self.columns = {name: column for name, column in _COLUMNS.items() if name in known}

    @property
    def best(self) -> set[tuple[str, int | None]]:
        """Training and epoch of each that was taken, or would be."""
        return {(each.name, each.best_epoch) for each in self.trainings}


def learning_page(root: Location, record: Row, images: int, beside: bool) -> LearningPage:
    """The page of a training's folder, be it finished or not.

    Args:
        images: validation images at most.
        beside: whether the page lies in that folder, so that it can link to what is there.

    Raises OutputError where a table cannot be read.
    """
    trainings = [*_trainings(root, record)]
    alone = trainings[0].name == "" if trainings else True
    label_map = _label_map(
        record if alone else training_record(root / f"fold-{trainings[0].name}"), trainings
    )
    page = LearningPage(str(root), record, label_map, trainings)
    if beside and (root / "results" / PAGE).exists():
        page.predictions = f"results/{PAGE}"
    for each in trainings:
        most = max(1, images // len(trainings)) if images else 0
        rows = each.learning.pictures[:most]
        if rows:
            about = f"The same in every epoch, here as epoch {rows[0]['epoch']} predicts them."
            title = f"Fold {each.name}" if each.name else "Validation images"
            start = len(page.images) + 1
            shown = [_shown(row, start + at, record, label_map) for at, row in enumerate(rows)]
            page.groups.append(ImageGroup("validation", title, about, shown))
    return page


def _trainings(root: Location, record: Row) -> Iterator[Training]:
    folds = record["config"].get("folds")
    if not folds:
        learning = Learning.read(root)
        yield Training("", learning, record.get("best_epoch") or best_of(learning.history))
        return
    for fold in range(1, folds + 1):
        place = root / f"fold-{fold}"
        learning, own = Learning.read(place), training_record(place) or {}
        if learning.history:
            yield Training(str(fold), learning, own.get("best_epoch") or best_of(learning.history))


def _label_map(record: Row | None, trainings: list[Training]) -> LabelMap:
    """As it is recorded; that of an earlier version by its names alone."""
    with suppress(LabelMapError):
        return recorded_label_map((record or {}).get("label_map"))
    names = {row["class_id"]: row["class_name"] for each in trainings for row in each.learning.classes}
    return LabelMap.from_names([*names.values()] or ["class_0", "class_1"])


def _headline(record: Row, trainings: list[Training]) -> Headline:
    notes = tuple(as_sentence(note) for note in record.get("notes") or ())
    epochs = sum(len(each.learning.history) for each in trainings)
    if record.get("status") != "finished":
        told = f"{epochs} epochs are validated" if epochs != 1 else "1 epoch is validated"
        first = f"The training has not finished: it was stopped, or is still under way. Up to now {told}."
        return Headline("look", first, (*_best_sentences(trainings), *notes))
    if folds := record.get("folds"):
        images = sum(fold["images"] for fold in folds)
        figure = _figure(record["metrics"])
        first = (
            f"{images:,} images, each predicted by one of {len(folds)} models that had not seen it: {figure}."
        )
        return Headline("good", first, notes)
    judged = record["images"]["validation"]
    first = (
        f"The best of {record['epochs']} epochs is epoch {record['best_epoch']}: "
        f"{_figure(record['metrics'])} over {judged:,} validation images."
    )
    return Headline("good", first, notes)


def _best_sentences(trainings: list[Training]) -> Iterator[str]:
    for each in trainings:
        for row in each.learning.history:
            if row["epoch"] == each.best_epoch:
                of = f" of fold {each.name}" if each.name else ""
                yield f"The best epoch{of} is epoch {row['epoch']} so far: {_figure(row)}."


def _figure(metrics: Row) -> str:
    name = "giou" if metrics.get("giou") is not None else "mean_iou"
    called = "gIoU" if name == "giou" else "mean IoU"
    value = metrics.get(name)
    return f"{called} {value:.3f}" if value is not None else f"{called} unknown"


def _facts(record: Row) -> Iterator[tuple[str, str]]:
    config, machine, versions = record["config"], record.get("machine") or {}, record.get("versions") or {}
    model, images = config.get("model"), record.get("images") or {}
    yield "Model", model if isinstance(model, str) else "a new model"
    yield "Images", str((config.get("source") or {}).get("path") or "")
    yield "Learnt from", f"{images['train']:,} images" if images else ""
    yield "Judged by", f"{images['validation']:,} images" if images else ""
    yield (
        "Left out",
        f"{len(record['faults']):,} images that could not be used" if record.get("faults") else "",
    )
    yield "Steps", f"{record['steps']:,}" if record.get("steps") else ""
    yield "Temperature", f"{record['temperature']:.2f}" if record.get("temperature") else ""
    if "train_s" in record:
        judging = duration(record["validation_s"])
        yield "Took", f"{duration(record['train_s'])}, and {judging} of validation"
    named = [machine.get("host"), f"{machine['cpus']} CPUs" if machine.get("cpus") else None]
    yield "Machine", ", ".join(each for each in named if each)
    shown = (f"{name} {versions[name]}" for name in ("batchseg", "torch", "ray") if versions.get(name))
    yield "Versions", ", ".join(shown)


def _shown(row: Row, number: int, record: Row, label_map: LabelMap) -> ShownImage:
    """A row of `VALIDATION_PICTURES` as the page shows images."""
    blank = dict.fromkeys(("prompt_iou", "confidence_mean", "error"))
    facts = {name: row[name] for name in ("id", "prompt", "mean_iou", "accuracy", "width", "height")}
    if row.get("window"):
        facts["id"] = window_name(row["id"], row["window"])
    shown = ShownImage({**blank, **facts, "status": "ok", "truth_status": "ok"}, number)
    shown.picture = _picture(row, record, label_map)
    return shown


def _picture(row: Row, record: Row, label_map: LabelMap) -> Row:
    """A row of `pictures.PICTURE`."""
    maps = {name: _labels(row[name], label_map.num_classes) for name in ("truth", "predicted")}
    try:
        config = TrainConfig.model_validate(record["config"])
        images, limits = ImageReading.of(config.source, record.get("channels")), config.limits
    except ValidationError:  # of another version
        images, limits = ImageReading(), Limits()
    sight = Sight(Reading(label_map), images)
    layers: dict[str, bytes | None] = dict.fromkeys(LAYERS)
    layers |= {name: encode_labels(labels_HW, sight.drawing) for name, labels_HW in maps.items()}
    layers["difference"] = encode_difference(maps["predicted"], maps["truth"], label_map.num_classes)
    size_hw, notes = maps["truth"].shape[:2], []
    try:
        photo_HWC = _photo(row, Viewer(sight, limits, LONGEST[0]))
        layers["photo"] = encode_photo(resized(photo_HWC, (size_hw[0], size_hw[1])))
    except RowFault as fault:
        notes.append(f"The image cannot be shown, so truth and prediction stand alone: {fault}.")
    pixels = sum(np.bincount(each.ravel(), minlength=label_map.num_classes + 1) for each in maps.values())
    order = np.argsort(-np.asarray(pixels)[:-1], kind="stable")
    classes = [int(each) for each in order if np.asarray(pixels)[each]]
    shape = {"height": size_hw[0], "width": size_hw[1], "classes": classes, "notes": notes}
    return {"id": row["id"], **shape, **layers}


def _photo(row: Row, viewer: Viewer) -> Pixels:
    """What a window showed, or an image as it lies there now. Raises RowFault."""
    if not row.get("window"):
        own_hw = (row["height"], row["width"])
        return viewer.image(row["uri"], own_hw, large=is_large(own_hw, viewer.limits))
    if row["photo"] is None:
        raise RowFault(Status.UNREADABLE, "the training could not read this window any more")
    return np.asarray(Image.open(io.BytesIO(row["photo"])))


def _labels(png: bytes, classes: int) -> LabelIds:
    """Class ids, and C for void."""
    labels_HW: LabelIds = np.minimum(np.asarray(Image.open(io.BytesIO(png))).astype(np.uint16), classes)
    return labels_HW
