"""Files by path or URI, through pyarrow.fs: local disks and object stores look alike from here on."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from pyarrow import fs

from batchseg.config.places import WHERE_TO_PUT_THEM, has_credentials, without_credentials
from batchseg.errors import ConfigError, OutputError

TEMPORARY = ".tmp-"
# tries of one request to S3, with growing pauses: it may be away for half a minute
S3_TRIES = 8
COPY_BYTES = 8 * 2**20
# options such as ?region=eu&scheme=http; any other question mark belongs to a name
_OPTIONS = re.compile(r"\?\w+=[^?]*$")

_S3_ERROR = re.compile(r"AWS Error (\w+) during")
_S3_DENIED = re.compile("DENIED|ACCESS_KEY|SIGNATURE|TOKEN|UNRECOGNIZED_CLIENT|CREDENTIAL")


@contextmanager
def plain_errors() -> Iterator[None]:
    """Errors of an object store as the operating system's own kinds, with a short `strerror`."""
    try:
        yield
    except OSError as exc:
        plain = _plain(exc)
        if plain is exc:
            raise
        raise plain from exc


def _plain(exc: OSError) -> OSError:
    if exc.errno is not None:
        return exc
    if (found := _S3_ERROR.search(str(exc))) is not None:
        return _of_s3(found[1])
    if "allow_bucket_creation" in str(exc):  # Arrow's own advice where a folder's bucket is missing
        return _of_s3("NO_SUCH_BUCKET")
    return exc


def _of_s3(code: str) -> OSError:
    if _S3_DENIED.search(code):
        return PermissionError(errno.EACCES, f"access is denied; check the credentials ({code})")
    if code == "NO_SUCH_BUCKET":
        return FileNotFoundError(errno.ENOENT, "there is no such bucket")
    if code == "NETWORK_CONNECTION":
        return ConnectionError(errno.ECONNREFUSED, "the object store does not answer")
    return OSError(errno.EIO, f"the object store refuses it: {code}")


@dataclass(frozen=True)
class Location:
    """A file or folder on a file system; `str()` gives back an absolute path or a full URI."""

    filesystem: fs.FileSystem
    path: str
    prefix: str = ""  # "s3://" and the like; empty on a local disk
    query: str = ""  # options of the file system, such as ?endpoint_override=...

    def __str__(self) -> str:
        return self.prefix + self.path + self.query

    def __truediv__(self, below: str) -> Location:
        return replace(self, path=f"{self.path.rstrip('/')}/{below}")

    def uri_below(self, name: str) -> str:
        """`str(self / name)` without the Location between, which a listing would make for every row."""
        return f"{self.prefix}{self.path.rstrip('/')}/{name}{self.query}"

    @property
    def is_local(self) -> bool:
        return not self.prefix

    @property
    def name(self) -> str:
        return self.path.rstrip("/").rpartition("/")[2]

    @property
    def parent(self) -> Location:
        return replace(self, path=self.path.rstrip("/").rpartition("/")[0] or "/")

    @plain_errors()
    def info(self) -> fs.FileInfo:
        return self.filesystem.get_file_info(self.path)

    def exists(self) -> bool:
        return bool(self.info().type != fs.FileType.NotFound)

    def __reduce__(self) -> tuple[Any, ...]:
        return locate, (str(self),)  # the client is the other process's own, with its connections

    def is_folder(self) -> bool:
        return bool(self.info().type == fs.FileType.Directory)

    @plain_errors()
    def read(self) -> bytes:
        """The whole file. Raises OSError (FileNotFoundError, PermissionError) as the file system does."""
        if self.is_local:
            with open(self.path, "rb") as file:
                return file.read()
        with self.filesystem.open_input_stream(self.path) as stream:
            return bytes(stream.readall())

    @plain_errors()
    def download(self, path: str | os.PathLike[str]) -> None:
        """Copy the file, of any size, to a path on this machine."""
        with self.filesystem.open_input_stream(self.path) as stream, open(path, "wb") as file:
            shutil.copyfileobj(stream, file, COPY_BYTES)

    @plain_errors()
    def write(self, data: bytes) -> None:
        """Write a file whole or not at all: a temporary name and a rename locally, one upload elsewhere."""
        if not self.is_local:
            with self.filesystem.open_output_stream(self.path) as stream:
                stream.write(data)
            return

        def make(path: str) -> None:
            with open(path, "wb") as file:
                file.write(data)

        self.write_by(make)

    @plain_errors()
    def write_by(self, make: Callable[[str], None]) -> None:
        """The same for a file of any size, by what makes it at the path of this machine that it is given."""
        if not self.is_local:
            with tempfile.TemporaryDirectory(prefix="batchseg-") as folder:
                path = os.path.join(folder, self.name)
                make(path)
                with open(path, "rb") as file, self.filesystem.open_output_stream(self.path) as stream:
                    shutil.copyfileobj(file, stream, COPY_BYTES)
            return
        temporary = self.parent / temporary_name()
        try:
            make(temporary.path)
            os.replace(temporary.path, self.path)
        except BaseException:
            temporary.delete()
            raise

    @plain_errors()
    def move(self, to: Location) -> None:
        """Give the file another name, in place of what bears it; on a local disk in one step."""
        if self.is_local:
            os.replace(self.path, to.path)
        else:
            self.filesystem.move(self.path, to.path)

    @plain_errors()
    def delete(self) -> None:
        """Remove the file if it is there."""
        with suppress(FileNotFoundError):
            self.filesystem.delete_file(self.path)

    @plain_errors()
    def make_folder(self) -> None:
        self.filesystem.create_dir(self.path, recursive=True)

    @plain_errors()
    def delete_folder(self) -> None:
        """Remove the folder and all that is in it, if it is there."""
        if self.exists():
            self.filesystem.delete_dir(self.path)

    @plain_errors()
    def files(self, suffix: str = "") -> list[Location]:
        """The files directly in this folder, sorted by name; none if the folder is missing."""
        found = self.filesystem.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
        paths = sorted(item.path for item in found if item.type == fs.FileType.File)
        return [replace(self, path=path) for path in paths if path.endswith(suffix)]


