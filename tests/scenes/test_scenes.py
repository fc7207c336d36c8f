"""`batchseg scenes digits`: what it writes, and from which source digits."""

from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from batchseg.cli.group import cli
from batchseg.scenes.digits import load_mnist


def digits(*words: object) -> Result:
    return CliRunner().invoke(cli, ["digits", *(str(word) for word in words)])


def rows(folder: Path) -> list[dict]:
    return pq.read_table(folder / "manifest.parquet").to_pylist()


def test_images_masks_and_a_manifest(tmp_path: Path) -> None:
    done = digits(tmp_path / "out", "--count", 20, "--seed", 3, "--size", 160)
    assert done.exit_code == 0, done.output
    found = rows(tmp_path / "out")
    assert Counter(row["split"] for row in found) == {"train": 16, "validation": 2, "test": 2}
    for row in found:
        with (
            Image.open(tmp_path / "out" / row["image"]) as image,
            Image.open(tmp_path / "out" / row["truth"]) as mask,
        ):
            assert (image.mode, image.size, mask.mode, mask.size) == ("RGB", (160, 160), "P", (160, 160))
            assert len(set(np.unique(mask).tolist()) & set(range(1, 11))) >= 1


def test_a_seed_gives_its_scenes_whatever_their_number(tmp_path: Path) -> None:
    for name, count, seed in (("few", 3, 5), ("more", 6, 5), ("other", 3, 6)):
        assert digits(tmp_path / name, "--count", count, "--seed", seed, "--size", 150).exit_code == 0
    for row in rows(tmp_path / "few"):
        few, more, other = (
            (tmp_path / name / row["image"]).read_bytes() for name in ("few", "more", "other")
        )
        assert few == more != other


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    """MNIST's own files, small: a bar of ink whose place tells the split and the number."""
    raw = tmp_path / "mnist" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, count, level in (("train", 60, 200), ("t10k", 20, 100)):
        ink = np.zeros((count, 28, 28), np.uint8)
        ink[:, 8:20, 12:16] = level
        ink[np.arange(count), 8, 12] = np.arange(count)
        values = np.arange(count, dtype=np.uint8) % 10
        (raw / f"{name}-images-idx3-ubyte").write_bytes(
            struct.pack(">4i", 2051, count, 28, 28) + ink.tobytes()
        )
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, count) + values.tobytes())
    return tmp_path / "mnist"


def test_mnist_is_split_before_scenes_are_made(mnist: Path) -> None:
    train, validation, test = (load_mnist(str(mnist), split) for split in ("train", "validation", "test"))
    assert [len(part) for part in (train, validation, test)] == [52, 8, 20]
    assert train.ink_NSS.shape[1:] == (20, 20)
    assert train.ink_NSS[:, 4, 8].tolist() + validation.ink_NSS[:, 4, 8].tolist() == [*range(60)]
    assert test.ink_NSS.max() == 100
    assert validation.values_N.tolist() == [number % 10 for number in range(52, 60)]


def test_scenes_of_mnist(mnist: Path, tmp_path: Path) -> None:
    done = digits(tmp_path / "out", "--count", 10, "--size", 150, "--source", "mnist", "--mnist", mnist)
    assert done.exit_code == 0, done.output
    for row in rows(tmp_path / "out"):
        with Image.open(tmp_path / "out" / row["truth"]) as mask:
            assert np.count_nonzero(mask) > 20


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--size", "100"], 2, "size: Input should be greater than or equal to 150"),
        (["--count", "0"], 2, "count: Input should be greater than or equal to 1"),
        (["--source", "mnist", "--mnist", "{tmp}/none"], 2, "holds no MNIST, which could not be downloaded"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, words: list[str], code: int, sentence: str) -> None:
    done = digits(tmp_path / "out", *(word.format(tmp=tmp_path) for word in words))
    assert (done.exit_code, sentence in done.output) == (code, True), done.output
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_in_use(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    done = digits(tmp_path, "--count", 1)
    assert done.exit_code == 1
    assert "is not empty" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
