"""Secret values kept out of what models, journals, logs and terminals see.

A run knows its secrets: the values of the variables that skills ask for, and the provider's keys. Wherever one occurs,
as it is or in an encoding that programs commonly print, its name stands instead. This catches accidents; a skill that
wants to smuggle a value out can encode it in a way nobody guesses, and only the sandbox's network list stops that.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import get_args
from urllib.parse import quote, quote_plus

import msgspec

from perstack import checkpoints, events, messages

SHORTEST = 8
"""Shorter values occur by chance (``true``, ``1234``), so redacting them would garble text and protect nothing."""

SHORTEST_LINE = 16
"""Shortest line of a value of many lines (a PEM key) that is redacted alone."""

_HEAD = 4
_LINE_BREAK = re.compile(r"\r?\n|\\r\\n|\\n")
_FORMULA = re.compile(r"-----(?:BEGIN|END) [^-]*-----")
# JSON has one way to write most characters; with these two, and only these, it has several.
_ALTERNATIVE_ESCAPES = (b"\\u", b"\\/")


class Redactor:
    """Replaces every occurrence of `secrets` (name to value) by ``[redacted:NAME]``.

    The result depends on the text alone, so what a resumed run reads is what the live run saw. Where occurrences
    overlap, all that they cover is replaced.

    Attributes:
        too_short: Names of values that are not redacted since they are shorter than `SHORTEST` characters.
        too_common: Names of values that are not redacted since they are words of perstack's own events (a variable
            that says ``completed``), or part of a `public` text such as the workspace's path.
    """

    def __init__(self, secrets: Mapping[str, str], *, public: Iterable[str] = ()) -> None:
        filled = {name: value.strip() for name, value in secrets.items() if value.strip()}
        self.too_short = tuple(name for name, value in filled.items() if len(value) < SHORTEST)
        long = {name: value for name, value in filled.items() if len(value) >= SHORTEST}
        words = (*_event_words(), *public) if long else ()
        self.too_common = tuple(name for name, value in long.items() if any(value in word for word in words))
        names: dict[str, str] = {}
        for name in long:
            if name not in self.too_common:
                for form in sorted(_forms(secrets[name])):
                    names.setdefault(form, name)
        self._names = names
        self._markers = {name: _marker(name, names) for name in names.values()}
        self._needles = _shortest(names)
        self._needle_bytes = [encoded for needle in self._needles if (encoded := _json_bytes(needle))]
        self._longest = max(map(len, names), default=0)
        self._beginnings = frozenset(form[:size] for form in names for size in range(1, min(_HEAD, len(form))))
        heads = {form[:_HEAD] for form in names}
        self._heads = re.compile(f"(?={'|'.join(re.escape(head) for head in sorted(heads))})")

    def text(self, text: str) -> str:
        """`text` without the secrets."""
        if not self._may_hold(text):
            return text
        pieces: list[str] = []
        end = 0
        for start, stop, name in self._spans(text):
            pieces += (text[end:start], self._markers[name])
            end = stop
        return "".join(pieces) + text[end:]

    def json(self, data: bytes) -> bytes:
        """A JSON value, as msgspec encodes it, without the secrets in its strings, keys and whole numbers."""
        if not self._names:
            return data
        if not any(escape in data for escape in _ALTERNATIVE_ESCAPES) and not any(
            needle in data for needle in self._needle_bytes
        ):
            return data
        return msgspec.json.encode(self._value(msgspec.json.decode(data)))

    def stream(self) -> RedactedStream:
        """A redactor for one text that arrives in pieces."""
        return RedactedStream(self)

    def _value(self, value: object) -> object:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self._value(item) for item in value]
        if isinstance(value, dict):
            return {self.text(key): self._value(item) for key, item in value.items()}
        if isinstance(value, int | float) and not isinstance(value, bool):
            # Only the whole number: part of a time stamp may look like a secret.
            name = self._names.get(str(value))
            return value if name is None else self._markers[name]
        return value

    def _spans(self, text: str) -> list[tuple[int, int, str]]:
        """Where secrets occur, overlaps merged, with the name that the first and longest one has."""
        found = sorted(
            ((start, -len(form), name) for form, name in self._names.items() for start in _occurrences(form, text)),
        )
        spans: list[tuple[int, int, str]] = []
        for start, negative_length, name in found:
            stop = start - negative_length
            if spans and start < spans[-1][1]:
                first, last, kept = spans[-1]
                spans[-1] = (first, max(last, stop), kept)
            else:
                spans.append((start, stop, name))
        return spans

    def _settled(self, text: str) -> int:
        """Up to where no text that may follow can change the redaction of `text`."""
        if not self._names:
            return len(text)
        end = self._open_end(text)
        for span_start, span_stop, _ in self._spans(text) if self._may_hold(text) else ():
            if span_start < end < span_stop:
                return span_start
        return end

    def _open_end(self, text: str) -> int:
        """Where the longest beginning of a secret starts that `text` ends with; its length where there is none."""
        for match in self._heads.finditer(text, max(0, len(text) - self._longest + 1)):
            tail = text[match.start() :]
            if any(len(form) > len(tail) and form.startswith(tail) for form in self._names):
                return match.start()
        for size in range(min(_HEAD - 1, len(text)), 0, -1):
            if text[-size:] in self._beginnings:
                return len(text) - size
        return len(text)

    def _may_hold(self, text: str) -> bool:
        return any(needle in text for needle in self._needles)


class RedactedStream:
    """One text in pieces: what is handed out, joined, is what `Redactor.text` makes of the whole.

    The end that may be the beginning of a secret is kept back until what follows decides.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._kept = ""

    def feed(self, text: str) -> str:
        """What can be shown after `text` has arrived; may be empty."""
        self._kept += text
        end = self._redactor._settled(self._kept)  # noqa: SLF001 - one class in two parts
        shown, self._kept = self._kept[:end], self._kept[end:]
        return self._redactor.text(shown)

    def flush(self) -> str:
        """The rest, at the text's end."""
        rest, self._kept = self._kept, ""
        return self._redactor.text(rest)


