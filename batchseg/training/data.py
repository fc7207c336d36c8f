"""Images and their ground truth as training examples, in an order that a resumed training finds again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from batchseg.config.base import Limits
from batchseg.config.run import Tiffs
from batchseg.config.source import ImageReading
from batchseg.errors import RowFault
from batchseg.images.bands import BandPicture
from batchseg.images.label_files import decode_labels
from batchseg.labels.label_map import Ids
from batchseg.labels.reading import Reading
from batchseg.segmentors.base import ModelInput, Preparer
from batchseg.segmentors.network.levels import to_levels
from batchseg.source.listing import PROMPT
from batchseg.source.names import TIFF_SUFFIX, mask_suffix
from batchseg.stages.decode import decode_item
from batchseg.stages.item import Item
from batchseg.stages.places import check_place
from batchseg.stages.score import as_truth, check_truth_size, read_truth, voided
from batchseg.storage.reader import image_reader, truth_reader
from batchseg.training.augment import Augment
from batchseg.training.sampling import Balance, drawn


@dataclass(frozen=True)
class Fault:
    """An image that could not be used, and why."""

    id: str
    status: str
    error: str

    @classmethod
    def of(cls, row: dict[str, Any], fault: RowFault) -> Fault:
        return cls(row["id"], fault.status.kind, str(fault))


@dataclass(frozen=True)
class Sample:
    """One image, or a window of one, which is decided by its probabilities: `batchseg run` averages those.

    Attributes:
        truth_HW: class ids at the image's own size.
        prompt: what the truth shows of it, in words, where its row says so.
    """

    model_input: ModelInput
    truth_HW: Any
    prompt: str | None = None
    is_window: bool = False


class PairReader:
    """Reads an image and its ground truth, just as `batchseg run` does."""

    def __init__(self, reading: Reading, limits: Limits, images_as: ImageReading | None = None) -> None:
        self.reading, self.limits, self.images_as = reading, limits, images_as or ImageReading()
        self.images, self.truths = image_reader(), truth_reader()

    def read(self, row: dict[str, Any]) -> tuple[BandPicture, Ids]:
        """The picture and its class ids [H, W]. Raises RowFault."""
        image = self.image(row)
        return picture_of(image), self.truth(row, image)

    def image(self, row: dict[str, Any]) -> Item:
        """What the decode stage of a run makes of the image. Raises RowFault."""
        item = Item({**row, "size": None, "mask": mask_suffix(row["id"], row["uri"], self.tiffs)})
        decode_item(item, self.images, self.limits, self.images_as)
        return item

    def truth(self, row: dict[str, Any], image: Item) -> Ids:
        """Class ids [H, W] of a row of this image, void where it has no data. Raises RowFault."""
        assert image.size_hw is not None
        data = self.truths.read(row["truth"])
        truth_HW = as_truth(decode_labels(data, self.limits), self.reading).ids_HW
        check_truth_size(truth_HW.shape, image.size_hw, image.orientation)
        check_place(image, data, self.images)
        if image.nodata_HW is None:
            return truth_HW
        return voided(truth_HW, image.nodata_HW, self.reading.label_map.num_classes)

    def ids(self, row: dict[str, Any]) -> Ids:
        """Class ids of a row's truth; its image is only read where that may lack data. Raises RowFault."""
        if mask_suffix(row["id"], row["uri"], self.tiffs) == TIFF_SUFFIX:
            return self.truth(row, self.image(row))
        return read_truth(self.truths, self.reading, self.limits, row["truth"]).ids_HW

    @property
    def tiffs(self) -> Tiffs:
        """Of which images a run asks where they lie and where they have no data."""
        return "of tiffs" if self.images_as.is_by_band else "none"


def picture_of(item: Item) -> BandPicture:
    """The pixels of an item that was decoded."""
    assert item.image_HWC is not None and item.size_hw is not None
    return BandPicture(item.image_HWC, item.size_hw, item.orientation, item.scale, item.nodata_HW)


