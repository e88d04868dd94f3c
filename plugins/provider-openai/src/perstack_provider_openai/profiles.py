"""The servers that speak OpenAI's formats, as data: where they are, what they need, and what is known of their models.

Windows and output limits are the vendors' published ones, in tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from perstack.specs import ModelInfo


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """One server, or kind of server.

    Attributes:
        name: The provider's name in a configuration.
        url: Base URL when none is configured.
        url_variable: Variable for another one.
        hosts: Hosts of `url` and of the vendor's other addresses.
        key: Variable of the key, or empty when there is none.
        header_settings: Settings that are sent as headers: setting → (variable, header).
        unsent_settings: Settings that are accepted and never sent.
        api_path: Replaces the path of a configured base URL that names only the server (``/`` or ``/api``).
        output_limit: The field that limits the answer's tokens.
        effort: Whether a reasoning effort can be asked for.
        no_effort_with_tools: Beginnings of the names of models that take tools only if they do not reason.
        echo_reasoning: Whether a message with tool calls has to carry its reasoning when it is sent back.
        models: What is known of its models.
    """

    name: str
    summary: str
    url: str
    url_variable: str
    hosts: tuple[str, ...] = ()
    key: str = ""
    header_settings: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    unsent_settings: frozenset[str] = frozenset()
    api_path: str = ""
    output_limit: str = "max_tokens"
    effort: bool = True
    no_effort_with_tools: tuple[str, ...] = ()
    echo_reasoning: bool = False
    models: Mapping[str, ModelInfo] = field(default_factory=dict)


GPT_5 = ModelInfo(context_window=400_000, max_output=128_000, reasoning=True)
O_SERIES = ModelInfo(context_window=200_000, max_output=100_000, reasoning=True)
GPT_OSS = ModelInfo(context_window=131_072, max_output=131_072, reasoning=True)
GEMMA = ModelInfo(context_window=128_000, max_output=128_000)

OPENAI = Profile(
    name="openai",
    summary="OpenAI, or any server with its chat completions (vLLM, llama.cpp, LM Studio, ...) by OPENAI_BASE_URL.",
    url="https://api.openai.com/v1",
    url_variable="OPENAI_BASE_URL",
    hosts=("api.openai.com",),
    key="OPENAI_API_KEY",
    header_settings={
        "organization": ("OPENAI_ORGANIZATION", "openai-organization"),
        "project": ("OPENAI_PROJECT", "openai-project"),
    },
    unsent_settings=frozenset({"name"}),
    output_limit="max_completion_tokens",
    # These models reason before a tool call in the vendor's other format (Responses) only.
    no_effort_with_tools=("gpt-5.2", "gpt-5.3", "gpt-5.4", "gpt-5.5", "gpt-5.6", "gpt-6"),
    models={
        "gpt-5": GPT_5,
        "gpt-5-mini": GPT_5,
        "gpt-5-nano": GPT_5,
        "gpt-5-chat-latest": ModelInfo(context_window=128_000, max_output=16_384),
        "o3": O_SERIES,
        "o3-mini": O_SERIES,
        "o4-mini": O_SERIES,
        "gpt-4.1": ModelInfo(context_window=1_047_576, max_output=32_768),
    },
)
DEEPSEEK = Profile(
    name="deepseek",
    summary="DeepSeek.",
    url="https://api.deepseek.com",
    url_variable="DEEPSEEK_BASE_URL",
    hosts=("api.deepseek.com",),
    key="DEEPSEEK_API_KEY",
    effort=False,
    echo_reasoning=True,
    models={
        "deepseek-chat": ModelInfo(context_window=128_000, max_output=8_192),
        "deepseek-reasoner": ModelInfo(context_window=128_000, max_output=64_000),
    },
)
OLLAMA = Profile(
    name="ollama",
    summary="Models that an Ollama server runs on this machine.",
    url="http://localhost:11434/v1",
    url_variable="OLLAMA_BASE_URL",
    hosts=("localhost",),
    api_path="/v1",
    models={
        "gpt-oss:20b": GPT_OSS,
        "gpt-oss:120b": GPT_OSS,
        "gemma3:1b": ModelInfo(context_window=32_000, max_output=32_000),
        "gemma3:4b": GEMMA,
        "gemma3:12b": GEMMA,
        "gemma3:27b": GEMMA,
    },
)
PROFILES = (OPENAI, DEEPSEEK, OLLAMA)
