"""What a server answered to a call, as parts that a model can take.

Only bytes that are in the answer become content. A path or an address that a server names is text: nothing here opens
a file or a connection, whatever the tool is called.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING

from perstack_proxy.limits import IMAGE_BYTES, PDF_BYTES
from perstack_proxy.sanitise import encodable, sanitise_line

from perstack.messages import ContentPart, FilePart, ImagePart, TextPart
from perstack.protocols import CallOutcome

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_PARTS = 1000
TEXT_CHARACTERS = 100_000
"""Of all texts of one result together: about 25,000 tokens. More would crowd out the conversation."""
NAME_CHARACTERS = 300
IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""What models take as images; any other type goes on as a file."""

_STARTS = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


def to_outcome(result: Mapping[str, object]) -> CallOutcome:
    """The outcome that a ``tools/call`` result stands for; what cannot be used is named in its place."""
    content = result.get("content", [])
    entries = content if isinstance(content, list) else []
    parts = [_part(entry) for entry in entries[:MAX_PARTS]]
    if len(entries) > MAX_PARTS:
        parts.append(TextPart(text=f"[{len(entries) - MAX_PARTS} further parts were left out]"))
    if not isinstance(content, list):
        parts.append(TextPart(text="[the content was left out: it is not a list]"))
    structured = result.get("structuredContent")
    if structured is not None and not any(isinstance(part, TextPart) and part.text.strip() for part in parts):
        parts.append(TextPart(text=encodable(json.dumps(structured, ensure_ascii=False))))
    parts = [part for part in parts if not (isinstance(part, TextPart) and not part.text)]
    return CallOutcome(
        contents=tuple(parts),
        is_error=result.get("isError") is True,
        structured=structured,  # type: ignore[arg-type]  # decoded from JSON
    )


def bounded(contents: tuple[ContentPart, ...], *, limit: int = TEXT_CHARACTERS) -> tuple[ContentPart, ...]:
    """`contents` with at most `limit` characters of text: of what is too long, the beginning and the end stay.

    Never empty: models refuse empty content, and silence should not look like a fault.
    """
    left = limit
    parts: list[ContentPart] = []
    for part in contents:
        if isinstance(part, TextPart):
            text = shortened(part.text, left)
            left -= min(len(part.text), left)
            parts.append(TextPart(text=text))
        else:
            parts.append(part)
    return tuple(parts) or (TextPart(text="(no output)"),)


def shortened(text: str, limit: int) -> str:
    """`text`, or its first and last parts of `limit` characters together around a line that says what is missing."""
    if len(text) <= limit:
        return text
    head = (limit + 1) // 2
    tail = limit - head
    marker = f"\n[… {len(text) - limit} of {len(text)} characters left out …]\n"
    return text[:head] + marker + (text[-tail:] if tail else "")


def _part(entry: object) -> ContentPart:
    if not isinstance(entry, dict):
        return _left_out("content", "it is not an object")
    kind = entry.get("type")
    if not isinstance(kind, str):
        return _left_out("content", "it has no type")
    if kind == "text":
        text = entry.get("text")
        return TextPart(text=encodable(text)) if isinstance(text, str) else _left_out("text", "it is not a string")
    if kind in {"image", "audio"}:
        return _binary(kind, entry.get("data"), entry.get("mimeType"))
    if kind == "resource":
        return _resource(entry.get("resource"))
    if kind == "resource_link":
        words = [_word(entry.get(key)) for key in ("title", "name", "uri", "mimeType", "description")]
        return TextPart(text=f"[link to a resource: {', '.join(word for word in words if word)}]")
    return _left_out("content", f"its type {_word(kind)!r} is unknown")


def _resource(resource: object) -> ContentPart:
    if not isinstance(resource, dict):
        return _left_out("resource", "it is not an object")
    text, blob = resource.get("text"), resource.get("blob")
    if isinstance(text, str):
        return TextPart(text=f"[resource {_word(resource.get('uri'))}]\n{encodable(text)}")
    return _binary("resource", blob, resource.get("mimeType"))


def _binary(kind: str, data: object, mime_type: object) -> ContentPart:
    if not isinstance(data, str):
        return _left_out(kind, "it has no data")
    mime = mime_type if isinstance(mime_type, str) and _is_mime_type(mime_type) else "application/octet-stream"
    limit = IMAGE_BYTES if mime.startswith("image/") else PDF_BYTES
    if len(data) * 3 // 4 > limit + 2:
        return _left_out(kind, f"it is larger than {limit} bytes")
    try:
        content = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return _left_out(kind, "its data is not base64")
    if mime not in IMAGE_TYPES:
        return FilePart(encoded_data=data, mime_type=mime)
    found = _image_type(content)
    if found is None:
        return _left_out(kind, "its content is no PNG, JPEG, GIF or WebP image")
    return ImagePart(encoded_data=data, mime_type=found)


def _image_type(content: bytes) -> str | None:
    """The type by the content: vendors refuse a conversation that has an image under another type than its own."""
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "image/webp"
    return next((mime for start, mime in _STARTS if content.startswith(start)), None)


def _is_mime_type(value: str) -> bool:
    main, slash, sub = value.partition("/")
    return (
        bool(slash)
        and len(value) <= 128
        and all(part and part.isascii() and all(c.isalnum() or c in "!#$&^_.+-" for c in part) for part in (main, sub))
    )


def _word(value: object) -> str:
    return sanitise_line(value, limit=NAME_CHARACTERS) if isinstance(value, str) else ""


def _left_out(kind: str, reason: str) -> TextPart:
    return TextPart(text=f"[{kind} left out: {reason}]")