@contextmanager
def output_errors(root: Location) -> Iterator[None]:
    """What the file system refuses below a folder that is written, as one sentence. Raises OutputError."""
    try:
        yield
    except OSError as exc:
        raise OutputError(f"{root}: cannot be written: {exc.strerror or exc}") from exc


def temporary_name() -> str:
    """A short hidden name: what carries it is unfinished, and no reader takes it for a table or a mask."""
    return f"{TEMPORARY}{uuid.uuid4().hex[:12]}"


def is_uri(path: str) -> bool:
    return "://" in path


def locate(path: str) -> Location:
    """Open a path or URI. Raises ConfigError where no file system serves a URI, or credentials are in it."""
    if path.startswith("file://"):
        path = unquote(path.removeprefix("file://"))  # the one kind of URI that is commonly escaped
    if not is_uri(path):
        return Location(_local(), os.path.abspath(os.path.expanduser(path)))
    if has_credentials(path):
        raise ConfigError(
            f"{without_credentials(path)}: was given with credentials, which would be recorded; "
            f"{WHERE_TO_PUT_THEM}"
        )
    options = _OPTIONS.search(path)
    query = options[0] if options else ""
    scheme, _, rest = path.removesuffix(query).partition("://")
    host, _, below = rest.partition("/")
    root = f"{scheme}://{host}"
    try:
        filesystem, top = _open_root(f"{root}/{query}")
    except (pa.ArrowException, ValueError, OSError) as exc:
        raise ConfigError(f"{path}: cannot open this location: {exc}") from exc
    top = top.rstrip("/")
    return Location(filesystem, f"{top}/{below}".rstrip("/"), root.removesuffix(top), query)


@lru_cache(maxsize=64)
def _open_root(uri: str) -> tuple[fs.FileSystem, str]:
    # only the root goes through the URI parser, so that names with spaces or % need no escaping; and one
    # client serves a bucket, for opening one costs a handshake
    filesystem, top = fs.FileSystem.from_uri(uri)
    return _patient(filesystem), top


def _patient(filesystem: fs.FileSystem) -> fs.FileSystem:
    """The same client, which tries S3 more often than Arrow's three times; a URI cannot say so."""
    if filesystem.type_name != "s3":
        return filesystem
    _, (options,) = filesystem.__reduce__()
    return fs.S3FileSystem(**options, retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=S3_TRIES))


@lru_cache(maxsize=1)
def _local() -> fs.LocalFileSystem:
    return fs.LocalFileSystem()
