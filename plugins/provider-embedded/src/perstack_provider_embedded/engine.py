"""llama.cpp in this process: one loaded model that answers one request at a time."""

from __future__ import annotations

import contextlib
import secrets
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from perstack.errors import ProviderError
from perstack.messages import JsonObject, JsonValue

#: Prompt tokens between two looks at whether the caller still wants the answer: two seconds at the slowest speed seen.
BATCH_TOKENS = 256
SILENT = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """What the model wrote, with its real tokens counted. A cached token was in the previous request too."""

    text: str
    finish: Literal["stop", "length"]
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int


class Engine:
    """A loaded model. Every method blocks and belongs into a worker thread; calls wait for one another.

    llama.cpp's server insists on a listener, so it gets one that nothing can reach: a socket whose path is gone when
    the constructor returns, or, where there are no such sockets, a loopback port behind a random key.
    """

    def __init__(self, path: Path, *, threads: int, context: int) -> None:
        """Loads the weights, which takes half a second per 100 MB and holds the interpreter's lock.

        Raises:
            ProviderError: llama.cpp cannot load the file.
        """
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx = context
        params.n_parallel = 1
        params.n_batch = BATCH_TOKENS
        params.cpuparams.n_threads = threads
        params.cpuparams_batch.n_threads = threads
        params.warmup = False
        params.prefill_assistant = False
        params.verbosity = SILENT
        params.endpoint_slots = False
        params.ui = False
        params.api_keys = [secrets.token_urlsafe(32)]
        self._lock = threading.Lock()
        with _listener() as address:
            if address:
                params.hostnames = [address]
            try:
                self._server: object = xllamacpp.Server(params)
            except RuntimeError as error:
                raise ProviderError(
                    f"llama.cpp cannot load the weights {str(path)!r}.",
                    hint="The file is damaged, needs more memory than there is, or is of a kind that it does not know.",
                ) from error

    def complete(self, request: Mapping[str, JsonValue], *, stop: threading.Event) -> Completion | None:
        """The answer to a chat request, or None when `stop` was set before it was whole.

        Raises:
            ProviderError: The request does not fit into the context, or llama.cpp refused it.
        """
        body = {**request, "stream": True, "stream_options": {"include_usage": True}, "return_progress": True}
        chunks = _Chunks(stop)
        with self._lock:
            if stop.is_set():
                return None
            if self._server is None:
                raise ProviderError("The embedded model is closed.")
            self._server.handle_chat_completions(body, chunks.add)  # type: ignore[attr-defined]
        return None if stop.is_set() else chunks.completion()

    def close(self) -> None:
        """The model's memory is free again, after the request that is under way. Calling it again is harmless."""
        with self._lock:
            self._server = None


class _Chunks:
    """The pieces of one streamed answer."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._text: list[str] = []
        self._finish = ""
        self._usage: JsonObject = {}
        self._error: JsonObject | None = None

    def add(self, chunk: JsonObject) -> bool:
        """Take one chunk; True ends the generation."""
        if "error" in chunk:
            self._error = cast("JsonObject", chunk["error"])
            return True
        for choice in cast("list[JsonObject]", chunk.get("choices") or []):
            delta = cast("JsonObject", choice.get("delta") or {})
            self._text.append(str(delta.get("content") or ""))
            self._finish = str(choice.get("finish_reason") or self._finish)
        self._usage = cast("JsonObject", chunk.get("usage") or self._usage)
        return self._stop.is_set()

    def completion(self) -> Completion:
        """The whole answer, or the error that llama.cpp gave instead."""
        if self._error is not None:
            raise _refused(self._error)
        if self._finish not in ("stop", "length"):
            raise ProviderError("llama.cpp ended the answer without saying why.", retryable=True)
        details = cast("JsonObject", self._usage.get("prompt_tokens_details") or {})
        return Completion(
            text="".join(self._text),
            finish="stop" if self._finish == "stop" else "length",
            prompt_tokens=_count(self._usage, "prompt_tokens"),
            cached_tokens=_count(details, "cached_tokens"),
            output_tokens=_count(self._usage, "completion_tokens"),
        )


def _refused(error: JsonObject) -> ProviderError:
    if error.get("type") == "exceed_context_size_error":
        return ProviderError(
            f"The conversation has {error.get('n_prompt_tokens')} tokens, and the model takes {error.get('n_ctx')}.",
            hint="Pick fewer tools, read less at once, or raise contextSize if the model was trained for more.",
        )
    return ProviderError(f"llama.cpp refused the request: {error.get('message')}.")


def _count(usage: JsonObject, key: str) -> int:
    value = usage.get(key)
    return value if isinstance(value, int) else 0


@contextlib.contextmanager
def _listener() -> Iterator[str]:
    """A socket path that exists only as long as the context; empty where sockets have no paths."""
    if not hasattr(socket, "AF_UNIX"):
        yield ""
        return
    with tempfile.TemporaryDirectory(prefix="perstack-") as folder:
        yield str(Path(folder, "llama.sock"))
