"""The servers that speak generateContent, as data: where they are and what they need."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from perstack.model_table import ModelTable

MODELS = ModelTable(Path(__file__).with_name("models.json"))
TOKEN_HOSTS = (
    "oauth2.googleapis.com",
    "sts.googleapis.com",
    "iamcredentials.googleapis.com",
    "http://metadata.google.internal",
    "http://169.254.169.254",
)
"""Where tokens come from: the vendor's servers, and the one that a machine in Google Cloud has for itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """One server.

    Attributes:
        name: The provider's name in a configuration.
        url: Base URL when none is configured; of Vertex AI, `regional` and the project's path follow from settings.
        url_variable: Variable for another one.
        hosts: Hosts of the vendor's addresses.
        key: Variable of the key; empty where the vendor's own credentials are found by its library.
        call_ids: Whether function calls have ids.
        project_variables: Variables of the project and the location, where they are part of the address.
        provider_tools: Tools that run at the vendor.
        shows_own_tools: Whether the server tells what they did, if it is asked to.
        credentials_variable: Variable of the credentials' file.
    """

    name: str
    summary: str
    url: str
    url_variable: str
    hosts: tuple[str, ...]
    key: str = ""
    call_ids: bool = False
    project_variables: tuple[str, ...] = ()
    credentials_variable: str = ""
    provider_tools: frozenset[str] = frozenset()
    shows_own_tools: bool = False


GEMINI = Profile(
    name="google",
    summary="Gemini, by the Gemini API.",
    url="https://generativelanguage.googleapis.com/v1beta",
    url_variable="GOOGLE_GENERATIVE_AI_BASE_URL",
    hosts=("generativelanguage.googleapis.com",),
    key="GOOGLE_GENERATIVE_AI_API_KEY",
    call_ids=True,
    provider_tools=frozenset({"googleSearch", "codeExecution", "urlContext", "googleMaps", "fileSearch"}),
    shows_own_tools=True,
)
VERTEX = Profile(
    name="google-vertex",
    summary="Gemini in Google Cloud, by Vertex AI and application default credentials.",
    url="https://{host}/v1/projects/{project}/locations/{location}/publishers/google",
    url_variable="GOOGLE_VERTEX_BASE_URL",
    # A region stands within its host's name.
    hosts=(
        "aiplatform.googleapis.com",
        "*.googleapis.com",
        *TOKEN_HOSTS,
    ),
    project_variables=("GOOGLE_VERTEX_PROJECT", "GOOGLE_VERTEX_LOCATION"),
    credentials_variable="GOOGLE_APPLICATION_CREDENTIALS",
    provider_tools=frozenset({"googleSearch", "codeExecution", "urlContext", "googleMaps", "enterpriseWebSearch"}),
)
PROFILES = (GEMINI, VERTEX)
