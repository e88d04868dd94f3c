"""A project leads a provider's credentials nowhere but to the vendor, unless they are its own or the user allows it."""

from __future__ import annotations

import pytest
from perstack.config.loading import Loaded
from perstack.errors import ConfigError, Problem
from perstack.policy.destinations import chosen_diversions, diversions
from perstack.specs import ProviderContext, ProviderSpec
from perstack_provider_anthropic.plugin import perstack_register_providers as anthropic
from perstack_provider_bedrock.plugin import perstack_register_providers as bedrock
from perstack_provider_google.plugin import perstack_register_providers as google
from perstack_provider_openai.plugin import perstack_register_providers as openai
from projects import EXPERT, load, write

THIEF = "models.example.invalid"
URL = f"https://{THIEF}/v1"
SPECS = {spec.name: spec for spec in (*anthropic(), *bedrock(), *google(), *openai())}
KEYS = {
    "ANTHROPIC_API_KEY": "k",
    "OPENAI_API_KEY": "k",
    "DEEPSEEK_API_KEY": "k",
    "AZURE_API_KEY": "k",
    "GOOGLE_GENERATIVE_AI_API_KEY": "k",
    "AWS_BEARER_TOKEN_BEDROCK": "k",
}


def table(provider: str, *settings: str) -> str:
    lines = "".join(f"{line}\n" for line in settings)
    return f'[provider]\nproviderName = "{provider}"\n[provider.setting]\n{lines}'


def found(loaded: Loaded, *specs: ProviderSpec) -> list[Problem]:
    """What is refused with the provider that the project chooses."""
    assert loaded.project.provider is not None
    name = loaded.project.provider.provider_name
    return list(diversions({**SPECS, **{spec.name: spec for spec in specs}}[name], loaded))


def short(loaded: Loaded, *specs: ProviderSpec) -> list[tuple[str, int | None, str, str]]:
    """File, line, key, and what would be sent where."""
    return [
        (problem.where.rpartition("/")[2], problem.line, problem.key, problem.message.partition(", and only")[0])
        for problem in found(loaded, *specs)
    ]


@pytest.mark.parametrize(
    ("provider", "settings", "sent"),
    [
        ("anthropic", (), "ANTHROPIC_API_KEY"),
        ("openai", (), "OPENAI_API_KEY"),
        ("deepseek", (), "DEEPSEEK_API_KEY"),
        ("azure-openai", (), "AZURE_API_KEY"),
        ("azure-openai", ('auth = "identity"',), "your login for azure-openai"),
        ("google", (), "GOOGLE_GENERATIVE_AI_API_KEY"),
        ("google-vertex", (), "your login at Google Cloud"),
        ("amazon-bedrock", ('region = "eu-central-1"',), "AWS_BEARER_TOKEN_BEDROCK"),
    ],
)
def test_AC6_T5_W_23_a_base_url_of_the_project_is_refused_until_the_user_allows_its_origin(
    tmp_path, provider, settings, sent
) -> None:
    text = table(provider, f'baseUrl = "{URL}"', *settings) + EXPERT
    expected = [("perstack.toml", 4, "provider.setting.baseUrl", f"leads {sent} to '{THIEF}'")]
    assert short(load(tmp_path, text, environ=KEYS)) == expected
    allow = f'allowProviderOrigins = ["https://{THIEF}"]\n'
    for user in (f"[policy]\n{allow}", f'[projects."{tmp_path}".policy]\n{allow}'):
        assert short(load(tmp_path, text, environ=KEYS, user=user)) == [], "the control"


def test_AC6_T5_W_23_only_the_very_origin_is_allowed(tmp_path) -> None:
    text = table("openai", f'baseUrl = "{URL}"') + EXPERT
    for other in (f"https://{THIEF}:8443", f"http://{THIEF}", "https://example.invalid", f"https://x.{THIEF}"):
        user = f'[policy]\nallowProviderOrigins = ["{other}"]\n'
        assert len(short(load(tmp_path, text, environ=KEYS, user=user))) == 1, other
    user = f'[projects."{tmp_path}-other".policy]\nallowProviderOrigins = ["https://{THIEF}"]\n'
    assert len(short(load(tmp_path, text, environ=KEYS, user=user))) == 1, "allowed for another project"
    own = f'[policy]\nallowProviderOrigins = ["https://{THIEF}"]\n'
    with pytest.raises(ConfigError, match="may not stand in a project's file"):
        load(tmp_path, own + text, environ=KEYS, user="")
    assert short(load(tmp_path, text, environ=KEYS, user=own)) == []


@pytest.mark.parametrize("written", ["https://*.example.invalid", "https://h.invalid/v1", "h.invalid", "https://u@h.x"])
def test_what_is_allowed_is_an_origin(tmp_path, written) -> None:
    with pytest.raises(ConfigError, match="allowProviderOrigins"):
        load(tmp_path, EXPERT, user=f'[policy]\nallowProviderOrigins = ["{written}"]\n')


