"""What servers of skills wrote or found, marked as theirs in all that a model reads.

The mark names the skill and cannot be closed from inside. The system prompt says what it means. A model may still be
talked into something; what it can do then is decided by the policy, and never by what it reads.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from perstack_proxy.sanitise import sanitise_line

from perstack.messages import ContentPart, TextPart

if TYPE_CHECKING:
    from collections.abc import Iterable

TAG = "from_skill"
_MARK = re.compile(rf"<(?=\s*/?\s*{TAG})", re.IGNORECASE)


def marked(text: str, skill: str) -> str:
    """`text` between marks that name the skill it comes from. A mark inside `text` is broken."""
    name = sanitise_line(skill).replace('"', "'")
    return f'<{TAG} name="{name}">\n{_MARK.sub("[", text)}\n</{TAG}>'


def marked_parts(parts: Iterable[ContentPart], skill: str) -> tuple[ContentPart, ...]:
    """`parts` with every text marked; images and files stay as they are."""
    return tuple(TextPart(text=marked(part.text, skill)) if isinstance(part, TextPart) else part for part in parts)
