"""Names and words of tools as a model may see them: legal for every vendor, and free of hidden characters."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import TYPE_CHECKING

from perstack_proxy.sanitise import sanitise

if TYPE_CHECKING:
    from perstack.messages import JsonObject, JsonValue

NAME_CHARACTERS = 64
"""The shortest limit among model vendors."""
DESCRIPTION_CHARACTERS = 4000
_HASH_CHARACTERS = 8

_UNSEEN = frozenset({"Cc", "Cf", "Mn", "Me"})
_LOOKS = str.maketrans(
    # Letters of Cyrillic, Greek and phonetic alphabets, each folded; then digits, strokes and what becomes "_".
    "аеорсухіјѕһԁԛԝвнтмкαορνικυχτεηγβıɡɑɩ01i|-.",  # noqa: RUF001
    "aeopcyxljshdqwbhtmkaopvlkuxtenyblgalolll__",
)
_ILLEGAL = re.compile(r"[^A-Za-z0-9_-]")


def exposed_name(original: str) -> str:
    """`original` in the characters that every vendor takes, at most 64.

    A name that is cut ends in a piece of its hash, so that two long names stay two.
    """
    name = _ILLEGAL.sub("_", original)
    return name if len(name) <= NAME_CHARACTERS else _marked(name, original)


def spoken_name(said: str) -> str:
    """A name that a model called, as the conversation has it from then on.

    Vendors refuse a conversation with a name that they would not take, so one that a model made up is replaced by one
    that looks like it. No tool has that name, as none had the other.
    """
    name = _ILLEGAL.sub("_", said)
    return said if said == name and 0 < len(said) <= NAME_CHARACTERS else _marked(name, said)


def _marked(name: str, original: str) -> str:
    """`name`, cut, with a piece of the hash of `original`."""
    mark = hashlib.sha256(original.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_CHARACTERS]
    return f"{name[: NAME_CHARACTERS - len(mark) - 1]}_{mark}"


def look_alike(name: str) -> str:
    """What `name` looks like: two names with one look are taken for one another by whoever reads them."""
    plain = unicodedata.normalize("NFKD", name)
    plain = "".join(c for c in plain if unicodedata.category(c) not in _UNSEEN).casefold().translate(_LOOKS)
    return plain.replace("rn", "m").replace("vv", "w")


def visible(text: str) -> str:
    """`text` with hidden and control characters made visible, cut at `DESCRIPTION_CHARACTERS`."""
    return sanitise(text, limit=DESCRIPTION_CHARACTERS)


def visible_schema(schema: JsonObject) -> JsonObject:
    """`schema` with every string in it, keys too, made visible."""
    return {visible(key): _visible_value(value) for key, value in schema.items()}


def _visible_value(value: JsonValue) -> JsonValue:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, list):
        return [_visible_value(item) for item in value]
    if isinstance(value, dict):
        return visible_schema(value)
    return value
