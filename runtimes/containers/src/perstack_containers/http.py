"""The engines' HTTP API: requests, archives, and connections that become a container's standard streams.

Docker and Podman answer the same requests. An address is the path of a unix socket, or ``tcp://HOST:PORT``.

This module is part of the start of every run and of the reaper, so it is the standard library alone; the SDKs cost more
to import than a container costs to start.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlencode, urlsplit

SECONDS = 60.0
"""For one answer. An engine under load takes seconds to create a container."""
REMOVE_SECONDS = 30.0
ENDING_SECONDS = 3.0
"""For a container that ends in the very moment in which it is removed: Podman then fails, and can be asked again."""
RETRY_SECONDS = 0.05
MAX_HEADER_BYTES = 65536
ANSWER_BYTES = 64 * 1024 * 1024
"""Of one answer. A list of ten thousand containers has a quarter of it."""


class EngineFailure(Exception):
    """The engine refused or failed; `status` is its HTTP status, or 0 when it did not answer at all."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class _Connection(http.client.HTTPConnection):
    """HTTP to an address."""

    def __init__(self, address: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._address = address

    def connect(self) -> None:
        """Connect to the address."""
        self.sock = _connected(self._address, self.timeout or SECONDS)


def call(
    address: str,
    method: str,
    target: str,
    *,
    query: dict[str, str] | None = None,
    body: object = None,
    seconds: float = SECONDS,
) -> object:
    """The JSON that the engine answers, or None when it answers with nothing.

    Raises:
        EngineFailure: The socket is not there, or the engine's status is 400 or above; carries the engine's words.
    """
    url = f"{target}?{urlencode(query)}" if query else target
    response, data = _answer(address, method, url, body, seconds)
    if response.status >= 400:
        raise EngineFailure(_words(data) or response.reason, status=response.status)
    try:
        return json.loads(data) if data.strip() else None
    except ValueError:
        raise EngineFailure(f"what answers at {address} is no container engine") from None


def server(address: str) -> str:
    """What the engine calls itself, such as ``Libpod/4.3.1 (linux)``: the answer that costs it nothing.

    Raises:
        EngineFailure: It does not answer.
    """
    response, _ = _answer(address, "GET", "/_ping", None, SECONDS)
    return response.getheader("Server", "")


def _answer(
    address: str, method: str, url: str, body: object, seconds: float, *, again: bool = True
) -> tuple[http.client.HTTPResponse, bytes]:
    """An engine that hung up in place of an answer is asked once more, unless it was to make something."""
    connection = _Connection(address, seconds)
    headers = {"Content-Type": "application/json"} if body is not None else {}
    try:
        connection.request(method, url, json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        data = response.read(ANSWER_BYTES + 1)
        if len(data) > ANSWER_BYTES:
            raise EngineFailure(f"the engine at {address} does not end its answer")
        return response, data
    except (OSError, http.client.HTTPException) as error:
        if again and body is None and isinstance(error, http.client.RemoteDisconnected):
            return _answer(address, method, url, body, seconds, again=False)
        raise EngineFailure(f"the engine at {address} did not answer: {str(error) or type(error).__name__}") from error
    finally:
        connection.close()


def hijack(address: str, target: str, *, query: dict[str, str], seconds: float = SECONDS) -> socket.socket:
    """A connection that carries a container's standard streams after the engine agreed to it.

    Raises:
        EngineFailure: The engine did not agree.
    """
    lines = (f"POST {target}?{urlencode(query)} HTTP/1.1", "Host: localhost", "Connection: Upgrade", "Upgrade: tcp")
    try:
        stream = _connected(address, seconds)
    except OSError as error:
        raise EngineFailure(f"the engine at {address} did not answer: {error}") from error
    try:
        stream.sendall("\r\n".join([*lines, "Content-Length: 0", "", ""]).encode())
        header = bytearray()
        while not header.endswith(b"\r\n\r\n"):
            byte = stream.recv(1)  # nothing of what follows the header may be taken
            header += byte
            if not byte or len(header) > MAX_HEADER_BYTES:
                raise EngineFailure("the engine ended a connection to a container's streams")
        status = int(header.split(None, 2)[1])
        if status not in {101, 200}:
            words = _words(stream.recv(MAX_HEADER_BYTES))
            raise EngineFailure(f"the engine refused a container's streams: {words}", status=status)
    except OSError as error:
        stream.close()
        raise EngineFailure(f"the engine at {address} did not answer: {error}") from error
    except BaseException:
        stream.close()
        raise
    stream.settimeout(None)
    return stream


def write_archive(address: str, container: str, at: str, fill: Callable[[Callable[[bytes], object]], None]) -> None:
    """The tar archive that `fill` writes is unpacked in a container's directory `at`.

    Raises:
        EngineFailure: The engine did not take it.
    """
    connection = _Connection(address, SECONDS)
    try:
        connection.putrequest("PUT", f"/containers/{container}/archive?{urlencode({'path': at})}")
        connection.putheader("Content-Type", "application/x-tar")
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        fill(lambda data: _send(connection, b"%x\r\n%b\r\n" % (len(data), data)) if data else None)
        _send(connection, b"0\r\n\r\n")
        response = connection.getresponse()
        if response.status >= 400:
            raise EngineFailure(_words(response.read()) or response.reason, status=response.status)
    except (OSError, http.client.HTTPException) as error:
        raise EngineFailure(f"the engine at {address} did not take an archive: {error}") from error
    finally:
        connection.close()


def _send(connection: _Connection, data: bytes) -> None:
    try:
        connection.send(data)
    except OSError as error:
        raise EngineFailure(f"the engine does not take all of an archive: {error}") from error


@contextmanager
def read_archive(address: str, container: str, at: str) -> Iterator[http.client.HTTPResponse]:
    """A container's directory `at` as a tar archive, to be read.

    Raises:
        EngineFailure: The engine did not give it.
    """
    connection = _Connection(address, SECONDS)
    try:
        connection.request("GET", f"/containers/{container}/archive?{urlencode({'path': at})}")
        response = connection.getresponse()
        if response.status >= 400:
            raise EngineFailure(_words(response.read()) or response.reason, status=response.status)
        yield response
    except (OSError, http.client.HTTPException) as error:
        raise EngineFailure(f"the engine at {address} did not give an archive: {error}") from error
    finally:
        connection.close()


def containers(address: str, labels: Mapping[str, str]) -> list[tuple[str, dict[str, str]]]:
    """Id and labels of every container that has all of `labels`, running or not."""
    query = {"all": "1", "filters": json.dumps({"label": _wanted(labels)})}
    rows = call(address, "GET", "/containers/json", query=query)
    return [(row["Id"], row.get("Labels") or {}) for row in rows] if isinstance(rows, list) else []


def volumes(address: str, labels: Mapping[str, str]) -> list[tuple[str, dict[str, str]]]:
    """Name and labels of every volume that has all of `labels`."""
    query = {"filters": json.dumps({"label": _wanted(labels)})}
    found = call(address, "GET", "/volumes", query=query)
    rows = found.get("Volumes") if isinstance(found, dict) else None
    return [(row["Name"], row.get("Labels") or {}) for row in rows or []]


def remove_volume(address: str, name: str) -> None:
    """The volume is gone. One that a container still uses is an error."""
    try:
        call(address, "DELETE", f"/volumes/{name}", seconds=REMOVE_SECONDS)
    except EngineFailure as error:
        if error.status != 404:
            raise


def remove(address: str, container: str) -> None:
    """The container is gone, or is being removed by someone else."""
    query = {"force": "1", "v": "1"}
    deadline = time.monotonic() + ENDING_SECONDS
    while True:
        try:
            call(address, "DELETE", f"/containers/{container}", query=query, seconds=REMOVE_SECONDS)
        except EngineFailure as error:
            if error.status in {404, 409}:
                return
            if error.status < http.client.INTERNAL_SERVER_ERROR or time.monotonic() > deadline:
                raise
        else:
            return
        time.sleep(RETRY_SECONDS)


def _wanted(labels: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" if value else name for name, value in labels.items()]


def _connected(address: str, seconds: float) -> socket.socket:
    if address.startswith("tcp://"):
        url = urlsplit(address)
        return socket.create_connection((url.hostname or "", url.port or 0), seconds)
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        stream.settimeout(seconds)
        stream.connect(address)
    except BaseException:
        stream.close()
        raise
    return stream


def _words(data: bytes) -> str:
    """The engine's own explanation."""
    try:
        answer = json.loads(data)
    except ValueError:
        return data.decode("utf-8", "replace")[:1000].strip()
    message = answer.get("message") or answer.get("cause") if isinstance(answer, dict) else None
    return str(message or "").strip()
