"""What is kept of conversations, and what is not."""

from __future__ import annotations

from perstack.messages import InstructionMessage, Message, TextPart, UserMessage
from perstack.model_http import encoding
from perstack.model_http.encoding import Encodings


def conversation(name: str, *texts: str) -> tuple[Message, ...]:
    said = (UserMessage(id=text, contents=(TextPart(text=text),)) for text in texts)
    return (InstructionMessage(id=name, contents=(TextPart(text=name),)), *said)


def test_W_39_W_42_what_gave_way_to_a_summary_is_kept_no_longer() -> None:
    kept = Encodings(lambda message: [{"id": message.id}])
    long = conversation("a", *map(str, range(100)))
    for count in range(1, len(long) + 1):
        kept.all(long[:count])
    assert len(kept._kept) == 101, "the control"
    kept.all(conversation("summary", "sum it up"))
    short = (long[0], *conversation("x", "notes")[1:], *long[-3:])
    assert [bytes(raw) for raw in kept.all(short)][1] == b'{"id":"notes"}'
    assert len(kept._kept) == len(short) + 2


def test_conversations_side_by_side_do_not_push_each_other_out_and_ended_ones_go() -> None:
    made: list[str] = []
    kept = Encodings(lambda message: made.append(message.id) or [{"id": message.id}])
    pair = [conversation(name, name + "1", name + "2", name + "3") for name in "ab"]
    for count in (2, 3, 4):
        for each in pair:
            kept.all(each[:count])
    assert len(made) == len(set(made)) == 8, "each message is encoded once"
    for number in range(encoding.KEPT_CONVERSATIONS + 5):
        kept.all(conversation(f"c{number}", f"d{number}"))
    assert len(kept._kept) <= 2 * (encoding.KEPT_CONVERSATIONS + 2)
