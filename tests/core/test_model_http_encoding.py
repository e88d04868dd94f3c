"""A message is encoded once, whoever asks how often, and no conversation is held for ever."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from perstack.messages import ImagePart, JsonObject, Message, TextPart, UserMessage
from perstack.model_http import Encodings
from perstack.specs import ModelInfo


def said(text: str) -> UserMessage:
    return UserMessage(id=text, contents=(TextPart(text=text),))


class Form:
    """A vendor's form that counts how often it was asked for."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def __call__(self, message: Message) -> Iterator[JsonObject]:
        self.made.append(message.id)
        yield {"said": str(message.contents)}


def test_a_step_encodes_only_what_is_new() -> None:
    form = Form()
    encodings = Encodings(form)
    history: tuple[Message, ...] = ()
    sent = b""
    for step in range(50):
        history = (*history, said(f"message {step}"))
        now = msgspec.json.encode(encodings.all(history))
        assert now.startswith(sent.removesuffix(b"]"))
        sent = now
    assert form.made == [message.id for message in history]


def test_two_conversations_do_not_disturb_each_other() -> None:
    form = Form()
    encodings = Encodings(form)
    one, other = (said("one"), said("both")), (said("other"),)
    first = msgspec.json.encode(encodings.all(one))
    second = msgspec.json.encode(encodings.all(other))
    assert msgspec.json.encode(encodings.all(one)) == first != second
    assert len(form.made) == 3


def test_a_changed_beginning_is_seen() -> None:
    encodings = Encodings(Form())
    encodings.all((said("one"), said("two")))
    assert "three" in str(msgspec.json.encode(encodings.all((said("three"), said("two")))))


def test_what_is_kept_is_bounded_and_what_is_sent_is_not() -> None:
    form = Form()
    encodings = Encodings(form, most=1000)
    history = tuple(said(f"{number} {'x' * 100}") for number in range(100))
    assert len(encodings.all(history)) == 100
    encodings.all((*history, said("new")))
    assert len(encodings._kept) < 20


def test_another_models_eyes_get_another_form() -> None:
    image = UserMessage(id="1", contents=(ImagePart(encoded_data="QUJD", mime_type="image/png"),))
    encodings = Encodings(Form())
    seeing, blind = ModelInfo(vision=True), ModelInfo(vision=False)
    shown = [str(msgspec.json.encode(encodings.all((image,), info))) for info in (seeing, blind, seeing)]
    assert ["QUJD" in text for text in shown] == [True, False, True]