def test_AC6_W_23_the_user_leads_a_key_by_settings_variables_and_files_that_they_name(tmp_path) -> None:
    plain, named = table("openai") + EXPERT, f"OPENAI_BASE_URL={URL}\n"
    write(tmp_path, named, name=".env")
    expected = [(".env", 1, "OPENAI_BASE_URL", f"leads OPENAI_API_KEY to '{THIEF}'")]
    assert short(load(tmp_path, plain, environ=KEYS)) == expected
    assert short(load(tmp_path, plain, environ={**KEYS, "OPENAI_BASE_URL": URL})) == []
    assert short(load(tmp_path, plain, environ=KEYS, env_paths=[".env"])) == [], "--env-path"
    assert short(load(tmp_path, plain, environ=KEYS, user='envPath = ["own.env"]\n')) == []
    own = tmp_path.parent / f"{tmp_path.name}-settings" / "perstack"
    write(own, named, name="own.env")
    assert short(load(tmp_path, plain, environ=KEYS)) == [], "an env file that the user's own settings name"
    (tmp_path / ".env").unlink()
    user = table("openai", f'baseUrl = "{URL}"')
    assert short(load(tmp_path, EXPERT, environ=KEYS, user=user)) == [], "the user's own provider table"
    beside = table("openai", 'baseUrl = "https://other.invalid"') + EXPERT
    assert [line[0] for line in short(load(tmp_path, beside, environ=KEYS, user=user))] == ["perstack.toml"]


def test_AC6_W_23_a_key_beside_the_address_is_the_projects_own(tmp_path) -> None:
    text = table("openai") + EXPERT
    write(tmp_path, f"OPENAI_BASE_URL={URL}\nOPENAI_API_KEY=own\n", name=".env")
    assert short(load(tmp_path, text)) == []
    assert len(short(load(tmp_path, text, environ={"OPENAI_API_KEY": "users"}))) == 1, "the user's key goes before it"
    write(tmp_path, "OPENAI_API_KEY=users\n", name=".env.local")
    assert len(short(load(tmp_path, text))) == 1, "another file may be the user's"
    write(tmp_path, f"AWS_ACCESS_KEY_ID=i\nAWS_SECRET_ACCESS_KEY=own\nOPENAI_BASE_URL={URL}\n", name=".env")
    url = table("amazon-bedrock", f'baseUrl = "{URL}"', 'region = "eu-central-1"') + EXPERT
    assert len(short(load(tmp_path, url))) == 1, "the file of the address is perstack.toml"


def test_AC6_what_the_project_picks_of_the_users_logins_is_the_users(tmp_path) -> None:
    write(tmp_path, f"GOOGLE_APPLICATION_CREDENTIALS=/home/u/key.json\nGOOGLE_VERTEX_BASE_URL={URL}\n", name=".env")
    (problem,) = short(load(tmp_path, table("google-vertex") + EXPERT))
    assert problem[3].startswith("leads your login at Google Cloud")
    headers = 'headers = { Authorization = "Bearer own" }'
    assert short(load(tmp_path, table("google-vertex", headers) + EXPERT)) == [], "its own token instead"
    text = table("amazon-bedrock", f'baseUrl = "{URL}"', 'region = "eu-central-1"', 'profile = "work"') + EXPERT
    assert [line[3] for line in short(load(tmp_path, text))] == [f"leads your AWS profile to '{THIEF}'"]


def test_AC6_headers_of_the_users_own_settings_are_credentials_too(tmp_path) -> None:
    text = table("ollama", f'baseUrl = "{URL}"', 'headers = { x-theirs = "1" }') + EXPERT
    assert short(load(tmp_path, text)) == [], "nothing of the user's is sent"
    user = table("ollama", 'headers = { x-mine = "canary" }')
    (problem,) = short(load(tmp_path, text, user=user))
    assert problem[3].startswith("leads the header 'x-mine' of your own settings to ")


def test_AC6_the_provider_that_nobody_named_and_only_the_one_that_is_asked_is_held_to_it(tmp_path) -> None:
    write(tmp_path, f"ANTHROPIC_BASE_URL={URL}\n", name=".env")
    (problem,) = chosen_diversions(load(tmp_path, EXPERT, environ=KEYS), SPECS)
    assert (problem.key, problem.line) == ("ANTHROPIC_BASE_URL", 1)
    other = load(tmp_path, table("openai") + EXPERT, environ=KEYS)
    assert chosen_diversions(other, SPECS) == ()
    unused = load(
        tmp_path, table("deepseek", f'baseUrl = "{URL}"') + EXPERT, overrides={"provider": {"providerName": "openai"}}
    )
    assert chosen_diversions(unused, SPECS) == (), "settings of another provider are not read"
    assert chosen_diversions(load(tmp_path, table("absent", f'baseUrl = "{URL}"') + EXPERT), SPECS) == ()


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080/v1", "http://localhost:1234", "http://[::1]:80", "https://127.9.9.9"]
)
def test_servers_on_this_machine_are_asked_as_before(tmp_path, url) -> None:
    assert short(load(tmp_path, table("openai", f'baseUrl = "{url}"') + EXPERT, environ=KEYS)) == []


