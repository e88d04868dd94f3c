"""What the provider makes of what the model wrote, with the model's words scripted."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from embedded import READ, TOOLS, WRITE, task
from perstack.errors import ConfigError, ProviderError
from perstack.messages import ExpertMessage, JsonObject, Message, TextPart, ToolCallPart, ToolMessage, ToolResultPart
from perstack.specs import ProviderContext
from perstack.testing.answers import Answer, answer, question
from perstack_provider_embedded import provider as providing
from perstack_provider_embedded.engine import Completion
from perstack_provider_embedded.plugin import make_provider, perstack_register_providers
from perstack_provider_embedded.provider import EmbeddedProvider

WRITTEN = '{"writeTextFile": {"path": "a", "text": "b"}}'


class ScriptedEngine:
    """Writes the given texts, one per request, and keeps the grammars that it was given."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)
        self.grammars: list[str] = []

    def complete(self, request: JsonObject, *, stop: threading.Event) -> Completion:
        self.grammars.append(str(request.get("grammar")))
        return Completion(text=self.texts.pop(0), finish="stop", prompt_tokens=10, cached_tokens=4, output_tokens=3)

    def close(self) -> None:
        self.texts.clear()


async def says(engine: ScriptedEngine, *messages: Message, model: str, monkeypatch: pytest.MonkeyPatch) -> Answer:
    provider = EmbeddedProvider(cache_dir=Path("unused"), threads=1, context=512)
    monkeypatch.setattr(providing, "find_weights", lambda name, _: Path(name))
    monkeypatch.setattr(provider, "_load", lambda _: engine)
    return await answer(provider, question(*messages, model=model, tools=TOOLS))


def after(*, is_error: bool) -> list[Message]:
    call = ToolCallPart(tool_call_id="c", tool_name=WRITE.name, args={"path": "a", "text": "b"})
    result = ToolResultPart(tool_call_id="c", tool_name=WRITE.name, contents=(TextPart(text="ok"),), is_error=is_error)
    return [*task("Go."), ExpertMessage(id="e", contents=(call,)), ToolMessage(id="t", contents=(result,))]


async def test_a_tiny_model_that_repeats_a_call_that_succeeded_is_asked_again_without_it(monkeypatch) -> None:
    engine = ScriptedEngine(WRITTEN, '{"attemptCompletion": "done"}')
    said = await says(engine, *after(is_error=False), model="smollm2", monkeypatch=monkeypatch)
    assert said.text == "done"
    assert [WRITE.name in grammar for grammar in engine.grammars] == [True, False]
    assert READ.name in engine.grammars[1]
    assert said.finish.usage.input_tokens == 20, "both questions are counted"


@pytest.mark.parametrize(("model", "is_error"), [("smollm2", True), ("/own.gguf", False)])
async def test_a_failed_call_and_a_model_of_the_users_own_may_be_repeated(monkeypatch, model: str, is_error) -> None:
    engine = ScriptedEngine(WRITTEN)
    said = await says(engine, *after(is_error=is_error), model=model, monkeypatch=monkeypatch)
    assert [call.args for call in said.calls] == [{"path": "a", "text": "b"}]


async def test_an_answer_brings_the_finishing_tool_along(monkeypatch) -> None:
    engine = ScriptedEngine('{"attemptCompletion": "all done"}')
    said = await says(engine, *task("Go."), model="smollm2", monkeypatch=monkeypatch)
    assert (said.text, [call.name for call in said.calls]) == ("all done", ["attemptCompletion"])


async def test_words_that_are_neither_call_nor_answer_are_an_error(monkeypatch) -> None:
    with pytest.raises(ProviderError, match="neither a call nor an answer"):
        await says(ScriptedEngine("Once upon a time"), *task("Go."), model="smollm2", monkeypatch=monkeypatch)


async def test_missing_weights_fail_the_question_with_the_command_that_fetches_them(tmp_path) -> None:
    provider = make_provider(ProviderContext(settings={}, env={}, cache_dir=tmp_path))
    with pytest.raises(ProviderError) as caught:
        await answer(provider, question(model="smollm2"))
    assert caught.value.hint == "Run: perstack model add smollm2"


@pytest.mark.parametrize("settings", [{"threads": 0}, {"threads": "2"}, {"threads": True}, {"contextSize": 10}])
def test_a_setting_out_of_range_is_a_mistake_of_the_configuration(settings, tmp_path) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        make_provider(ProviderContext(settings=settings, env={}, cache_dir=tmp_path))


def test_the_known_model_says_how_much_fits() -> None:
    (spec,) = perstack_register_providers()
    assert spec.models["smollm2"].context_window == 8192
    assert spec.default_model == "smollm2"
    assert spec.required_env == ()
