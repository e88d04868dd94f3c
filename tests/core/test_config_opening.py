"""A project is opened together with the plugins that its user wants."""

from __future__ import annotations

import pytest
from fake_plugins import install
from perstack.config.opening import open_project
from perstack.errors import ConfigError, PluginError
from projects import EXPERT, write

PROVIDER = """
@hookimpl
def perstack_register_providers():
    return [ProviderSpec(name="acme", summary="s", factory=dict, setting_keys=frozenset({"baseUrl", "region"}))]

@hookimpl
def perstack_configure(settings):
    if settings.get("acme") == "stop":
        raise RuntimeError("told to stop")

@hookimpl
def perstack_register_settings():
    return [SettingsSpec(name="acme", summary="s", parse=lambda table: table["word"])]
"""


@pytest.fixture
def opened(tmp_path, monkeypatch):
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    acme = install(site, "acme", PROVIDER)
    project = tmp_path / "project"

    def open_it(text: str, *, user: str = "", **options):
        write(project, text)
        write(tmp_path, user, name="settings/perstack/config.toml")
        environ = {"XDG_CONFIG_HOME": str(tmp_path / "settings"), "XDG_CONFIG_DIRS": str(tmp_path / "none")}
        return open_project(cwd=project, overrides={}, environ={**environ, **options.pop("environ", {})}, **options)

    open_it.acme = acme
    return open_it


def provider(setting: str) -> str:
    return f'{EXPERT}[provider]\nproviderName = "acme"\n[provider.setting]\n{setting}\n'


def test_W_22_W_47_a_setting_that_the_provider_does_not_know_is_a_problem_with_a_suggestion(opened) -> None:
    loaded, registry = opened(provider('region = "eu"'))
    assert "acme" in registry.providers
    assert loaded.project.provider.setting == {"region": "eu"}
    with pytest.raises(ConfigError, match=r"provider\.setting\.regoin: is not a setting .*'region'") as caught:
        opened(provider('regoin = "eu"'))
    assert caught.value.problems[0].line == 7


def test_a_plugin_that_the_project_blocks_is_not_imported(opened) -> None:
    opened(EXPERT + '[plugins]\nblock = ["acme"]\n[plugins.acme]\nword = "kept"\n')
    assert not opened.acme.was_imported
    opened(EXPERT)
    assert opened.acme.was_imported, "the control"


def test_a_project_cannot_leave_out_a_plugin_that_its_user_has_configured(opened) -> None:
    blocks = EXPERT + '[plugins]\nblock = ["acme"]\n'
    own = '[plugins.acme]\nword = "mine"\n'
    with pytest.raises(ConfigError, match="a project cannot leave out 'acme'") as caught:
        opened(blocks, user=own)
    assert caught.value.problems[0].line == 5
    assert opened(blocks, user=f'{own}[plugins]\nblock = ["acme"]\n')
    assert opened(blocks, user=own, plugin_options=["no:acme"])
    with pytest.raises(PluginError, match="is required and blocked"):
        opened(blocks, user='[plugins]\nrequire = ["acme"]\n')


def test_a_table_that_its_plugin_cannot_read_is_a_problem_with_its_place(opened) -> None:
    with pytest.raises(ConfigError, match=r"plugins\.acme: the plugin cannot read it: KeyError"):
        opened(EXPERT + "[plugins.acme]\nother = 1\n")


def test_only_the_user_allows_plugins(opened) -> None:
    with pytest.raises(ConfigError, match="only the user's own settings"):
        opened(EXPERT + '[plugins]\nallow = ["acme"]\n')
    opened(EXPERT, user="[plugins]\nallow = []\n")
    assert not opened.acme.was_imported
    opened(EXPERT, user='[plugins]\nallow = ["acme"]\n')
    assert opened.acme.was_imported


def test_a_plugin_gets_its_own_table_and_its_refusal_stops_the_start(opened) -> None:
    _, registry = opened(EXPERT + '[plugins.acme]\nword = "go"\n')
    assert [record.name for record in registry.records if record.status == "active"] != ["core"]
    stop = EXPERT + '[plugins]\nrequire = ["acme"]\n[plugins.acme]\nword = "stop"\n'
    with pytest.raises(PluginError, match="told to stop"):
        opened(stop)


def test_a_table_that_nobody_reads_is_a_problem(opened) -> None:
    with pytest.raises(ConfigError, match=r"plugins\.nobody") as caught:
        opened(EXPERT + "[plugins.nobody]\nx = 1\n")
    assert caught.value.problems[0].line == 4
