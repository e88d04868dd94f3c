"""The servers that speak OpenAI's formats, as data: where they are, what they need, and what they speak."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from perstack.model_table import ModelTable
from perstack.specs import ModelInfo

Api = Literal["chat", "responses"]
HERE = Path(__file__).parent
LOGIN = "login.microsoftonline.com"
"""Where Azure gives tokens in a key's place."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """One server, or kind of server.

    Attributes:
        name: The provider's name in a configuration.
        url: Base URL when none is configured; ``{resource}`` stands for the value of `resource_variable`.
        url_variable: Variable for another one.
        hosts: Hosts of `url` and of the vendor's other addresses.
        key: Variable of the key, or empty when there is none.
        key_header: The header that it is sent in, after `key_prefix`.
        token_scope: What a token in the key's place is for, where the vendor gives such tokens.
        header_settings: Settings that are sent as headers: setting → (variable, header).
        unsent_settings: Settings that are accepted and never sent.
        resource_variable: Variable of a part of the host's name.
        version_variable: Variable of a version that stands in the query.
        version_path: Stands between the base URL and each operation.
        api_path: Replaces the path of a configured base URL that names only the server (``/`` or ``/api``).
        api: The format of the vendor's own server; ``chat`` is spoken everywhere and leaves no choice.
        api_elsewhere: The format of a server behind a configured base URL.
        output_limit: The field that limits the answer's tokens in chat completions.
        effort: Whether a reasoning effort can be asked for in chat completions.
        no_effort_with_tools: Beginnings of the names of models that take tools there only if they do not reason.
        echo_reasoning: Whether a message with tool calls has to carry its reasoning when it is sent back.
        takes_schemas: Whether an answer can be held to a JSON Schema; else to JSON.
        provider_tools: Tools that run at the vendor, in Responses.
        models: What is known of its models.
    """

    name: str
    summary: str
    url: str
    url_variable: str
    hosts: tuple[str, ...] = ()
    key: str = ""
    key_header: str = "authorization"
    key_prefix: str = "Bearer "
    token_scope: str = ""
    header_settings: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    unsent_settings: frozenset[str] = frozenset()
    resource_variable: str = ""
    version_variable: str = ""
    version_path: str = ""
    api_path: str = ""
    api: Api = "chat"
    api_elsewhere: Api = "chat"
    output_limit: str = "max_tokens"
    effort: bool = True
    no_effort_with_tools: tuple[str, ...] = ()
    echo_reasoning: bool = False
    takes_schemas: bool = True
    provider_tools: frozenset[str] = frozenset()
    models: Mapping[str, ModelInfo] = field(default_factory=dict)

    @property
    def optional_variables(self) -> tuple[str, ...]:
        """Variables that it reads where they are set."""
        own = (self.url_variable, self.resource_variable, self.version_variable)
        return tuple(name for name in (*own, *(variable for variable, _ in self.header_settings.values())) if name)

    @property
    def settings(self) -> frozenset[str]:
        """Keys that its settings may have."""
        own = {"baseUrl", "headers", *self.unsent_settings, *self.header_settings}
        own |= {"api"} if self.api == "responses" else set()
        own |= {"resourceName", "apiVersion", "useDeploymentBasedUrls"} if self.version_variable else set()
        return frozenset(own | ({"auth"} if self.token_scope else set()))


# These models reason before a tool call in the vendor's other format (Responses) only.
REASON_ELSEWHERE = ("gpt-5.2", "gpt-5.3", "gpt-5.4", "gpt-5.5", "gpt-5.6", "gpt-6")
OPENAI_MODELS = ModelTable(HERE / "openai.json")

OPENAI = Profile(
    name="openai",
    summary="OpenAI, or any server with its chat completions (vLLM, llama.cpp, LM Studio, ...) by OPENAI_BASE_URL.",
    url="https://api.openai.com/v1",
    url_variable="OPENAI_BASE_URL",
    hosts=("api.openai.com", "eu.api.openai.com", "us.api.openai.com"),
    key="OPENAI_API_KEY",
    header_settings={
        "organization": ("OPENAI_ORGANIZATION", "openai-organization"),
        "project": ("OPENAI_PROJECT", "openai-project"),
    },
    unsent_settings=frozenset({"name"}),
    api="responses",
    output_limit="max_completion_tokens",
    no_effort_with_tools=REASON_ELSEWHERE,
    provider_tools=frozenset({"webSearch", "fileSearch", "codeInterpreter", "imageGeneration"}),
    models=OPENAI_MODELS,
)
AZURE = Profile(
    name="azure-openai",
    summary="OpenAI's models in Azure, by the names of their deployments.",
    url="https://{resource}.openai.azure.com/openai",
    url_variable="AZURE_BASE_URL",
    hosts=(
        "*.openai.azure.com",
        "*.cognitiveservices.azure.com",
        "*.services.ai.azure.com",
        "*.openai.azure.us",
        "*.openai.azure.cn",
        LOGIN,
    ),
    key="AZURE_API_KEY",
    key_header="api-key",
    key_prefix="",
    token_scope="https://cognitiveservices.azure.com/.default",  # noqa: S106 - names what a token is for
    resource_variable="AZURE_RESOURCE_NAME",
    version_variable="AZURE_API_VERSION",
    version_path="/v1",
    api="responses",
    api_elsewhere="responses",
    output_limit="max_completion_tokens",
    no_effort_with_tools=REASON_ELSEWHERE,
    provider_tools=frozenset({"webSearchPreview", "fileSearch", "codeInterpreter", "imageGeneration"}),
    models=OPENAI_MODELS,
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
    takes_schemas=False,
    models=ModelTable(HERE / "deepseek.json"),
)
OLLAMA = Profile(
    name="ollama",
    summary="Models that an Ollama server runs on this machine.",
    url="http://localhost:11434/v1",
    url_variable="OLLAMA_BASE_URL",
    hosts=("http://localhost:11434",),
    api_path="/v1",
    models=ModelTable(HERE / "ollama.json"),
)
PROFILES = (OPENAI, AZURE, DEEPSEEK, OLLAMA)
