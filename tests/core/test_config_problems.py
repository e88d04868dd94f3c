"""A mistake in a configuration is shown with its file, line and key, and with what to do about it."""

from __future__ import annotations

import pytest
from perstack.errors import ConfigError
from projects import EXPERT, load, skill_table

BROKEN = """\
model = ""
maxStep = 3
maxRetries = "many"
reasoningBudget = "hi"
envPath = ".env"

[provider]
providerName = "openai"
envPath = [".env"]
[provider.setting]
baseUrl = "http://models.example"

[experts.Writer]
instruction = "x"

[experts.a]
version = "1.0"
tags = ["Bad"]
delegates = ["UPPER"]
[experts.a.skills.none]
command = "x"
[experts.a.skills.typo]
type = "mcpStdioSkil"
[experts.a.skills.process]
type = "mcpStdioSkill"
comand = "x"
requiredEnv = [
    "GOOD",
    "BAD NAME",
    { name = "X", form = "Y" },
    "PATH",
]
allowedDomains = ["api.example.com", "https://x.example", "com"]
[experts.a.skills.process.limits]
memory = "2GB"
pids = 0
[experts.a.skills.remote]
type = "mcpSseSkill"
endpoint = "https://10.0.0.1/sse"
[experts.a.skills.ask]
type = "interactiveSkill"
[experts.a.skills.ask.tools.q]
inputJsonSchema = "[]"
"""

EXPECTED = """\
:1: model: must not be empty
:2: maxStep: is not a key of this table (Did you mean 'maxSteps'?)
:3: maxRetries: must be a whole number, not a string
:4: reasoningBudget: 'hi' is none of 'none', 'minimal', 'low', 'medium', 'high' and no number of tokens
:5: envPath: must be a list, not a string
:9: provider.envPath: is not a key of this table (It belongs at the top of the file, above every table.)
:10: provider.setting: baseUrl does not start with https://
:13: experts.Writer: 'Writer' is not an Expert key: write [@scope/]name, in lower-case letters, digits, '.', '_' \
and '-'
:16: experts.a.instruction: is required
:17: experts.a.version: '1.0' is not a version: write MAJOR.MINOR.PATCH
:18: experts.a.tags[0]: 'Bad' is not a tag: lower-case letters, digits, '_' and '-'
:19: experts.a.delegates[0]: 'UPPER' is not an Expert key: write [@scope/]name, in lower-case letters, digits, '.', \
'_' and '-'
:20: experts.a.skills.none: has no type (Write type = one of 'mcpStdioSkill', 'mcpHttpSkill', 'mcpSseSkill', \
'interactiveSkill'.)
:22: experts.a.skills.typo: the type 'mcpStdioSkil' is none of 'mcpStdioSkill', 'mcpHttpSkill', 'mcpSseSkill', \
'interactiveSkill' (Did you mean 'mcpStdioSkill'?)
:24: experts.a.skills.process.command: is required
:26: experts.a.skills.process.comand: is not a key of this table (Did you mean 'command'?)
:29: experts.a.skills.process.requiredEnv[1].name: 'BAD NAME' is not a variable's name: letters, digits and '_', no \
digit first
:30: experts.a.skills.process.requiredEnv[2].form: is not a key of this table (Did you mean 'from'?)
:31: experts.a.skills.process.requiredEnv[3].name: 'PATH' is a protected name: it decides which programs and modules \
are found
:33: experts.a.skills.process.allowedDomains[1]: 'https://x.example' has a scheme; write the host name alone
:33: experts.a.skills.process.allowedDomains[2]: 'com' is a suffix under which anyone can register; name the \
host in full
:35: experts.a.skills.process.limits.memory: '2GB' is not a size: write a number with MiB or GiB, such as '512MiB'
:36: experts.a.skills.process.limits.pids: must be at least 1
:39: experts.a.skills.remote.endpoint: 'https://10.0.0.1/sse' names an address that is not public: private
:40: experts.a.skills.ask.tools: is required
:43: experts.a.skills.ask.tools.q.inputJsonSchema: '[]' is not a JSON object: begin with {
"""


def problems(directory, text: str, **options) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(directory, text, **options)
    return [str(problem).replace(str(directory / "perstack.toml"), "") for problem in caught.value.problems]


def test_W_47_every_mistake_of_a_file_is_shown_at_once_with_its_line_and_a_hint(tmp_path) -> None:
    assert problems(tmp_path, BROKEN) == [line for line in EXPECTED.splitlines() if ":40:" not in line]
    without = BROKEN[: BROKEN.index("[experts.a.skills.ask.tools.q]")]
    assert EXPECTED.splitlines()[-2] in problems(tmp_path, without)


@pytest.mark.parametrize("wrong", ["", "modle = 1\n"])
def test_W_47_an_unknown_delegate_of_a_broken_file_is_told_with_the_other_mistakes(tmp_path, wrong) -> None:
    text = f'{wrong}{EXPERT}delegates = ["fine"]\n[experts.fine]\ninstruction = "x"\n'
    broken = '[experts.bad]\ninstruction = 5\ndelegates = ["fine", "nobody", "bad"]\n'
    line = (text + broken).count("\n")
    if wrong:
        shown = problems(tmp_path, text + broken)
    else:
        shown = [str(one).split("perstack.toml", 1)[1] for one in load(tmp_path, text + broken).broken["bad"]]
    assert [each for each in shown if "nobody" in each] == [
        f":{line}: there is no Expert 'nobody' (There are: bad, fine, writer.)"
    ]
    assert any("instruction: must be a string" in each for each in shown)


