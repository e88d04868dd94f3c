"""What vendors' formats ask of a conversation as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from perstack.messages import ExpertMessage, InstructionMessage, Message, ThinkingPart, ToolMessage, text_of


def instruction_of(messages: Sequence[Message]) -> str:
    """The system prompt, for formats that keep it apart from the conversation."""
    return "\n".join(text_of(message.contents) for message in messages if isinstance(message, InstructionMessage))


def turns(messages: Sequence[Message], blocks: Callable[[Message], Sequence[msgspec.Raw]]) -> list[dict[str, object]]:
    """Turns that alternate, of the blocks of each message; a message without any is left out."""
    found: list[dict[str, object]] = []
    content: list[msgspec.Raw] = []
    for message in messages:
        if isinstance(message, InstructionMessage):
            continue
        role = "assistant" if isinstance(message, ExpertMessage) else "user"
        own = blocks(message)
        if found and found[-1]["role"] == role:
            content += own
        elif own:
            content = [*own]
            found.append({"role": role, "content": content})
    return found


def continues_unsigned(messages: Sequence[Message], signed: Callable[[ThinkingPart], object]) -> bool:
    """Whether tool results go back to an answer without reasoning that is `signed`: Claude refuses to begin it then."""
    if not messages or not isinstance(messages[-1], ToolMessage):
        return False
    last = next((message for message in reversed(messages) if isinstance(message, ExpertMessage)), None)
    return last is not None and not any(signed(part) for part in last.contents if isinstance(part, ThinkingPart))
