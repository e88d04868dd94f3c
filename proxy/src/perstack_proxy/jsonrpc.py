"""Newline-delimited JSON-RPC 2.0, as MCP speaks it over stdio, with every dimension of a message bounded.

The peer is untrusted: a line is measured before it is parsed, so a hostile one costs a bounded amount of memory.
MCP's own narrowing of JSON-RPC holds: no batches, `params` and `result` are objects, ids are strings or integers.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from perstack_proxy.limits import CLIENT_LIMITS, METHOD_CHARACTERS, MessageLimits
from perstack_proxy.sanitise import well_formed

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602

#: Integer ids beyond this lose digits in peers that read numbers as doubles.
MAX_ID = 2**53

RequestId = str | int


class ErrorObject(NamedTuple):
    """The `error` member of a response."""

    code: int
    message: str
    data: object = None


class Request(NamedTuple):
    """A call that must be answered with a response of the same id."""

    id: RequestId
    method: str
    params: dict[str, object] = {}  # noqa: RUF012 - never mutated; an empty one is left out on the wire


class Notification(NamedTuple):
    """A message that has no answer."""

    method: str
    params: dict[str, object] = {}  # noqa: RUF012 - never mutated; an empty one is left out on the wire


class Response(NamedTuple):
    """The answer to a request: a result or an error, never both. The id is None if the request's was unreadable."""

    id: RequestId | None
    result: dict[str, object] | None = None
    error: ErrorObject | None = None


Message = Request | Notification | Response


