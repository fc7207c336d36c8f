"""Where the figures of a run are logged besides: MLflow or TensorBoard."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from batchseg.config.base import Model
from batchseg.config.places import Place


class MlflowLog(Model):
    """A run of MLflow: metrics, the table of classes and the page."""

    kind: Literal["mlflow"] = "mlflow"
    tracking_uri: Place | None = Field(
        None, description="Of the tracking server. Null: what MLFLOW_TRACKING_URI says."
    )
    experiment: str = Field("batchseg", min_length=1, description="Made where it is not there.")


class TensorboardLog(Model):
    """An event file of TensorBoard, one a run: metrics and the table of classes."""

    kind: Literal["tensorboard"] = "tensorboard"
    folder: Place | None = Field(
        None, description="Local folder that TensorBoard shows. Null: tensorboard/ in the results."
    )


LogTo = Annotated[MlflowLog | TensorboardLog, Field(discriminator="kind")]


def infer_log(value: Any) -> Any:
    """A plain kind."""
    return {"kind": value} if isinstance(value, str) else value


LogSetting = Annotated[
    LogTo | None,
    BeforeValidator(infer_log),
    Field(description="mlflow or tensorboard: log the figures there as well. Null: nowhere."),
]
