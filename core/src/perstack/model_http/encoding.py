"""The JSON of a conversation, made once for each message: a step sends them all again, and only the last are new."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

import msgspec

from perstack.messages import JsonObject, Message
from perstack.model_http.media import without
from perstack.specs import ModelInfo

KEPT_BYTES = 64 * 1024 * 1024
"""JSON that one provider keeps; longer conversations are encoded anew at each step, which is slow and right."""

KEPT_CONVERSATIONS = 16
"""Twice as many as one answer can start delegates: of older ones nothing is kept."""

_Key: TypeAlias = tuple[int, bool, bool]


class Encodings:
    """A vendor's form of messages as JSON. Equal messages give equal bytes, so that the vendor can cache a prefix.

    Messages are told apart by identity: they are frozen, and the engine hands on the very same ones from step to step.

    Args:
        form: What one message is in the vendor's format: any number of objects.
        most: Bytes to keep.
    """

    def __init__(self, form: Callable[[Message], Iterable[JsonObject]], *, most: int = KEPT_BYTES) -> None:
        self._form = form
        self._most = most
        self._size = 0
        self._newest: tuple[tuple[Message, ...], ModelInfo | None, list[msgspec.Raw]] = ((), None, [])
        self._kept: dict[_Key, tuple[Message, tuple[msgspec.Raw, ...]]] = {}
        self._conversations: dict[int, tuple[Message, ...]] = {}

    def one(self, message: Message, info: ModelInfo | None = None) -> tuple[msgspec.Raw, ...]:
        """The objects of one message, without what the model of `info` does not take."""
        blind, no_documents = (info.vision is False, info.documents is False) if info is not None else (False, False)
        key = (id(message), blind, no_documents)
        kept = self._kept.get(key)
        if kept is not None:  # which holds the message, so nothing else has its id
            return kept[1]
        objects = self._form(without(message, info))
        encoded = tuple(msgspec.Raw(msgspec.json.encode(item)) for item in objects)
        self._size += sum(memoryview(raw).nbytes for raw in encoded)
        if self._size > self._most:
            self._kept.clear()
            self._size = 0
        self._kept[key] = (message, encoded)
        return encoded

    def all(self, messages: tuple[Message, ...], info: ModelInfo | None = None) -> list[msgspec.Raw]:
        """The objects of all of them, in order. The conversation of the step before is not gone through again."""
        before, known, objects = self._newest
        begin = len(before)
        if known != info or messages[:begin] != before:  # compares by identity first: microseconds
            begin, objects = 0, []
            self._forget_what_left(before, messages)
        objects = objects + [raw for message in messages[begin:] for raw in self.one(message, info)]
        self._newest = (messages, info, objects)
        return objects

    def _forget_what_left(self, before: tuple[Message, ...], messages: tuple[Message, ...]) -> None:
        """Messages that gave way to a summary, or whose conversation ended long ago, are kept no longer."""
        known = self._conversations  # by their first messages, which they hold, so nothing else has those ids
        left: tuple[Message, ...] = ()
        for conversation in (before, messages):
            if conversation:
                left = known.pop(id(conversation[0]), ())
                known[id(conversation[0])] = conversation
        if len(known) > KEPT_CONVERSATIONS:
            left = (*left, *known.pop(next(iter(known))))
        gone = {id(message) for message in left} - {id(message) for message in messages}
        if gone:
            self._kept = {key: kept for key, kept in self._kept.items() if key[0] not in gone}
            self._size = sum(memoryview(raw).nbytes for _, encoded in self._kept.values() for raw in encoded)
