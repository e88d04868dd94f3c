r"""Untrusted text made safe for a terminal and a log: what cannot be seen is shown as an escape.

A skill, a model or a file name may hold terminal commands (ESC, C1), text that reverses or hides other text
(bidirectional controls, zero-width and tag characters) or halves of characters. Each becomes visible ASCII such as
``\x1b`` or ``\u202e``. A backslash stays itself: the result is for reading, not for decoding.
"""

from __future__ import annotations

import re

from perstack_proxy.limits import DISPLAY_CHARACTERS

_UNSAFE = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and newline; DEL; C1
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"  # soft hyphen, joiners, fillers, Arabic letter mark
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f"  # zero-width, line separators, bidirectional, invisible operators
    "\u3164\ue000-\uf8ff\ufe00-\ufe0d\ufeff\uffa0\ufff0-\uffff"  # fillers, private use, variation, byte order, specials
    "\ud800-\udfff"  # lone surrogates
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"  # formats of hieroglyphs, shorthand, music
    "\U000e0000-\U000e0fff"  # tag characters and further variation selectors
    "\U000f0000-\U0010ffff"  # private use: a font may show anything
    "]"
    # Text and emoji presentation are harmless once after a symbol, and common there.
    "|(?<![\u00a9\u00ae\u203c-\u3299\U0001f000-\U0001faff])[\ufe0e\ufe0f]"
)
_NEWLINE_OR_TAB = re.compile("[\n\t]")


def sanitise(text: str, *, keep_newlines: bool = True, limit: int = DISPLAY_CHARACTERS) -> str:
    """The text with every control or invisible character replaced by a visible escape.

    Args:
        text: Anything, lone surrogates included.
        keep_newlines: Keep newline and tab as they are. False escapes them too, for a single line.
        limit: Most characters of `text` that are shown; a marker says how many were left out.
    """
    omitted = len(text) - limit
    if omitted > 0:
        text = text[:limit]
    if keep_newlines:
        text = text.replace("\r\n", "\n")
    safe = _UNSAFE.sub(_escape, text)
    if not keep_newlines:
        safe = _NEWLINE_OR_TAB.sub(_escape, safe)
    return f"{safe}… [{omitted} more characters]" if omitted > 0 else safe


def sanitise_line(text: str, *, limit: int = DISPLAY_CHARACTERS) -> str:
    """The text as exactly one safe line."""
    return sanitise(text, keep_newlines=False, limit=limit)


def encodable(text: str) -> str:
    """The text with ``?`` for each lone surrogate, which JSON can carry and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")


def well_formed(value: object) -> object:
    """The JSON `value` with every string `encodable`."""
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, list):
        return [well_formed(item) for item in value]
    if isinstance(value, dict):
        return {well_formed(key): well_formed(item) for key, item in value.items()}
    return value


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code == 0x0A:
        return "\\n"
    if code == 0x09:
        return "\\t"
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