# --- the forms that a value takes -----------------------------------------------------------------------------------


def _forms(value: str) -> set[str]:
    """Every text that stands for `value`, or for a long line of it, in what programs print."""
    # A variable's value that is no UTF-8 is printed with replacement characters.
    parts = {value, value.strip(), _bytes(value).decode("utf-8", "replace")}
    lines = (line.strip() for line in _LINE_BREAK.split(value))
    parts.update(line for line in lines if len(line) >= SHORTEST_LINE and not _FORMULA.fullmatch(line))
    return {form for part in parts for encode in _ENCODINGS for form in encode(part)}


def _bytes(value: str) -> bytes:
    """The bytes that the operating system holds for `value`."""
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogatepass")


def _plain(value: str) -> Iterable[str]:
    yield value


def _escaped(value: str) -> Iterator[str]:
    """As JSON strings escape it, and JSON inside JSON."""
    for ascii_only in (False, True):
        once = json.dumps(value, ensure_ascii=ascii_only)[1:-1]
        yield once
        yield json.dumps(once, ensure_ascii=ascii_only)[1:-1]
        yield once.replace("/", "\\/")


def _url_encoded(value: str) -> Iterator[str]:
    data = _bytes(value)
    for encoded in (quote(data), quote(data, safe=""), quote_plus(data), quote(data, safe="!'()*")):
        yield encoded
        yield re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), encoded)


def _hexadecimal(value: str) -> Iterator[str]:
    encoded = _bytes(value).hex()
    yield encoded
    yield encoded.upper()


def _base64(value: str) -> Iterator[str]:
    """In both alphabets: whole, wrapped into lines, and inside a longer text at each of the three alignments."""
    data = _bytes(value)
    whole = base64.b64encode(data).decode()
    encoded = {whole, whole.rstrip("=")}
    for before in range(3):
        padded = base64.b64encode(bytes(before) + data).decode()
        # Characters that also hold bits of a neighbour are no part of what can be searched for.
        full = (before + len(data)) * 8 // 6
        encoded.add(padded[(before * 8 + 5) // 6 : full])
    for width in (64, 76):
        encoded.update(line for line in _chunks(whole, width) if len(line) >= SHORTEST_LINE and len(whole) > width)
    for form in encoded:
        yield form
        yield form.translate(_URL_ALPHABET)


def _chunks(text: str, width: int) -> Iterator[str]:
    return (text[start : start + width] for start in range(0, len(text), width))


_URL_ALPHABET = str.maketrans("+/", "-_")
_ENCODINGS: tuple[Callable[[str], Iterable[str]], ...] = (_plain, _escaped, _url_encoded, _hexadecimal, _base64)


# --- what is no secret ----------------------------------------------------------------------------------------------

_STATES = ("building", "complete", "starting", "unhealthy")


def _event_words() -> Iterator[str]:
    """Every word that events are made of: a job could not be read again if one of them were replaced."""
    yield from get_args(checkpoints.RunStatus)
    yield from _STATES
    for struct in chain.from_iterable(vars(module).values() for module in (checkpoints, events, messages)):
        if isinstance(struct, type) and issubclass(struct, messages.Wire):
            yield from struct.__struct_encode_fields__
            if isinstance(tag := struct.__struct_config__.tag, str):
                yield tag


# --- searching ------------------------------------------------------------------------------------------------------


def _shortest(forms: Iterable[str]) -> list[str]:
    """The forms that hold no other form: a text without these is without all."""
    needles: list[str] = []
    for form in sorted(forms, key=len):
        if not any(needle in form for needle in needles):
            needles.append(form)
    return needles


def _json_bytes(text: str) -> bytes | None:
    """`text` as it stands inside a JSON string; None when it cannot stand in one."""
    try:
        return msgspec.json.encode(text)[1:-1]
    except UnicodeEncodeError:
        return None


def _occurrences(form: str, text: str) -> Iterator[int]:
    start = text.find(form)
    while start >= 0:
        yield start
        start = text.find(form, start + 1)


def _marker(name: str, forms: Iterable[str]) -> str:
    """What stands for the secret: its name, unless that would show a secret again."""
    forms = tuple(forms)
    candidates = (f"[redacted:{name}]", "[redacted]")
    return next((marker for marker in candidates if not any(form in marker for form in forms)), "[…]")
