"""What in a tool's definition looks as if it was written to steer a model: for a person to look at.

It names patterns of known attacks. What it finds may be harmless and what it does not find may not be; the boundary is
the sandbox, and this only helps to read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from perstack_proxy.sanitise import sanitise, sanitise_line

from perstack.tools.names import DESCRIPTION_CHARACTERS

if TYPE_CHECKING:
    from perstack.messages import JsonValue
    from perstack.protocols import SkillTool

MAX_TEXTS = 2000
EXCERPT_CHARACTERS = 120

_PATTERNS = {
    "speaks of instructions": r"\b(?:ignore|disregard|forget|override)\b.{0,40}"
    r"\b(?:instruct|prompt|rules?|previous|above)|\b(?:system|developer) prompt\b|\bnew instructions?\b",
    "asks for secrecy": r"\b(?:do not|don't|never|without)\b.{0,30}"
    r"\b(?:tell|mention|inform|telling|informing|show|notify)\b.{0,30}\b(?:user|person|human|anyone)",
    "marks itself as important": r"<\s*/?\s*(?:important|system|secret|instructions?|admin|assistant)\b"
    r"|\[\s*system\s*\]",
    "asks for secrets": r"(?:~|\$HOME|/home/\w+|/root)/\.\w+|\bid_(?:rsa|ed25519)\b|\.ssh\b|\.aws/|\.env\b|"
    r"\b(?:api[ _-]?keys?|passwords?|credentials|private keys?)\b.{0,40}\b(?:pass|send|include|read|put)",
    "orders other calls": r"\b(?:before|after|instead of|whenever)\b.{0,40}\b(?:using|calling|call|use|invoke)\b.{0,40}"
    r"\b(?:any|other|every|all|this)\b.{0,12}\btools?\b|\b(?:always|must) (?:first )?(?:call|use|invoke)\b",
    "hides a long text in base64": r"[A-Za-z0-9+/]{120,}={0,2}",
}
_KNOWN = {reason: re.compile(pattern, re.IGNORECASE | re.DOTALL) for reason, pattern in _PATTERNS.items()}


def suspicions(tool: SkillTool) -> tuple[str, ...]:
    """What is odd about the tool's name, description and schemas, each with an excerpt; nothing for most tools."""
    found: dict[str, str] = {}
    for text in _texts(tool):
        if sanitise(text, limit=len(text)) != text:
            found.setdefault("hides characters", text)
        if len(text) > DESCRIPTION_CHARACTERS:
            found.setdefault("is longer than a model is shown", text)
        for reason, pattern in _KNOWN.items():
            match = pattern.search(text)
            if match:
                found.setdefault(reason, text[max(0, match.start() - 20) :])
    return tuple(f"{reason}: {sanitise_line(text[:EXCERPT_CHARACTERS])}" for reason, text in found.items())


def _texts(tool: SkillTool) -> Iterator[str]:
    """Every string that a model would read, up to a bound; so many are odd enough."""
    left: list[JsonValue] = [tool.output_schema, tool.input_schema, tool.description, tool.name]
    for _ in range(MAX_TEXTS):
        if not left:
            return
        value = left.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            left += value.values()
            left += value
        elif isinstance(value, list):
            left += value
