"""An S3 server on loopback, and a proxy before it that can be unreachable for a while."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from threading import Event, Thread
from time import monotonic
from typing import Any

import boto3
from processes import runs
from ray_nodes import free_port

KEYS = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "secret"}
START_S = 60.0


class Proxy:
    """Hands bytes on between its own port and another; while it is cut, it refuses and drops connections."""

    def __init__(self, target: int) -> None:
        self.target, self.port = target, free_port()
        self.open: set[socket.socket] = set()
        self.running = Event()
        self.stopped = False
        self.listening = self._listen()
        Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """As if the server had been killed."""
        self.running.clear()
        self.listening.close()
        for each in list(self.open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """As if it had been started again, on the same store."""
        self.listening = self._listen()

    def close(self) -> None:
        self.stopped = True
        self.cut()

    def _listen(self) -> socket.socket:
        listening = socket.create_server(("127.0.0.1", self.port))
        self.running.set()
        return listening

    def _accept(self) -> None:
        while not self.stopped:
            self.running.wait()
            try:
                near, _ = self.listening.accept()
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                continue
            for source, sink in ((near, far), (far, near)):
                Thread(target=self._copy, args=(source, sink), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        self.open.add(source)
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass  # the other end is gone, or the proxy was cut
        finally:
            self.open.discard(source)
            for each in (source, sink):
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            source.close()


class Store:
    """A server with one bucket, `data`; `uri` goes through the proxy."""

    def __init__(self) -> None:
        self.port = free_port()
        words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self.server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._wait()
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name="us-east-1",
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        )
        self.client.create_bucket(Bucket="data")
        self.proxy = Proxy(self.port)

    def uri(self, below: str) -> str:
        return f"s3://data/{below}?endpoint_override=127.0.0.1:{self.proxy.port}&scheme=http&region=us-east-1"

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket="data", Key=key, Body=data)

    def get(self, key: str) -> bytes:
        data: bytes = self.client.get_object(Bucket="data", Key=key)["Body"].read()
        return data

    def keys(self, prefix: str) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket="data", Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def close(self) -> None:
        self.proxy.close()
        self.server.kill()
        self.server.wait()

    def _wait(self) -> None:
        deadline = monotonic() + START_S
        while runs(self.server):
            with suppress(OSError), closing(socket.create_connection(("127.0.0.1", self.port), 1)):
                return
            assert monotonic() < deadline
        raise AssertionError("the S3 server ended")


@contextmanager
def object_store() -> Iterator[Store]:
    store = Store()
    try:
        yield store
    finally:
        store.close()
