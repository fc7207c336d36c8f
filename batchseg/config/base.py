"""What every configuration has: strict, frozen models, limits, gates and the Ray cluster."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
)

from batchseg.config.places import Address
from batchseg.config.suggest import did_you_mean

SUFFIX_RULE = r"^[^=]*=[^=]*$"


FAILED_RULE = r"^(\d+|\d+(\.\d+)?%)$"


CLASS_RULE = r"^([\w.]+|.+\.py):\w+$"  # a module, or the file of one


JOB_NAME_RULE = r"^[\w.-]+$"


WHICH_RULE = r"^(all|(worst|sample) [1-9]\d{0,8})$"


METRICS = (
    "accuracy",
    "recall_weighted",
    "f1_weighted",
    "recall_macro",
    "f1_macro",
    "precision_macro",
    "mean_iou",
)


# where each image has a prompt of its own
PROMPT_METRICS = ("giou", "ciou", "no_target_accuracy")


# of one class, as the table `classes` has them
GATED_FIGURES = ("iou", "precision", "recall", "f1", "dice")


def gated_class(gate: str) -> tuple[str, str | None]:
    """FIGURE.CLASS in two, where the class may have dots and blanks in its name; else METRIC and None."""
    figure, dot, name = gate.partition(".")
    return (figure, name) if dot and name and figure in GATED_FIGURES else (gate, None)


def flat_gates(value: Any) -> Any:
    """`{iou: {lesion: 0.6}}`, as --set makes of iou.lesion=0.6, likewise as `{iou.lesion: 0.6}`."""
    if not isinstance(value, dict):
        return value
    flat = {}
    for key, item in value.items():
        below = flat_gates(item) if isinstance(item, dict) else None
        flat.update({key: item} if below is None else {f"{key}.{name}": each for name, each in below.items()})
    return flat


class Model(BaseModel):
    """Unknown keys and infinite numbers are refused, values are fixed after validation.

    Errors of pydantic do not repeat what was given, which may be a secret.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)


class Limits(Model):
    """What an image may ask of this machine; its size is checked from its header, before decoding."""

    max_pixels: int = Field(
        178_956_970, ge=1, description="Width x height; the default is where Pillow refuses."
    )
    max_bytes: int = Field(2**30, ge=1, description="Size of the encoded file.")
    segment_timeout_s: float | None = Field(
        None,
        gt=0,
        le=1e6,
        description="Seconds one model call may take before its images count as failed; 10 min more where a "
        "network is compiled in it. Null: any.",
    )
    stop_after_failures: int = Field(
        100, ge=0, description="End the run where so many images fail first, all of one cause. 0: never."
    )


class Gates(Model):
    """When a finished run still exits with an error."""

    max_failed: str = Field(
        "0", pattern=FAILED_RULE, description="Failed images allowed: a number, or a percentage."
    )
    minimum: Annotated[dict[str, float], BeforeValidator(flat_gates)] = Field(
        default_factory=dict,
        description="METRIC, or FIGURE.CLASS such as iou.lesion: lowest value over the data set.",
    )

    @field_validator("max_failed", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value

    @field_validator("minimum")
    @classmethod
    def _known(cls, minimum: dict[str, float]) -> dict[str, float]:
        for name, value in minimum.items():
            if name not in (*METRICS, *PROMPT_METRICS) and gated_class(name)[1] is None:
                classes = ", ".join(f"{figure}.CLASS" for figure in GATED_FIGURES)
                meant = did_you_mean(name, (*METRICS, *PROMPT_METRICS))
                raise ValueError(
                    f"unknown metric {name!r}{meant}; available: {', '.join(METRICS)}, for one class "
                    f"{classes}, and with prompts {', '.join(PROMPT_METRICS)}"
                )
            if not 0 <= value <= 1:
                raise ValueError(f"{name} lies in 0 .. 1, so {value:g} decides nothing")
        return minimum

    def allows(self, failed: int, total: int) -> bool:
        """Whether so many failed images are acceptable."""
        if self.max_failed.endswith("%"):
            return failed * 100 <= total * Fraction(self.max_failed[:-1])
        return failed <= int(self.max_failed)


class JobConfig(Model):
    """How `batchseg submit` starts the job on the cluster."""

    name: str | None = Field(
        None,
        pattern=JOB_NAME_RULE,
        description="What the job's ids begin with. Null: a name made from that of the results folder.",
    )
    env: dict[str, str] = Field(
        default_factory=dict,
        description="Environment variables of the job and its workers. The cluster shows them to its users.",
    )
    entrypoint_cpus: float = Field(
        0, ge=0, description="CPUs reserved for the driver; more than 0 may place it on any node."
    )


class RayConfig(Model):
    """The Ray cluster."""

    address: Address | None = Field(
        None,
        description="Address of a running cluster, host:port, or http://host:8265 for `batchseg submit`; "
        "null starts Ray in this process.",
    )
    exclude_head: bool = Field(False, description="Run nothing but the driver on the head node.")
    job: JobConfig = JobConfig()
