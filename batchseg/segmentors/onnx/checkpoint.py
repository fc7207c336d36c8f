"""The `onnx` segmentor: an ONNX network, described by a YAML file beside it or by the settings of a job."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from batchseg.config.foreign import OnnxDescription
from batchseg.config.load import read_yaml, validate
from batchseg.config.segmentor import OnnxSegmentor
from batchseg.errors import ModelError
from batchseg.labels.label_map import LabelMap
from batchseg.segmentors.base import PixelRange, Resize
from batchseg.segmentors.network.normalisation import Normalisation
from batchseg.segmentors.network.sizing import SizedPreparer, Sizing
from batchseg.segmentors.onnx.loading import open_session
from batchseg.segmentors.onnx.place import OnnxPlace, description_of, find_network
from batchseg.segmentors.onnx.signature import Signature

if TYPE_CHECKING:
    from batchseg.segmentors.onnx.model import OnnxModel


@dataclass(frozen=True)
class OnnxCheckpoint:
    """A network and its description.

    Attributes:
        place: where workers find its files.
        normalisation: of its input; None where that is of 8 bits, which it normalises itself.
        remarks: on the number format that it computes in.
    """

    place: OnnxPlace
    signature: Signature
    label_map: LabelMap
    fingerprint: str
    normalisation: Normalisation | None
    remarks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def open(cls, config: OnnxSegmentor) -> OnnxCheckpoint:
        """Find the network a configuration names, and load it once to see whether that can be done.

        Raises ModelError where it cannot, or too little is said of it, and ConfigError for a description
        that is none.
        """
        place, path = find_network(config.model)
        said = _described(config, path)
        name = config.model
        signature = Signature.of(open_session(str(path), name, "cpu", 1, as_it_is=True), said, name)
        normalisation = _normalisation(said, signature, name)
        facts = [place.digest, signature.facts, *config.altering, *config.deciding]
        facts += [normalisation.facts] if normalisation is not None else []
        return cls(
            *(place, signature, LabelMap.from_names(signature.classes)),
            *(hashlib.sha256(json.dumps(["onnx", *facts]).encode()).hexdigest(), normalisation),
            remarks=_on_precision(config),
        )

    @property
    def channels(self) -> int:
        return self.signature.channels

    @property
    def stride(self) -> int:
        """What its sides have to be multiples of: nothing else is known of its features."""
        return self.signature.multiple

    @property
    def pixel_range(self) -> PixelRange | None:
        return None if self.normalisation is None else self.normalisation.pixel_range

    def preparer(self, as_is: bool = False) -> SizedPreparer:
        """A network that was exported for one size reads no other."""
        leaves = as_is and not self.signature.is_fixed
        return SizedPreparer(Sizing() if leaves else Sizing(size=self.signature.size))

    def resizing(self) -> Resize:
        return self.preparer().input_hw

    def load(self, device: str, precision: str, threads: int | None = None) -> OnnxModel:
        """A session that keeps to so many threads. Raises ModelError where a GPU cannot be used."""
        from batchseg.segmentors.onnx.engine import SessionEngine
        from batchseg.segmentors.onnx.model import OnnxModel

        path = self.place.path()
        session = open_session(str(path), self.place.name, device, threads)
        return OnnxModel(
            SessionEngine(session, path, self.signature), self.signature, self.normalisation, device
        )


def _described(config: OnnxSegmentor, path: Path) -> OnnxDescription:
    """The YAML file beside the network, and over it the settings of the job."""
    settings = {name: getattr(config, name) for name in OnnxDescription.model_fields}
    settings = {name: value for name, value in settings.items() if value is not None}
    beside = description_of(path)
    if beside is None:
        return validate(OnnxDescription, settings, config.model)
    origin = config.model.rpartition("/")[0]
    origin = f"{origin}/{beside.name}" if origin else beside.name
    validate(OnnxDescription, content := read_yaml(beside), origin)
    return validate(OnnxDescription, {**content, **settings}, f"{origin} with segmentor's own settings")


def _normalisation(said: OnnxDescription, signature: Signature, name: str) -> Normalisation | None:
    if signature.dtype == "uint8":
        if said.mean is not None or said.range is not None:
            raise ModelError(
                f"{name} reads pixels of 8 bits as they are, so it normalises them itself; leave mean, std "
                "and range out"
            )
        return None
    try:
        found = Normalisation.stated(said, signature.channels)
    except ValueError as exc:
        raise ModelError(f"{name}: its description {exc}") from exc
    if found is None:
        raise ModelError(
            f"{name} does not say how its images are normalised; say mean and std, such as mean: [0.485, "
            "0.456, 0.406] and std: [0.229, 0.224, 0.225], in a YAML file beside it or as segmentor.mean and "
            "segmentor.std (0 and 1 for pixels from 0 to 1 as they are)"
        )
    return found


def _on_precision(config: OnnxSegmentor) -> tuple[str, ...]:
    if config.precision not in ("bf16", "fp16"):
        return ()
    return (
        f"{config.model}: an ONNX network computes in the number format that it was saved in, so "
        f"segmentor.precision {config.precision} changes nothing in it",
    )
