"""The page about the base tools names each of them, each bound with its default, and kinds of files as they are."""

from __future__ import annotations

from pathlib import Path

from perstack_proxy.file_policy import FilePolicy
from perstack_skill_base.limits import Bounds
from perstack_skill_base.policy import _camel
from perstack_skill_base.tools import HANDLERS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "base-tools.md").read_text()


def test_every_tool_and_every_bound_is_named():
    assert [name for name in HANDLERS if f"`{name}`" not in PAGE] == []
    rows = [f"| `{_camel(name)}` | {value:,} | " for name, value in Bounds()._asdict().items()]
    assert [row for row in rows if row not in PAGE] == []


def test_what_the_page_says_of_files_is_so():
    policy = FilePolicy()
    control = "perstack.toml perstack.lock .env .env.x .git/a .github/a .vscode/a .gitlab-ci.yml .npmrc .bashrc"
    assert [path for path in control.split() if policy.control(path.split("/")) is None] == []
    secret = ".env .env.local .npmrc .netrc .git-credentials .ssh/a .aws/a .kube/a id_rsa a.pem a.key"
    assert [path for path in secret.split() if not policy.secret(path.split("/"))] == []
    assert not policy.secret([".env.example"])
