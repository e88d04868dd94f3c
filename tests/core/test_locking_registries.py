"""Registries and their tokens come from the user's own settings of npm, uv and pip, and from nowhere else."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perstack.errors import UserError
from perstack.locking.npm_settings import npm_registries, npmrc
from perstack.locking.python_settings import python_registries
from perstack.locking.registries import Ecosystem, Registries


class User:
    """A home directory and a machine's settings."""

    def __init__(self, folder: Path) -> None:
        self.home, self.root = folder / "home", folder / "root"

    def write(self, path: str, text: str) -> None:
        target = self.root / path[1:] if path.startswith("/") else self.home / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def found(self, ecosystem: Ecosystem, **environ: str) -> Registries:
        read = npm_registries if ecosystem == "npm" else python_registries
        return read(environ, home=self.home, root=self.root)

    def urls(self, ecosystem: Ecosystem, **environ: str) -> list[str]:
        return [one.url for one in self.found(ecosystem, **environ).known]


@pytest.fixture
def user(tmp_path) -> User:
    return User(tmp_path)


@pytest.mark.parametrize("ecosystem", ["npm", "pypi"])
def test_without_settings_the_tool_itself_is_asked(user, ecosystem) -> None:
    found = user.found(ecosystem)
    assert found.known == ()
    assert found.default


def test_npms_registries_and_tokens_come_from_npmrc(user) -> None:
    user.write(
        ".npmrc",
        """
        ; a comment
        registry = https://npm.h.example/all
        @org:registry=https://h.example/org/
        //npm.h.example/:_authToken=${TOKEN}
        //h.example/org/:username=me
        //h.example/org/:_password=c2VjcmV0
        """,
    )
    found = user.found("npm", TOKEN="t-1")
    (every,), (scoped,) = found.of("left-pad"), found.of("@org/x")
    assert (every.url, every.authorization) == ("https://npm.h.example/all/", "Bearer t-1")
    assert scoped.url == "https://h.example/org/"
    assert base64.b64decode(scoped.authorization.removeprefix("Basic ")) == b"me:secret"
    assert not found.default
    assert "t-1" not in repr(found)


def test_npms_variables_count_more_than_the_users_file_and_it_more_than_the_machines(user) -> None:
    user.write("/etc/npmrc", "registry=https://machine.example/")
    assert user.urls("npm") == ["https://machine.example/"]
    user.write(".npmrc", "registry=https://user.example/")
    assert user.urls("npm") == ["https://user.example/"]
    assert user.urls("npm", NPM_CONFIG_REGISTRY="https://variable.example") == ["https://variable.example/"]


def test_uv_counts_more_than_pip_and_further_indexes_are_asked_first(user) -> None:
    user.write(".config/pip/pip.conf", "[global]\nindex-url = https://me:pass%21@pip.example/simple\n")
    (only,) = user.found("pypi").known
    assert only.url == "https://pip.example/simple/"
    assert base64.b64decode(only.authorization.removeprefix("Basic ")) == b"me:pass!"
    assert user.urls("pypi", PIP_EXTRA_INDEX_URL="https://more.example") == [
        "https://more.example/",
        "https://pip.example/simple/",
    ]
    user.write(
        ".config/uv/uv.toml",
        '[[index]]\nurl = "https://uv.example"\ndefault = true\n[[index]]\nurl = "https://first.example"\n',
    )
    assert user.urls("pypi") == ["https://first.example/", "https://uv.example/"]
    assert user.urls("pypi", UV_DEFAULT_INDEX="https://v.example", UV_INDEX="named=https://i.example") == [
        "https://i.example/",
        "https://first.example/",
        "https://v.example/",
    ]


def test_an_index_gets_its_account_from_netrc(user) -> None:
    user.write(".netrc", "machine pip.example login me password p-1\n")
    (user.home / ".netrc").chmod(0o600)
    (found,) = user.found("pypi", PIP_INDEX_URL="https://pip.example/simple").known
    assert base64.b64decode(found.authorization.removeprefix("Basic ")) == b"me:p-1"


@pytest.mark.parametrize(
    "url",
    [
        "http://h.example/",
        "file:///srv/simple",
        "ftp://h.example",
        "h.example",
        "http://user:canary@h.example/",
        "https://user:canary@[h.example/",
    ],
)
def test_N5_Q15_a_registry_without_encryption_is_not_used_and_said_so(user, url) -> None:
    for ecosystem, variable in (("npm", "npm_config_registry"), ("pypi", "PIP_INDEX_URL")):
        found = user.found(ecosystem, **{variable: url})
        assert found.known == ()
        assert len(found.ignored) == 1
        assert "canary" not in str(found.ignored)
    assert user.urls("npm", npm_config_registry="http://127.0.0.1:4873") == ["http://127.0.0.1:4873/"], "the control"


def test_a_file_that_its_own_tool_cannot_read_is_named(user) -> None:
    user.write(".config/pip/pip.conf", "index-url\n")
    with pytest.raises(UserError, match=r"pip\.conf"):
        user.found("pypi")
    user.write(".npmrc", "registry=https://h/\n//h/:username=me\n//h/:_password=a\n")
    with pytest.raises(UserError, match="//h/:_password"):
        user.found("npm")
    user.write(".config/uv/uv.toml", "= 1")
    with pytest.raises(UserError, match=r"uv\.toml"):
        user.found("pypi")


def test_certificates_to_trust_come_from_the_same_places(user) -> None:
    user.write("ca.pem", "x")
    file = str(user.home / "ca.pem")
    user.write(".npmrc", "cafile=~/ca.pem")
    assert [str(path) for path in user.found("npm").authorities] == [file]
    assert [str(path) for path in user.found("pypi", PIP_CERT=file).authorities] == [file]
    assert user.found("pypi", SSL_CERT_FILE=str(user.home / "missing.pem")).authorities == ()


@given(st.text(), st.dictionaries(st.text(), st.text()))
def test_any_npmrc_is_read_without_a_crash(text, environ) -> None:
    assert all(isinstance(value, str) for value in npmrc(text, environ).values())
