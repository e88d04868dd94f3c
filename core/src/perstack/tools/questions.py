"""What servers may ask back, over any transport: bounds, and answers that fit what was asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perstack_proxy.sanitise import sanitise_line

from perstack.errors import PerstackError
from perstack.protocols import Question, Sample
from perstack.tools.arguments import argument_problems
from perstack.tools.connection import Unanswerable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

    from perstack.messages import JsonObject, JsonValue
    from perstack.protocols import ConnectRequest, Elicit

ELICITATION = "elicitation/create"
SAMPLING = "sampling/createMessage"

MAX_FIELDS = 20
"""Of one form. A person at a terminal answers them one by one."""
MAX_QUESTIONS = 20
"""To the person or to the model, by one skill in one run."""
WORDS_CHARACTERS = 20_000
"""Of a question to the person or of all messages to the model together."""
SAMPLE_TOKENS = 4096
"""The longest answer of the model to a server."""


class Answers:
    """Answers to one server's questions, as far as its skill's table allows them and the run has somebody to ask."""

    def __init__(self, request: ConnectRequest) -> None:
        policy = request.policy
        self._skill = policy.skill
        self._elicit = request.elicit if policy.allow_elicitation else None
        self._complete = request.complete if policy.allow_sampling else None
        self._left = MAX_QUESTIONS
        self._notice = request.notice

    @property
    def offered(self) -> frozenset[str]:
        """The methods that are answered here."""
        return frozenset(
            method for method, asked in ((ELICITATION, self._elicit), (SAMPLING, self._complete)) if asked is not None
        )

    async def answer(self, method: str, params: Mapping[str, object]) -> JsonObject:
        """The result of a request for one of the offered methods.

        Raises:
            Unanswerable: It asks for what is not offered, or too often, or there is no answer.
        """
        self._left -= 1
        self._notice(f"the server asks: {sanitise_line(method)}")
        if self._left < 0:
            raise Unanswerable(f"more than {MAX_QUESTIONS} questions in one run")
        if method == ELICITATION and self._elicit is not None:
            return await self._form(self._elicit, params)
        if method == SAMPLING and self._complete is not None:
            try:
                text = await self._complete(_sample(self._skill, params))
            except PerstackError as error:
                raise Unanswerable(f"the model did not answer: {error}") from None
            content: JsonObject = {"type": "text", "text": text}
            return {"role": "assistant", "content": content, "model": "perstack", "stopReason": "endTurn"}
        raise Unanswerable("it is not offered")

    async def _form(self, elicit: Elicit, params: Mapping[str, object]) -> JsonObject:
        asked = _question(self._skill, params)
        answer = await elicit(asked)
        if answer is None:
            return {"action": "decline"}
        if problems := argument_problems(answer, asked.schema):
            raise Unanswerable(f"the person's answer does not fit: {'; '.join(problems)}")
        return {"action": "accept", "content": answer}


def _question(skill: str, params: Mapping[str, object]) -> Question:
    """The form that an ``elicitation/create`` request shows.

    Raises:
        Unanswerable: It is no form, or breaks a bound.
    """
    message, schema = params.get("message"), params.get("requestedSchema")
    if params.get("mode", "form") != "form":
        raise Unanswerable("only forms are offered")
    if not isinstance(message, str) or len(message) > WORDS_CHARACTERS or not isinstance(schema, dict):
        raise Unanswerable("it is not a message with a schema")
    fields = schema.get("properties")
    if not isinstance(fields, dict) or len(fields) > MAX_FIELDS:
        raise Unanswerable(f"its schema has no properties, or more than {MAX_FIELDS}")
    return Question(skill=skill, message=message, schema=schema)


def _sample(skill: str, params: Mapping[str, object]) -> Sample:
    """What a ``sampling/createMessage`` request asks the model: text only, and no tools.

    Raises:
        Unanswerable: There is anything else in it, or it breaks a bound.
    """
    asked, system, tokens = params.get("messages"), params.get("systemPrompt") or "", params.get("maxTokens")
    if not isinstance(asked, list) or not asked or not isinstance(system, str):
        raise Unanswerable("it has no messages")
    if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 1:
        raise Unanswerable("it has no maxTokens")
    messages = tuple(_message(each) for each in asked)
    if sum(len(text) for _, text in messages) + len(system) > WORDS_CHARACTERS:
        raise Unanswerable(f"it has more than {WORDS_CHARACTERS} characters")
    return Sample(skill=skill, messages=messages, system=system, max_tokens=min(tokens, SAMPLE_TOKENS))


def _message(message: JsonValue) -> tuple[Literal["user", "assistant"], str]:
    if not isinstance(message, dict):
        raise Unanswerable("a message is not an object")
    role, content = message.get("role"), message.get("content")
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    if len(texts) != len(parts) or role not in {"user", "assistant"}:
        raise Unanswerable("only text of user and assistant is offered")
    words = "\n".join(text for text in texts if isinstance(text, str))
    return ("user" if role == "user" else "assistant"), words
