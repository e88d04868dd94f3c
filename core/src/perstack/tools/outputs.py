"""Long outputs of tools: what does not fit into a result is kept, and a tool of our own pages through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from perstack.errors import JournalCorrupt, ToolError
from perstack.messages import ContentPart, JsonObject, TextPart
from perstack.protocols import CallOutcome, SkillTool

SKILL = "@perstack/outputs"
TOOL = "readToolOutput"

PAGE_CHARACTERS = 20_000
"""Of one page at most; a page never needs to be kept itself."""

SMALLEST_LIMIT = 2_000
"""Characters of a result that even a model with a tiny window is given."""

CHARACTERS_PER_TOKEN = 4
"""A cautious average over English and code, for windows that are counted in tokens."""

WINDOW_SHARE = 8
"""One result takes at most this part of a model's window."""

DESCRIPTION = (
    "Read on in a tool output that was too long to be shown whole. Give the id that stands in the shortened output and "
    "the character to start from."
)
SCHEMA: JsonObject = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "The id of the output"},
        "from": {"type": "integer", "minimum": 0, "description": "First character, counted from 0"},
        "length": {"type": "integer", "minimum": 1, "description": f"Characters, at most {PAGE_CHARACTERS}"},
    },
    "required": ["id"],
}


def output_limit(context_window: int | None, *, most: int) -> int:
    """Characters of one result: `most`, or less for a model with a small window."""
    if context_window is None:
        return most
    return min(most, max(SMALLEST_LIMIT, context_window * CHARACTERS_PER_TOKEN // WINDOW_SHARE))


@dataclass(frozen=True, kw_only=True, slots=True)
class Outputs:
    """Keeps long outputs of one job, and serves their pages as a skill of our own.

    Attributes:
        keep: Keeps a redacted text and returns its name.
        kept: The text of a name.
        limit: Characters of one result.
    """

    keep: Callable[[str], str]
    kept: Callable[[str], str]
    limit: int

    def shorten(self, contents: tuple[ContentPart, ...]) -> tuple[ContentPart, ...]:
        """`contents`; of texts longer than the limit their beginning, their end, and the way to the rest."""
        texts = [part.text for part in contents if isinstance(part, TextPart)]
        length = sum(map(len, texts))
        if length <= self.limit:
            return contents or (TextPart(text="(no output)"),)
        whole = "\n".join(texts)
        head, tail = self.limit * 3 // 4, self.limit // 4
        note = (
            f"\n[… characters {head} to {len(whole) - tail} of {len(whole)} are left out. "
            f'Read them with {TOOL}(id="{self.keep(whole)}", from={head}). …]\n'
        )
        others = tuple(part for part in contents if not isinstance(part, TextPart))
        return (TextPart(text=whole[:head] + note + whole[len(whole) - tail :]), *others)

    # --- the skill ---

    @property
    def server_name(self) -> str:
        """Ourselves."""
        return "perstack"

    @property
    def server_version(self) -> str:
        """None of its own."""
        return ""

    @property
    def tools(self) -> Sequence[SkillTool]:
        """The one tool."""
        return (SkillTool(name=TOOL, description=DESCRIPTION, input_schema=SCHEMA),)

    async def call(self, name: str, args: JsonObject, *, timeout: float) -> CallOutcome:  # noqa: ARG002 - reads a file
        """One page.

        Raises:
            ToolError: There is no such output, or nothing at that place.
        """
        output, start, length = args.get("id"), args.get("from", 0), args.get("length", PAGE_CHARACTERS)
        if not isinstance(output, str) or not isinstance(start, int) or not isinstance(length, int):
            raise ToolError("id is a text, from and length are whole numbers.")
        try:
            whole = self.kept(output)
        except JournalCorrupt:
            raise ToolError(f"There is no kept output {output!r}. Copy the id from the shortened output.") from None
        end = start + min(length, PAGE_CHARACTERS, self.limit * 3 // 4)
        if start >= len(whole):
            raise ToolError(f"The output has {len(whole)} characters, so nothing starts at {start}.")
        more = f"\n[{len(whole) - end} more characters; go on from={end}]" if end < len(whole) else ""
        return CallOutcome(contents=(TextPart(text=whole[start:end] + more),))