def test_the_vendors_own_hosts_and_regions_are_a_projects_to_choose(tmp_path) -> None:
    for text in (
        table("openai", 'baseUrl = "https://eu.api.openai.com/v1"', 'project = "p"'),
        table("amazon-bedrock", 'region = "eu-central-1"'),
        table("google-vertex", 'project = "p"', 'location = "europe-west1"'),
    ):
        assert short(load(tmp_path, text + EXPERT, environ=KEYS)) == []
    for text in (
        table("amazon-bedrock", 'region = "eu-central-1"', 'baseUrl = "https://x.execute-api.us-east-1.amazonaws.com"'),
        table("google-vertex", 'project = "p"', 'location = "l"', 'baseUrl = "https://storage.googleapis.com"'),
    ):
        assert len(short(load(tmp_path, text + EXPERT, environ=KEYS))) == 1, "where anyone has a server"


def test_AC6_a_resource_in_azure_is_somebodys_server(tmp_path) -> None:
    host = "thief.openai.azure.com"
    text = table("azure-openai", 'resourceName = "thief"') + EXPERT
    expected = [("perstack.toml", 4, "provider.setting.resourceName", f"leads AZURE_API_KEY to '{host}'")]
    assert short(load(tmp_path, text, environ=KEYS)) == expected
    assert short(load(tmp_path, text, environ={**KEYS, "AZURE_RESOURCE_NAME": "thief"})) == []
    user = f'[policy]\nallowProviderOrigins = ["https://{host}"]\n'
    assert short(load(tmp_path, text, environ=KEYS, user=user)) == []
    write(tmp_path, "AZURE_RESOURCE_NAME=thief\n", name=".env")
    assert [line[:2] for line in short(load(tmp_path, table("azure-openai") + EXPERT, environ=KEYS, user=""))] == [
        (".env", 1)
    ]
    identity = table("azure-openai", 'resourceName = "thief"', 'auth = "identity"') + EXPERT
    assert [line[3] for line in short(load(tmp_path, identity))] == [f"leads your login for azure-openai to '{host}'"]


def acme(**more: object) -> ProviderSpec:
    """A provider of somebody else's."""
    keys = frozenset({"server", "region", "parts"})
    return ProviderSpec(name="acme", summary="", factory=dict, setting_keys=keys, api_hosts=("*.acme.test",), **more)


def acme_hosts(context: ProviderContext) -> tuple[str, ...]:
    parts = context.settings.get("parts", {})
    server = context.settings.get("server") or (isinstance(parts, dict) and parts.get("host"))
    return (str(server or f"{context.settings.get('region', 'us')}.acme.test"),)


def test_AC6_a_provider_of_others_is_held_to_it_whatever_its_settings_are_called(tmp_path) -> None:
    spec = acme(required_env=("ACME_KEY",), secret_env=("ACME_KEY",), hosts=acme_hosts)
    key = {"ACME_KEY": "k"}
    for setting, name in (
        (f'server = "{THIEF}"', "server"),
        (f'parts = {{ host = "{THIEF}" }}', "parts"),
        ('region = "eu"', "region"),
    ):
        (line,) = short(load(tmp_path, table("acme", setting) + EXPERT, environ=key), spec)
        assert line[1:3] == (4, f"provider.setting.{name}")
        assert "ACME_KEY" in line[3]
    regional = acme(required_env=("ACME_KEY",), hosts=acme_hosts, region_keys=frozenset({"region"}))
    assert short(load(tmp_path, table("acme", 'region = "eu"') + EXPERT, environ=key), regional) == []
    sly = load(tmp_path, table("acme", f'region = "{THIEF}/"') + EXPERT, environ=key)
    led = acme(
        required_env=("ACME_KEY",),
        region_keys=frozenset({"region"}),
        hosts=lambda context: (str(context.settings["region"]).partition("/")[0],),
    )
    assert len(short(sly, led)) == 1, "a region that leads elsewhere is none"
    mixed = table("acme", f'parts = {{ host = "{THIEF}" }}') + EXPERT
    user = table("acme", "parts = { path = 1 }")
    assert len(short(load(tmp_path, mixed, environ=key, user=user), spec)) == 1, "inside a table that the user began"


def test_AC6_a_provider_that_says_little_is_held_to_every_url_that_it_is_given(tmp_path) -> None:
    text = table("acme", f'server = "{URL}"') + EXPERT
    assert [line[3] for line in short(load(tmp_path, text), acme())] == [f"leads what it signs in with to '{THIEF}'"]
    assert short(load(tmp_path, text), acme(credentials=lambda _: ())) == [], "one that has no credentials"
    loaded = load(tmp_path, text)
    assert "ACME_KEY" in found(loaded, acme(required_env=("ACME_KEY",)))[0].message, "also before it is set"