def test_a_list_of_models_is_told_what_is_wrong_with_the_list(tmp_path) -> None:
    assert problems(tmp_path, "model = []\n") == [":1: model: must not be empty"]
    assert problems(tmp_path, 'model = ["a", ""]\n') == [":1: model[1]: must not be empty"]
    assert problems(tmp_path, "model = 3\n") == [":1: model: must be a string, not a number"]


def test_W_47_a_syntax_error_has_its_line_and_column(tmp_path) -> None:
    assert problems(tmp_path, 'model = "x"\nmaxSteps = \n') == [":2: invalid value in column 12"]
    (tmp_path / "perstack.toml").write_bytes(b'a = 1\nb = "\xff"\n')
    with pytest.raises(ConfigError, match=r"perstack\.toml:2: is not UTF-8"):
        load(tmp_path)
    (tmp_path / "perstack.toml").write_bytes(b"\xef\xbb\xbfmaxSteps = 5\n")
    with pytest.raises(ConfigError, match="byte order mark"):
        load(tmp_path)
    assert problems(tmp_path, "timeout = 1.5\n") == [":1: timeout: 1.5 is not a whole number"]
    assert "nested too deeply" in problems(tmp_path, f"a = {'[' * 100_000}")[0]


def test_W_47_a_number_that_toml_does_not_have_is_a_mistake_of_its_line(tmp_path) -> None:
    assert load(tmp_path, f"maxSteps = {2**63 - 1}\n{EXPERT}").project.max_steps == 2**63 - 1
    beyond = f'model = "m"\nmaxSteps = {2**63}\n[[approvals]]\ndecision = "ask"\nargs = {{ a = 0x{"f" * 9000} }}\n'
    assert problems(tmp_path, beyond) == [
        ":2: maxSteps: has more than 64 bits",
        ":5: approvals[0].args.a: has more than 64 bits",
    ]
    assert problems(tmp_path, f"maxSteps = {'9' * 5000}\n") == [": holds a number that is too long"]
    shown = problems(tmp_path, EXPERT, environ={"PERSTACK_MAX_STEPS": "9" * 5000})
    assert shown == [f"PERSTACK_MAX_STEPS: {'9' * 40!r} is not a whole number"]


def test_a_mistake_in_a_variable_or_an_option_names_it(tmp_path) -> None:
    shown = problems(tmp_path, EXPERT, environ={"PERSTACK_MAX_STEPS": "0"}, overrides={"maxRetries": -1})
    assert sorted(shown) == [
        "--max-retries: maxRetries: must be at least 0",
        "PERSTACK_MAX_STEPS: maxSteps: must be at least 1",
    ]


@pytest.mark.parametrize("key", ["a.b", "@org/a.b", "a.b@1.2.3", "a.b@latest", "@o.rg/x_y-z"])
def test_W_48_there_is_one_grammar_for_experts(tmp_path, key) -> None:
    expert = load(tmp_path, f'[experts."{key}"]\ninstruction = "x"\n').project.experts[key]
    assert (expert.key, expert.name) == (key, key.removesuffix("@1.2.3").removesuffix("@latest"))


@pytest.mark.parametrize("key", ["A", "", "a b", "@org", "@/a", "a@", "-a", "a/b", "@a/b/c", "a\\n", "ä", "a" * 512])
def test_W_48_what_is_no_key_is_refused(tmp_path, key) -> None:
    assert "is not an Expert key" in problems(tmp_path, f'maxSteps = 0\n[experts."{key}"]\ninstruction = "x"\n')[1]


def test_W_48_a_broken_expert_does_not_stop_another(tmp_path) -> None:
    loaded = load(tmp_path, EXPERT + "[experts.broken]\nversion = 1\n")
    assert list(loaded.project.experts) == ["writer"]
    assert [str(problem.line) for problem in loaded.broken["broken"]] == ["4", "5"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('packageName = "x"\nargs = ["y"]', "has both packageName and args"),
        ('requiredEnv = ["A", {name = "A", from = "B"}]', "asks for A more than once"),
    ],
)
def test_a_command_line_that_contradicts_itself_is_refused(tmp_path, body, message) -> None:
    assert message in problems(tmp_path, "maxSteps = 0\n" + skill_table(body))[1]


@pytest.mark.parametrize("command", ["npx", "uvx"])
def test_a_launcher_without_a_package_is_refused(tmp_path, command) -> None:
    text = "maxSteps = 0\n" + skill_table("").replace('"server"', f'"{command}"')
    assert "has neither packageName nor args" in problems(tmp_path, text)[1]
    assert problems(tmp_path, text.replace("command", 'args = ["x"]\ncommand')) == [":1: maxSteps: must be at least 1"]


def test_names_that_look_like_others_have_to_be_allowed(tmp_path) -> None:
    body = 'allowedDomains = ["xn--bcher-kva.example"]'
    assert "allowPunycode" in problems(tmp_path, "maxSteps = 0\n" + skill_table(body))[1]
    assert load(tmp_path, skill_table(f"allowPunycode = true\n{body}")).project.experts
