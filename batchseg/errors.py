"""Everything batchseg raises on purpose.

BatchsegError                 one sentence for the user; the command line prints it and no traceback
├── ConfigError               wrong usage or configuration               exit 2
│   └── LabelMapError         a label map that cannot be read or does not fit the model
├── SourceError               the images or the manifest cannot be used as a whole
├── ModelError                the model cannot be found, loaded or trusted
├── OutputError               the results folder cannot be written, or holds another run's results
├── ClusterError              a Ray cluster does not answer, does not let us in, or refuses a job
└── RowFault                  one image failed; it becomes that row's status and never ends a job

Interrupted                   Ctrl-C or SIGTERM during a run; a KeyboardInterrupt, no BatchsegError
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchseg.schema import Status, TruthStatus


class BatchsegError(Exception):
    """A failure explained in one sentence. `exit_code` is what the command line ends with."""

    exit_code = 1

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence

    def __str__(self) -> str:
        return self.sentence  # not args, to which Ray appends advice of its own


class ConfigError(BatchsegError):
    """Wrong usage, or a configuration that does not hold together."""

    exit_code = 2


class LabelMapError(ConfigError):
    """A label map that cannot be read, or that does not fit the model or the ground truth."""


class SourceError(BatchsegError):
    """The folder or manifest as a whole cannot be used."""


class ModelError(BatchsegError):
    """The model cannot be found, loaded or trusted."""


class OutputError(BatchsegError):
    """The results folder cannot be written, or holds results that must not be mixed with these."""


class ClusterError(BatchsegError):
    """A Ray cluster that does not answer, does not let us in, or refuses a job."""


class Interrupted(KeyboardInterrupt):
    """A run was interrupted; the sentence says what is committed and what is computed again."""


class RowFault(BatchsegError):
    """One image, or its ground truth, failed at a stage: `status` and one sentence for its output row.

    Where a class of the user's own failed there is its `traceback`, too, which is shown once.
    """

    def __init__(self, status: Status | TruthStatus, sentence: str, traceback: str | None = None) -> None:
        super().__init__(sentence)
        self.status, self.traceback = status, traceback

    def __reduce__(self) -> tuple[type[RowFault], tuple[Status | TruthStatus, str, str | None]]:
        return RowFault, (self.status, self.sentence, self.traceback)
