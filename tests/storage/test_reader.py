"""Bytes by URI: files, objects and values inside Parquet, and the faults of each."""

from __future__ import annotations

import os
import tracemalloc
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchseg.errors import RowFault
from batchseg.schema import Status, TruthStatus
from batchseg.storage import embedded
from batchseg.storage.embedded import EmbeddedReader
from batchseg.storage.location import Location, locate
from batchseg.storage.reader import Reader, image_reader, truth_reader


def fault(reader: Reader, uri: str) -> tuple[Status | TruthStatus, str]:
    with pytest.raises(RowFault) as caught:
        reader.read(uri)
    return caught.value.status, str(caught.value)


def test_files_and_objects_are_read_whole(tmp_path: Path) -> None:
    name = "a b#1?%.jpg"
    (tmp_path / name).write_bytes(b"\x00local")
    remote = locate(f"mock://{uuid.uuid4().hex}/{name}")
    remote.write(b"\x00remote")
    reader = image_reader()
    assert reader.read(str(tmp_path / name)) == b"\x00local"
    assert reader.read(str(remote)) == b"\x00remote"
    assert reader.read((tmp_path / name).as_uri()) == b"\x00local"


def test_what_is_not_there_is_missing(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone.jpg")
    assert fault(image_reader(), gone) == (Status.MISSING, "there is no such file")
    assert fault(truth_reader(), gone) == (TruthStatus.MISSING, "there is no such file")
    assert fault(image_reader(), f"mock://{uuid.uuid4().hex}/gone.jpg")[0] is Status.MISSING
    assert fault(image_reader(), f"{gone}#0:0")[0] is Status.MISSING


def test_what_may_not_be_read_is_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")  # root, whom tests may run as, is never refused

    monkeypatch.setattr(os, "stat", refuse)
    found, truth = fault(image_reader(), "/x.jpg"), fault(truth_reader(), "/x.png")
    monkeypatch.undo()
    assert found == (Status.DENIED, "permission denied")
    assert truth == (TruthStatus.UNREADABLE, "permission denied")


def test_pipes_devices_and_folders_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", Path("/dev/zero"), tmp_path):
        assert fault(image_reader(), str(path)) == (Status.UNREADABLE, "cannot be read: not a regular file")
        assert fault(truth_reader(), str(path))[0] is TruthStatus.UNREADABLE


@pytest.mark.parametrize(
    "uri",
    ["a\0b.jpg", "nope://x/y.jpg", "s3://", "/" + "x" * 5000, "/etc/hostname/x.jpg", "\udcff\ud800.jpg"],
)
def test_uris_that_cannot_be_right_are_faults_without_the_path(uri: str) -> None:
    status, sentence = fault(image_reader(), uri)
    assert status is Status.UNREADABLE
    assert sentence.startswith("cannot be read: ")
    assert uri not in sentence


# -- inside Parquet

VALUES = [None if index % 7 == 3 else bytes([index]) * (1 + index % 5) for index in range(100)]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bytes") / "a#1:2 b.parquet"
    pq.write_table(pa.table({"truth_bytes": VALUES, "image_bytes": VALUES[::-1]}), path, row_group_size=40)
    return path


def uri(manifest: Path, index: int) -> str:
    return f"{manifest}#{index // 40}:{index % 40}"


def test_every_value_is_where_its_address_says(manifest: Path) -> None:
    images, truths = EmbeddedReader("image_bytes"), EmbeddedReader("truth_bytes")
    assert [truths.read(uri(manifest, index)) for index in range(100)] == VALUES
    assert [images.read(uri(manifest, index)) for index in range(100)] == VALUES[::-1]


@given(st.lists(st.integers(0, 99), max_size=30), st.sampled_from([0, 3, 2**20]))
def test_any_order_gives_the_same_values(manifest: Path, order: list[int], at_hand: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "PASSED_BYTES", at_hand)
        reader = EmbeddedReader("truth_bytes")
        assert [reader.read(uri(manifest, index)) for index in order] == [VALUES[index] for index in order]


def test_rows_a_little_out_of_order_cost_one_pass(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def counting(path: str) -> Location:
        opened.append(path)
        return locate(path)

    monkeypatch.setattr(embedded, "locate", counting)
    reader = EmbeddedReader("truth_bytes")
    order = [index + shift for index in range(0, 40, 8) for shift in (0, 2, 4, 6, 1, 3, 5, 7)]
    assert [reader.read(uri(manifest, index)) for index in order] == [VALUES[index] for index in order]
    assert opened == [str(manifest)]


def test_null_bytes_are_missing(manifest: Path) -> None:
    assert fault(truth_reader(), uri(manifest, 3)) == (
        TruthStatus.MISSING,
        "the manifest holds no bytes for it",
    )


def test_a_manifest_that_changed_is_a_fault_and_not_the_end(manifest: Path) -> None:
    reader = image_reader()
    for address in (f"{manifest}#0:40", f"{manifest}#9:0", f"{manifest}#0:4000"):
        status, sentence = fault(reader, address)
        assert (status, sentence.startswith("cannot be read: ")) == (Status.UNREADABLE, True)
    assert fault(Reader("gone", Status.MISSING, Status.UNREADABLE), uri(manifest, 0))[0] is Status.UNREADABLE
    assert reader.read(uri(manifest, 0)) == VALUES[-1]


def test_damage_in_one_row_group_leaves_the_others(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = [rng.bytes(50_000) for _ in range(6)]
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"image_bytes": values}), path, row_group_size=2, use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[: 2 * 50_000] = bytes(2 * 50_000)
    path.write_bytes(b"PAR1" + data[4:])
    reader = image_reader()
    assert fault(reader, f"{path}#0:0")[0] is Status.UNREADABLE
    assert fault(reader, f"{path}#0:1")[0] is Status.UNREADABLE
    assert reader.read(f"{path}#2:1") == values[5]


def test_what_was_passed_over_is_forgotten_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "PASSED_BYTES", 1_000_000)
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"image_bytes": [bytes(100_000)] * 200}), path)
    reader = EmbeddedReader("image_bytes")
    tracemalloc.start()
    assert reader.read(f"{path}#0:199") == bytes(100_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000