class Samples:
    """Reads and prepares one image after another."""

    def __init__(
        self,
        rows: pa.Table,
        preparer: Preparer,
        reading: Reading,
        limits: Limits,
        images_as: ImageReading | None = None,
    ) -> None:
        self.rows, self.preparer, self.reading = rows, preparer, reading
        self.pairs = PairReader(reading, limits, images_as)

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, index: int) -> dict[str, Any]:
        return {name: self.rows[name][index].as_py() for name in self.rows.column_names}

    def prepared(self, image: BandPicture) -> ModelInput:
        """The model's input, whose pixels are uint8, or of bands that have a scale float32, 0 to 255.

        Raises RowFault.
        """
        prepared = self.preparer(image.pixels_HWC, image.scale)
        if prepared.scale is None:
            return prepared
        levels_THWC = to_levels(torch.from_numpy(prepared.pixels_THWC), [prepared])
        return replace(prepared, pixels_THWC=levels_THWC.numpy(), scale=None)

    def read(self, index: int) -> Sample | Fault:
        row = self.row(index)
        try:
            image, truth_HW = self.pairs.read(row)
            return Sample(self.prepared(image), truth_HW, row.get(PROMPT.name))
        except RowFault as fault:
            return Fault.of(row, fault)


class ValidationSet(Dataset[Sample | Fault]):
    """Every image once, as it is."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample | Fault:
        return self.samples.read(index)


@dataclass(frozen=True)
class Batch:
    """Crops that are learnt from.

    Attributes:
        pixels_BHWC: uint8; of bands that have a scale float32, 0 to 255.
        labels_BHW: int64; the label map's void where there is no truth. With prompts a map for each of them,
            those of a crop one after another.
        prompts: of each crop, where rows have prompts.
    """

    pixels_BHWC: Tensor
    labels_BHW: Tensor
    faults: list[Fault]
    prompts: tuple[tuple[str, ...], ...] = ()


class TrainingSet(Dataset[tuple[Tensor, Tensor] | Fault]):
    """Augmented crops. An index is (seed, row): the same pair gives the same crop in whatever process."""

    def __init__(self, samples: Samples, augment: Augment) -> None:
        self.samples, self.augment = samples, augment
        self.balance = Balance.of(samples.rows)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: tuple[int, int]) -> tuple[Tensor, Tensor] | Fault:
        seed, row = index
        sample = self.samples.read(row)
        if isinstance(sample, Fault):
            return sample
        shown = None if self.balance is None else self.balance.shown(seed, row)
        pixels_HWC, labels_1HW = self.augment(seed, sample.model_input, sample.truth_HW[None], shown)
        return pixels_HWC, labels_1HW[0]

    def collate(self, parts: list[tuple[Tensor, Tensor] | Fault]) -> Batch:
        """The crops that could be read; if none could, one without truth: no worker may stay behind."""
        faults = [part for part in parts if isinstance(part, Fault)]
        crops = [part for part in parts if not isinstance(part, Fault)]
        pixels, labels = zip(*(crops or [self.augment.nothing()]), strict=True)
        return Batch(stacked(pixels), torch.stack(labels), faults)


def stacked(pixels: Sequence[Tensor]) -> Tensor:
    """Crops [B, H, W, C] in their type; float32 where pictures of a source have several."""
    is_mixed = len({each.dtype for each in pixels}) > 1
    return torch.stack([each.float() if is_mixed else each for each in pixels])


@dataclass(frozen=True)
class Batches(Sampler[list[tuple[int, int]]]):
    """The batches of one worker, of all epochs in turn, from step `first` on.

    Attributes:
        rows: training images; each epoch has an order of its own.
        balance: how often each of them is drawn; None: all alike.
        a_step: images of one step on all workers.
        accumulate: batches of one step on one worker.
    """

    rows: int
    a_step: int
    accumulate: int
    rank: int
    workers: int
    seed: int
    first: int
    last: int
    balance: Balance | None = None

    @property
    def steps_an_epoch(self) -> int:
        return max(1, self.rows // self.a_step)

    def __len__(self) -> int:
        return (self.last - self.first) * self.accumulate

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in range(self.first, self.last):
            epoch, within = divmod(step, self.steps_an_epoch)
            rng = np.random.default_rng([self.seed, 2, epoch])
            order = drawn(rng, self.balance.share_N) if self.balance else rng.permutation(self.rows)
            order = np.resize(order, self.steps_an_epoch * self.a_step)  # a small set is seen several times
            rows = order[within * self.a_step : (within + 1) * self.a_step]
            seeds = np.random.default_rng([self.seed, 3, step]).integers(2**62, size=self.a_step)
            pairs = list(zip(seeds.tolist(), rows.tolist(), strict=True))[self.rank :: self.workers]
            size = len(pairs) // self.accumulate
            for start in range(0, len(pairs), size):
                yield pairs[start : start + size]
