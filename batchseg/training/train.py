"""The training job: `batchseg train`, one model or one a fold."""

from __future__ import annotations

from dataclasses import replace

from batchseg.config.report import ReportConfig
from batchseg.config.train import TrainConfig
from batchseg.errors import BatchsegError, OutputError
from batchseg.reporting.make import make_page
from batchseg.training.fit import OnNews
from batchseg.training.folds import FoldsResult, cross_validate
from batchseg.training.one import TrainResult, train_one


def train(config: TrainConfig, on_news: OnNews = lambda news: None) -> TrainResult:
    """Train a segmentation model on images with ground truth.

    A training that was stopped goes on from its last finished epoch when the same is called again; one that
    is finished is only reported.

    Args:
        config: the whole training.
        on_news: called with what is new: first with each `note` (a sentence on the data), then with `step`,
            `steps` and one of `loss`, `validated` (images, of `judges`), `fault` (an image that cannot be
            used) or `epoch` and `classes` (a row of the history, and those of its classes; that epoch is
            kept). In a cross-validation also with `fold`, `folds` and `held_out` (images) before each, and
            `predicted` (its figures) after it.

    Returns:
        with `config.folds` a `FoldsResult`.

    Raises:
        BatchsegError: it cannot be done, or had to stop; finished epochs are kept.
        KeyboardInterrupt: likewise; its sentence says from where the next call goes on.
    """
    result = train_one(config, on_news) if config.folds is None else cross_validate(config, on_news)
    return replace(result, page=_page(result, config)) if config.report else result


def _page(result: TrainResult, config: TrainConfig) -> str:
    """Where it lies; that of the predictions of all folds is made first. Raises OutputError."""
    predicted = [result.results] if isinstance(result, FoldsResult) else []
    try:
        pages = [
            make_page(ReportConfig(results=each, ray=config.ray)) for each in (*predicted, result.output)
        ]
    except BatchsegError as exc:
        raise OutputError(f"the training has finished, but its page cannot be made: {exc}") from exc
    return pages[-1].path
