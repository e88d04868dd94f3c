"""Where keys may go, and what may be sent as a header."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from perstack.errors import ConfigError
from perstack.model_http import base_url, header_settings, secret, text_setting
from perstack.specs import ProviderContext

DEFAULT = "https://api.example.com/v1"


def context(env: dict[str, str] | None = None, **settings: object) -> ProviderContext:
    return ProviderContext(settings=settings, env=env or {}, cache_dir=Path("unused"))


def url(value: str) -> str:
    return base_url(context(baseUrl=value), variable="X_BASE_URL", default=DEFAULT)


@pytest.mark.parametrize(
    "value",
    [
        "https://models.example.com",
        "https://models.example.com:8443/path/v1",
        "http://localhost:11434/v1",
        "http://127.0.0.1:8080",
        "http://127.8.8.8",
        "http://[::1]:8080/v1",
    ],
)
def test_https_and_this_machine_are_accepted(value: str) -> None:
    assert url(value) == value
    assert url(f"{value}/") == value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("http://models.example.com/v1", "unencrypted to 'models.example.com'"),
        ("http://10.0.0.1", "unencrypted"),
        ("http://localhost.example.com", "unencrypted"),
        ("http://127.0.0.1.example.com", "unencrypted"),
        ("http://0.0.0.0:80", "unencrypted"),
        ("http://2130706433", "unencrypted"),
        ("https://user:word@models.example.com", "has a user"),
        ("https://localhost@models.example.com", "has a user"),
        ("https://models.example.com/v1?key=x", "query"),
        ("https://models.example.com/v1#x", "fragment"),
        ("ftp://models.example.com", "no http"),
        ("file:///etc/passwd", "no http"),
        ("models.example.com", "no http"),
        ("https://", "no http"),
        ("https://models.example.com:port", "no URL"),
        ("https://models.example.com:99999", "no URL"),
        ("https://[::1", "no URL"),
        ("https://models.example.com/a b", "no http"),
    ],
)
def test_a_base_url_that_would_leak_the_key_is_refused_with_its_reason(value: str, reason: str) -> None:
    assert url("https://models.example.com/v1") == "https://models.example.com/v1"
    with pytest.raises(ConfigError, match=reason):
        url(value)


def test_the_setting_wins_over_the_variable_and_that_over_the_default() -> None:
    env = {"X_BASE_URL": "https://env.example.com", "Y_BASE_URL": "https://other.example.com"}
    setting = context(env, baseUrl="https://setting.example.com")
    assert base_url(setting, variable="X_BASE_URL", default=DEFAULT) == "https://setting.example.com"
    assert base_url(context(env), variable="X_BASE_URL", default=DEFAULT) == "https://env.example.com"
    assert base_url(context({"X_BASE_URL": ""}), variable="X_BASE_URL", default=DEFAULT) == DEFAULT


def test_an_error_names_the_setting_or_the_variable() -> None:
    with pytest.raises(ConfigError, match="baseUrl"):
        url("ftp://x")
    with pytest.raises(ConfigError, match="X_BASE_URL"):
        base_url(context({"X_BASE_URL": "ftp://x"}), variable="X_BASE_URL", default=DEFAULT)


def test_a_key_is_stripped_of_the_newline_that_a_file_leaves() -> None:
    assert secret(context({"X_KEY": " key\n"}), "X_KEY") == "key"


@pytest.mark.parametrize("value", [None, "", " \n"])
def test_a_missing_key_is_named(value: str | None) -> None:
    env = {} if value is None else {"X_KEY": value}
    with pytest.raises(ConfigError, match="X_KEY is not set"):
        secret(context(env), "X_KEY")


@pytest.mark.parametrize("broken", ["{}\r\nx-evil: 1", "{}\0", "{}ü", "{}\x1b[2J"])
def test_a_key_that_could_split_a_header_is_refused_and_not_shown(broken: str) -> None:
    canary = uuid.uuid4().hex
    with pytest.raises(ConfigError, match="X_KEY") as caught:
        secret(context({"X_KEY": broken.format(canary)}), "X_KEY")
    assert canary not in str(caught.value)


def test_headers_of_the_settings_get_lower_case_names() -> None:
    assert header_settings(context(headers={"X-Team": "blue"})) == {"x-team": "blue"}
    assert header_settings(context()) == {}


@pytest.mark.parametrize(
    "headers",
    [
        "text",
        {"x": 1},
        {"": "x"},
        {"x y": "x"},
        {"x:": "x"},
        {"x": "a\r\nb: c"},
        {"x\r\ny": "x"},
        {"x": "ü"},
        {"Host": "models.example.com"},
        {"content-length": "0"},
        {"Transfer-Encoding": "chunked"},
        {"connection": "close"},
    ],
)
def test_what_is_no_header_or_belongs_to_the_framing_is_refused(headers: object) -> None:
    with pytest.raises(ConfigError, match="headers"):
        header_settings(context(headers=headers))


@pytest.mark.parametrize("value", [1, ["x"], "a\nb", "ü"])
def test_a_text_setting_is_printable_text(value: object) -> None:
    assert text_setting(context(project="x-1"), "project") == "x-1"
    with pytest.raises(ConfigError, match="project"):
        text_setting(context(project=value), "project")