class MessageError(ValueError):
    """A line that is not an acceptable message.

    Attributes:
        code: The JSON-RPC error code to answer with.
        id: The id of the refused message, if it could be read.
    """

    def __init__(self, reason: str, *, code: int = INVALID_REQUEST, id: RequestId | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.id = id


class LineTooLongError(MessageError):
    """A line over the limit; its bytes were dropped."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the line is longer than {limit} bytes", code=PARSE_ERROR)
        self.limit = limit


def encode(message: Message) -> bytes:
    """The message as one line of UTF-8 JSON that ends in a newline and contains no other."""
    wire: dict[str, object] = {"jsonrpc": "2.0"}
    if isinstance(message, Response):
        wire["id"] = message.id
        if message.error is None:
            wire["result"] = message.result or {}
        else:
            code, text, data = message.error
            wire["error"] = {"code": code, "message": text} if data is None else message.error._asdict()
    else:
        if isinstance(message, Request):
            wire["id"] = message.id
        wire["method"] = message.method
        if message.params:
            wire["params"] = message.params
    try:
        text = json.dumps(wire, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # a lone surrogate, for example from a file name that is not UTF-8
        return json.dumps(wire, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def decode(line: bytes, *, limits: MessageLimits = CLIENT_LIMITS, surrogates: bool = True) -> Message:
    """The message on a line.

    Args:
        line: One line; a newline at its end is accepted.
        limits: Bounds that the line must keep.
        surrogates: Keep lone surrogates, which stand for bytes of file names; else each becomes ``?``.

    Raises:
        MessageError: The line is too large, not JSON, or not a JSON-RPC message. The text names the reason.
    """
    _measure(line, limits)
    try:
        value = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise MessageError(f"the line is not UTF-8 at byte {error.start}", code=PARSE_ERROR) from None
    except RecursionError:
        raise MessageError("the line is nested too deeply", code=PARSE_ERROR) from None
    except ValueError as error:
        raise MessageError(f"the line is not JSON: {error}", code=PARSE_ERROR) from None
    if not surrogates and _SURROGATE.search(line):
        value = well_formed(value)
    return _message(value, limits)


class LineSplitter:
    """Bytes in, whole lines out, with at most one line's limit of bytes held back.

    It does no input or output, so a blocking server and an async client can share it::

        splitter.feed(chunk)
        while (line := splitter.next_line()) is not None:
            ...
    """

    __slots__ = ("_buffer", "_discarding", "_limit", "_scanned")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._scanned = 0
        self._discarding = False

    def feed(self, data: bytes) -> None:
        """Adds what was read. Call `next_line` until it returns None before feeding again."""
        self._buffer += data

    def next_line(self) -> bytes | None:
        """The next whole line without its newline, or None if more bytes are needed.

        Raises:
            LineTooLongError: A line passed the limit. It is raised once for each such line; the rest of that line is
                dropped, and the next call goes on after it.
        """
        end = self._buffer.find(b"\n", self._scanned)
        if self._discarding:
            if end < 0:
                self._buffer.clear()
                return None
            del self._buffer[: end + 1]
            self._discarding = False
            self._scanned = 0
            return self.next_line()
        if end < 0 and len(self._buffer) <= self._limit:
            self._scanned = len(self._buffer)
            return None
        if end < 0 or end > self._limit:
            self._discarding = True
            self._scanned = 0
            raise LineTooLongError(self._limit)
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._scanned = 0
        return line

    @property
    def unfinished(self) -> int:
        """How many bytes of a line without an end are held; above zero at the end of a stream, the peer was cut off."""
        return len(self._buffer)


_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")


def _measure(line: bytes, limits: MessageLimits) -> None:
    """The line keeps the bounds that can be checked before anything is parsed.

    Counting raw bytes over-estimates, because brackets and commas in strings count too; only a line that fails the
    estimate is counted exactly, with its strings removed.
    """
    if len(line) > limits.line_bytes:
        raise LineTooLongError(limits.line_bytes)
    opening = line.count(b"[") + line.count(b"{")
    if opening <= limits.depth and opening + line.count(b",") <= limits.values:
        return
    bare = _STRING.sub(b"", line)
    if bare.count(b"[") + bare.count(b"{") + bare.count(b",") > limits.values:
        raise MessageError(f"the line has more than {limits.values} values", code=PARSE_ERROR)
    depth = 0
    for bracket in _BRACKET.finditer(bare):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > limits.depth:
            raise MessageError(f"the line is nested deeper than {limits.depth}", code=PARSE_ERROR)


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON number")


def _message(value: object, limits: MessageLimits) -> Message:
    if isinstance(value, list):
        raise MessageError("batches are not accepted")
    if not isinstance(value, dict):
        raise MessageError("the message is not an object")
    ident = _request_id(value.get("id"), limits)
    if value.get("jsonrpc") != "2.0":
        raise MessageError('"jsonrpc" must be "2.0"', id=ident)
    if "method" in value:
        return _call(value, ident)
    if "result" not in value and "error" not in value:
        raise MessageError("the message has no method, result or error", id=ident)
    return _response(value, ident)


def _request_id(value: object, limits: MessageLimits) -> RequestId | None:
    if value is None:
        return None
    if isinstance(value, str) and len(value) <= limits.id_characters:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_ID:
        return value
    raise MessageError(f'"id" must be an integer or a string of at most {limits.id_characters} characters')


def _call(value: dict[str, object], ident: RequestId | None) -> Request | Notification:
    method = value["method"]
    if not isinstance(method, str) or not 0 < len(method) <= METHOD_CHARACTERS:
        raise MessageError(f'"method" must be a string of 1 to {METHOD_CHARACTERS} characters', id=ident)
    params = value.get("params", {})
    if not isinstance(params, dict):
        raise MessageError('"params" must be an object', code=INVALID_PARAMS, id=ident)
    if "id" not in value:
        return Notification(method, params)
    if ident is None:
        raise MessageError('"id" of a request must not be null')
    return Request(ident, method, params)


def _response(value: dict[str, object], ident: RequestId | None) -> Response:
    if "result" in value and "error" in value:
        raise MessageError("the response has both a result and an error", id=ident)
    if "result" in value:
        result = value["result"]
        if ident is None or not isinstance(result, dict):
            raise MessageError('a result needs an "id" and must be an object', id=ident)
        return Response(ident, result)
    error = value["error"]
    if not isinstance(error, dict):
        raise MessageError('"error" must be an object', id=ident)
    code, text = error.get("code"), error.get("message")
    if not isinstance(code, int) or isinstance(code, bool) or not isinstance(text, str):
        raise MessageError('"error" needs an integer "code" and a string "message"', id=ident)
    return Response(ident, error=ErrorObject(code, text, error.get("data")))
