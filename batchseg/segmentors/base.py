"""What a segmentor is: the only contract between the pipeline and a model.

Checkpoint   on the driver: knows its label map and fingerprint without loading weights; travels to workers
Preparer     on a CPU worker: one image -> one ModelInput, geometry only, in the type of the image
Segmentor    in an actor, holding the model: ModelInputs -> Scores on the model's own grid

What turns scores into a label map is the same for all of them: see segmentors/combined.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from batchseg.config.bands import BlackWhite
    from batchseg.labels.label_map import LabelMap


@dataclass(frozen=True, slots=True)
class ModelInput:
    """What a model needs of one image.

    Attributes:
        pixels_THWC: uint8, uint16 or float32, contiguous. T crops of one size; T is 1 unless the model reads
            an image in crops.
        image_hw: height and width of what was prepared, in pixels: of the image, whose mask has this size.
        geometry: small JSON-serialisable facts that the same checkpoint's segmentor needs to undo the
            geometry, such as the offsets of the crops. Empty for most models.
        scale: black and white of each band, which become 0 and 255 on the device (`network.levels`); None:
            they are 0 and 255 already.
        prompt: what is meant in this image, in words, for a model that is told so image by image.
    """

    pixels_THWC: NDArray[Any]
    image_hw: tuple[int, int]
    geometry: dict[str, Any]
    scale: tuple[BlackWhite, ...] | None = None
    prompt: str | None = None


@dataclass(frozen=True, slots=True)
class Scores:
    """A model's answer to one input, on a grid of its own.

    Attributes:
        kind: of what: `logits`, whose softmax are probabilities; `probabilities`, not negative, which are
            divided by their sum over the classes; `sigmoids`, how likely each class is there by itself, 0 to
            1, with 0.5 everywhere for a background; `labels`, a class id a pixel and no scores at all.
        maps: of all but labels a floating tensor [C, h, w] on the model's device, C >= 2, whose
            cells lie evenly over the input (as `interpolate` with `align_corners=False` takes them).
            labels: an integer numpy array [h, w], 0 .. C-1, and C where the model abstains.
        presence: how likely it is that what the input's prompt names is there at all, 0 to 1; None: the
            model does not say, or reads one list of classes.
    """

    kind: Literal["logits", "probabilities", "sigmoids", "labels"]
    maps: Any
    presence: float | None = None


@dataclass(frozen=True, slots=True)
class Confidence:
    """How sure a model was of one image, from its class probabilities at its own resolution.

    Attributes:
        contested_fraction: of the pixels, those that two prompts or more claim; None without a background
            that such a claim has to beat, or where classes are not decided each by itself.
    """

    mean: float
    entropy_mean: float
    entropy_p95: float
    low_fraction: float
    contested_fraction: float | None = None


@dataclass(frozen=True, slots=True)
class Probes:
    """Class probabilities at some pixels of a picture, which lie on a fixed grid.

    Attributes:
        rows_N, columns_N: where, in pixels of the label map, ascending row by row.
        probabilities_CN: float32, of the label map's classes, with a sum of 1.
        is_rounded: they come from a file, in which the smallest are 0.
    """

    rows_N: NDArray[np.intp]
    columns_N: NDArray[np.intp]
    probabilities_CN: NDArray[np.float32]
    is_rounded: bool = False

    @property
    def nbytes(self) -> int:
        """Of all that it holds."""
        return self.rows_N.nbytes + self.columns_N.nbytes + self.probabilities_CN.nbytes


@dataclass(frozen=True, slots=True)
class Prediction:
    """A label map at the original resolution, and how sure the model was.

    Attributes:
        labels_HW: class ids 0 .. C-1, or C where the model abstains; uint8 while C <= 255, else uint16.
        confidence: None for segmentors without probabilities.
        probabilities: those that were decided by, as a file (`images.probability_file`); None: not asked for.
        probes: some of the probabilities; None for segmentors without, and where nobody wants them.
        presence: of what the prompt names, as in `Scores`.
    """

    labels_HW: NDArray[np.unsignedinteger[Any]]
    confidence: Confidence | None = None
    probabilities: bytes | None = None
    probes: Probes | None = None
    presence: float | None = None


class Preparer(Protocol):
    """Geometry on the CPU. Must be picklable before its first call."""

    def __call__(self, image_HWC: NDArray[Any], scale: tuple[BlackWhite, ...] | None = None, /) -> ModelInput:
        """Prepare one image: uint8 RGB [H, W, 3], or the bands of one [H, W, C], uint8, uint16 or float32.

        Args:
            scale: black and white of each band; None: 0 and 255, of uint16 0 and 65535.
        """
        ...


@runtime_checkable
class Resizer(Preparer, Protocol):
    """A preparer that knows the size of its model's input, so that no image need be decoded any larger."""

    def input_hw(self, image_hw: tuple[int, int], /) -> tuple[int, int]:
        """Height and width of the model's input for an image of so many pixels."""
        ...


