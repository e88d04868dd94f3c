"""An engine that does not do all that it is told: a socket before the real one, where parts of a request get lost."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

CREATE = b"/containers/create"


@contextmanager
def lying_engine(real: str, place: Path, changes: Mapping[str, object]) -> Iterator[str]:
    """The path of a socket that answers as `real`, but makes containers with `changes` to their host configuration."""
    path = str(place / "engine.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        threading.Thread(target=_serve, args=(listener, real, changes), daemon=True).start()
        try:
            yield path
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            Path(path).unlink()


def _serve(listener: socket.socket, real: str, changes: Mapping[str, object]) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_pass_on, args=(client, real, changes), daemon=True).start()


def _pass_on(client: socket.socket, real: str, changes: Mapping[str, object]) -> None:
    """One connection, which is one request or a container's streams."""
    with client, socket.socket(socket.AF_UNIX) as engine, suppress(OSError):
        engine.connect(real)
        header = b""
        while b"\r\n\r\n" not in header:
            header += client.recv(65536)
        header, _, body = header.partition(b"\r\n\r\n")
        if CREATE in header.splitlines()[0]:
            lines = header.split(b"\r\n")
            (length,) = [int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length:")]
            while len(body) < length:
                body += client.recv(65536)
            told = json.loads(body)
            told["HostConfig"] |= changes
            body = json.dumps(told).encode()
            lines = [line for line in lines if not line.lower().startswith(b"content-length:")]
            header = b"\r\n".join([*lines, b"Content-Length: %d" % len(body)])
        engine.sendall(header + b"\r\n\r\n" + body)
        back = threading.Thread(target=_copy, args=(engine, client), daemon=True)
        back.start()
        _copy(client, engine)
        back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
