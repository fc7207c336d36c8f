"""An epoch is finished when its state is there, and whatever happens in between takes nothing away."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import pytest
import torch

from batchseg.errors import OutputError
from batchseg.training.job import State
from batchseg.training.kept import Kept, writing


def finish(kept: Kept, epoch: int, best: int) -> None:
    network = {"weight": torch.full((2,), float(epoch))}
    kept.write(State(step=10 * epoch, epoch=epoch, best_epoch=best), {"network": network, "schedule": {}})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_last_state_and_the_best_weights_are_kept(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "state")
    assert kept.finished == 0 and kept.last() is None
    for epoch, best in ((1, 1), (2, 2), (3, 2)):
        finish(kept, epoch, best)
    last = kept.last()
    assert last is not None and State(**last["state"]) == State(step=30, epoch=3, best_epoch=2)
    assert last["network"]["weight"].tolist() == [3, 3]
    assert kept.best(2)["weight"].tolist() == [2, 2]
    assert kept.finished == 3 and names(kept.folder) == ["best-2.pt", "epoch-3.pt"]


@pytest.mark.parametrize("call", [1, 2])
def test_an_interrupt_while_an_epoch_is_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    kept, calls = Kept(tmp_path), []
    finish(kept, 9, 9)

    def save(value: Any, path: Path) -> None:
        calls.append(path)
        path.write_bytes(b"half a file")
        if len(calls) == call:
            raise KeyboardInterrupt
        real(value, path)

    real = torch.save
    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(KeyboardInterrupt):
        finish(kept, 10, 10)
    monkeypatch.undo()
    last = kept.last()
    assert last is not None and last["state"]["epoch"] == kept.finished == 9
    assert kept.best(9)["weight"].tolist() == [9, 9]
    finish(kept, 10, 10)
    assert kept.finished == 10 and kept.best(10)["weight"].tolist() == [10, 10]


def test_an_epoch_for_which_there_is_no_room_takes_nothing_away(tmp_path: Path) -> None:
    kept, limits = Kept(tmp_path / "state"), resource.getrlimit(resource.RLIMIT_FSIZE)
    finish(kept, 1, 1)
    large = {"network": {"weight": torch.zeros(100_000)}, "schedule": {}}
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(OutputError) as caught:
            kept.write(State(step=20, epoch=2, best_epoch=2), large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(caught.value) == (
        f"{kept.folder}: cannot be written: a file broke off, as where the disk is full; what was finished "
        "before is kept, and the same command goes on from there once that is mended"
    )
    assert names(kept.folder) == ["best-1.pt", "epoch-1.pt"] and kept.best(1)["weight"].tolist() == [1, 1]
    kept.write(State(step=20, epoch=2, best_epoch=2), large)
    assert kept.finished == 2


def test_weights_for_which_there_is_no_room_are_told_likewise(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with (
            pytest.raises(OutputError, match="cannot be written: File too large"),
            writing(tmp_path),
        ):
            save_file({"weight": torch.zeros(100_000)}, tmp_path / "model.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with pytest.raises(RuntimeError, match="of the model"), writing(tmp_path):
        raise RuntimeError("of the model")


def test_an_epoch_that_was_cut_off_is_named(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    finish(kept, 1, 1)
    file = tmp_path / "epoch-1.pt"
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(
        OutputError, match=r"epoch-1\.pt: cannot be read, .* choose a fresh --output"
    ) as caught:
        kept.last()
    assert "\n" not in str(caught.value)