class Segmentor(Protocol):
    """A loaded model. The one method every segmentor has."""

    def scores(self, inputs: Sequence[ModelInput], /) -> list[Scores]:
        """Of a batch whose `pixels_THWC` all have the same shape; one Scores an input, in order."""
        ...


@runtime_checkable
class Uploader(Segmentor, Protocol):
    """A segmentor whose inputs can go to its device while that works on another batch."""

    def upload(self, inputs: Sequence[ModelInput], /) -> Callable[[], list[Scores]]:
        """Take a batch to the device; what is returned does the rest of `scores`."""
        ...


@runtime_checkable
class Differentiable(Segmentor, Protocol):
    """A network whose scores have gradients with respect to its pixels.

    Attributes:
        device: where its network is, as torch names it.
    """

    device: Any

    def scores_of(self, levels_BHWC: Any, inputs: Sequence[ModelInput], /) -> list[Scores]:
        """The same of pixels that may be others than the inputs', with gradients where those are on.

        Args:
            levels_BHWC: a tensor [B * T, H, W, C] with black at 0 and white at 255.
            inputs: whose geometry holds, one for each of B.
        """
        ...


@dataclass(frozen=True, slots=True)
class PixelRange:
    """What a model's inputs are normalised by: mean and standard deviation of the images it was trained on.

    Attributes:
        mean, std: of each channel, such as red, green and blue, 0 to 1.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


@runtime_checkable
class Normaliser(Protocol):
    """A checkpoint that knows how bright the images are that its model expects."""

    @property
    def pixel_range(self) -> PixelRange | None:
        """None where its files do not say."""
        ...


@runtime_checkable
class Remarking(Protocol):
    """A checkpoint with something to say of how it is run.

    Attributes:
        remarks: sentences for whoever starts a run.
    """

    @property
    def remarks(self) -> tuple[str, ...]: ...


Resize = Callable[[tuple[int, int]], tuple[int, int]]


@runtime_checkable
class Resizing(Protocol):
    """A checkpoint that knows what size it brings images to."""

    def resizing(self) -> Resize:
        """Height and width of the model's input, from those of an image, in pixels."""
        ...


PromptMode = Literal["list", "rows"]


@runtime_checkable
class Prompted(Protocol):
    """A checkpoint that is told in words what to segment."""

    @property
    def prompted(self) -> PromptMode | None:
        """`list`: one list of classes for all images, its label map's; `rows`: each image has a prompt of its
        own (`ModelInput.prompt`), against the background; None: neither, as of an ensemble of other models.
        """
        ...

    def prompt_fault(self, prompt: str) -> str | None:
        """One sentence on what is wrong with a prompt for this model: empty, or too long for its text model.

        None where nothing is. Needs no torch.
        """
        ...


def prompting_of(checkpoint: object) -> PromptMode | None:
    """How a checkpoint is told in words what to segment; None: it is not."""
    return checkpoint.prompted if isinstance(checkpoint, Prompted) else None


class Checkpoint(Protocol):
    """A model that can be loaded: cheap to make (no weights, no torch where possible) and picklable."""

    @property
    def label_map(self) -> LabelMap:
        """The classes the model predicts."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hex digest of the weights and of every model setting that changes a mask."""
        ...

    @property
    def channels(self) -> int | None:
        """How many the model's input has; None: any, and RGB unless `source.bands` says otherwise."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on how its own label map reads ground truths, for whoever starts a run."""
        ...

    @property
    def stride(self) -> int:
        """Pixels of the input, along a side, for one cell of its coarsest features."""
        ...

    def preparer(self, as_is: bool = False) -> Preparer:
        """Called on a CPU worker.

        Args:
            as_is: it does not resize, unless the model reads one size alone.
        """
        ...

    def load(self, device: str, precision: str, threads: int | None = None) -> Segmentor:
        """Called in an actor.

        Args:
            device: "cpu" or "cuda".
            precision: "fp32", "bf16" or "fp16".
            threads: CPU threads that the actor has, for a model that sets up its own; None: unknown.
        """
        ...
