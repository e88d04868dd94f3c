"""llama.cpp's own HTTP server, which none of us wrote, with a real model: our providers get real answers from it.

The chat template is ours: with the one inside the weight file the server returns no tool calls.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
from embedded import READ, task
from perstack.messages import (
    ExpertMessage,
    Message,
    TextPart,
    ToolCallPart,
    ToolMessage,
    ToolResultPart,
    UserMessage,
)
from perstack.protocols import Provider
from perstack.specs import ProviderContext
from perstack.testing.answers import answer, question
from perstack.testing.model_server import Call, ModelServer, Turn
from perstack.testing.project import Project
from perstack_provider_anthropic.plugin import perstack_register_providers as anthropic_providers
from perstack_provider_openai.plugin import perstack_register_providers as openai_providers

pytestmark = pytest.mark.model
SERVER = Path(__file__).parents[1] / "support" / "llama_server.py"
TEMPLATE = Path(__file__).with_name("bare-json-tools.jinja")


@pytest.fixture(scope="module")
def address(cache: Path) -> Iterator[str]:
    weights = next((cache / "models").glob("*.gguf"))
    command = [sys.executable, str(SERVER), str(weights), str(TEMPLATE)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


def provider(name: str, url: str) -> Provider:
    specs = {spec.name: spec for spec in (*openai_providers(), *anthropic_providers())}
    spec = specs[name]
    env = dict.fromkeys(spec.required_env, "any-key")
    return spec.factory(ProviderContext(settings={"baseUrl": url}, env=env, cache_dir=Path("unused")))


def taught() -> list[Message]:
    """A conversation in which the tool was called twice already: a model this small needs to be shown."""
    messages = task("Read garden.txt.", instruction="You read files.")
    for number, (path, content) in enumerate([("garden.txt", "Plant 7 roses"), ("city.txt", "blue-4471")]):
        call = ToolCallPart(tool_call_id=f"c{number}", tool_name=READ.name, args={"path": path})
        result = ToolResultPart(tool_call_id=call.tool_call_id, tool_name=READ.name, contents=(TextPart(text=content),))
        messages += [
            ExpertMessage(id=f"e{number}", contents=(call,)),
            ToolMessage(id=f"t{number}", contents=(result,)),
            ExpertMessage(id=f"a{number}", contents=(TextPart(text=f"It says: {content}"),)),
            UserMessage(
                id=f"u{number}", contents=(TextPart(text="Read city.txt." if number == 0 else "Read name.txt."),)
            ),
        ]
    return messages


@pytest.mark.parametrize(("name", "path"), [("openai", "/v1"), ("anthropic", "")])
async def test_a_real_tool_call_comes_over_the_wire(address: str, name: str, path: str) -> None:
    own = provider(name, address + path)
    try:
        said = await answer(
            own,
            question(
                *taught(),
                model="smollm2",
                tools=(READ,),
                timeout=60,
                max_output_tokens=200,
            ),
        )
    finally:
        await own.aclose()
    assert said.finish.reason == "tool-calls"
    (call,) = said.calls
    assert call.name == "readTextFile"
    jsonschema.validate(call.args, READ.input_schema)
    assert call.args == {"path": "name.txt"}
    assert said.finish.usage.input_tokens > 20
    assert said.finish.usage.output_tokens > 5


@pytest.mark.parametrize(("name", "path"), [("openai", "/v1"), ("anthropic", "")])
async def test_real_text_comes_over_the_wire(address: str, name: str, path: str) -> None:
    own = provider(name, address + path)
    try:
        said = await answer(own, question(*task("Say hello."), model="smollm2", timeout=60, max_output_tokens=16))
    finally:
        await own.aclose()
    assert said.text
    assert said.finish.reason in ("stop", "length")


READER = """\
[experts.demo]
instruction = "You read files."
[experts.demo.skills."@perstack/base"]
type = "mcpStdioSkill"
pick = ["readTextFile"]
"""
OPENAI = 'model = "smollm2"\nmaxRetries = 1\n[provider]\nproviderName = "openai"\n[models."smollm2"]\nmaxOutput = 120\n'


def test_a_whole_run_reads_a_file_by_a_real_call_and_says_what_is_in_it(address: str, tmp_path: Path) -> None:
    project = Project(tmp_path, READER, provider=OPENAI)
    files = {"garden.txt": "Plant 7 roses", "city.txt": "blue-4471", "name.txt": "green-8812"}
    for name, content in files.items():
        (project.workspace / name).write_text(content, encoding="utf-8")
    earlier: tuple[str, ...] = ()
    for name in ("garden.txt", "city.txt"):  # a model this small needs to be shown
        shown = [Turn(calls=[Call("readTextFile", {"path": name})]), Turn(text=f"It says: {files[name]}")]
        with ModelServer(shown) as teacher:
            taught = project.run("demo", f"Read {name}.", *earlier, server=teacher)
        assert taught.exit_code == 0
        earlier = ("--continue-job", taught.job_id)
    result = project.run("demo", "Read name.txt.", *earlier, env={"OPENAI_BASE_URL": f"{address}/v1"}, timeout=200)
    assert result.exit_code == 0, result.of("stopRunByError")
    assert files["name.txt"] in result.tool_results["readTextFile"]
    assert files["name.txt"] in result.answer
    assert result.one("completeRun")["checkpoint"]["usage"]["outputTokens"] > 5
