"""What stands in a conversation in the place of a part that a model cannot take."""

from __future__ import annotations

import msgspec

from perstack.messages import ContentPart, FilePart, ImagePart, Message, TextPart, ToolMessage, UserMessage
from perstack.specs import ModelInfo


def unsendable(mime_type: str) -> str:
    """The words for a part of a type that the format, or the model, does not know."""
    return f"[A file of type {mime_type} stood here; this model's format cannot carry it.]"


def data_url(part: ImagePart | FilePart) -> str:
    """The part as an address that holds it."""
    return f"data:{part.mime_type};base64,{part.encoded_data}"


def without(message: Message, info: ModelInfo | None) -> Message:
    """The message without what `info` says that the model does not take; the same one where there is nothing."""
    if info is None or (info.vision is not False and info.documents is not False):
        return message
    if isinstance(message, UserMessage):
        return msgspec.structs.replace(message, contents=_kept(message.contents, info))
    if isinstance(message, ToolMessage):
        results = [msgspec.structs.replace(one, contents=_kept(one.contents, info)) for one in message.contents]
        return msgspec.structs.replace(message, contents=tuple(results))
    return message


def _kept(parts: tuple[ContentPart, ...], info: ModelInfo) -> tuple[ContentPart, ...]:
    return tuple(part if _takes(part, info) else TextPart(text=_words(part)) for part in parts)


def _takes(part: ContentPart, info: ModelInfo) -> bool:
    if isinstance(part, ImagePart):
        return info.vision is not False
    return not (isinstance(part, FilePart) and part.mime_type == "application/pdf" and info.documents is False)


def _words(part: ContentPart) -> str:
    return part.text if isinstance(part, TextPart) else unsendable(part.mime_type)
