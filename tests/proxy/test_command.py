"""`perstack-proxy` from outside: verdicts, Squid's file, and mistakes without a stack trace."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROXY = [sys.executable, "-m", "perstack_proxy"]
SKILL = {
    "name": "web",
    "socket": "/run/web.sock",
    "rules": [{"pattern": "api.example.com", "origin": "perstack.toml:7"}],
}
POLICY = json.dumps({"type": "policy", "version": 1, "skills": [SKILL]}) + "\n"


def run(*words: str, policy: str = POLICY) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROXY, *words], input=policy, capture_output=True, text=True, timeout=30, check=False)


def test_check_says_which_line_allows_a_host_and_why_another_is_denied():
    done = run("check", "web", "api.example.com", "evil.example.org", "api.example.com:80")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "allowed api.example.com:443 (api.example.com at perstack.toml:7)",
        "host evil.example.org:443 'evil.example.org' is not in allowedDomains",
        "port api.example.com:80 (api.example.com at perstack.toml:7) port 80 is closed; only HTTPS on port 443 is open",  # noqa: E501
    ]
    assert run("check", "web", "api.example.com").returncode == 0


def test_squid_config_prints_the_file_of_the_policy():
    done = run("squid-config")
    assert done.returncode == 0
    assert "acl exact0 dstdomain -n api.example.com\n" in done.stdout


@pytest.mark.parametrize(
    ("words", "policy", "message"),
    [
        (["check", "files", "api.example.com"], POLICY, "the policy has no skill 'files'"),
        (["check", "web", "10.0.0.1"], POLICY, "the target is an address; name a host"),
        (["check", "web", "api.example.com"], "{}\n", "the policy has no 'skills'"),
        (["squid-config"], "no\n", "the line is not JSON"),
        (["gate", "--squid", "/nowhere/squid", "--folder", "/nowhere"], POLICY, "No such file or directory"),
        (["forward", "/run/none.sock", "99999"], "", "port must be 0-65535"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(words, policy, message):
    done = run(*words, policy=policy)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith(f"perstack-proxy {words[0]}: ")
    assert len(done.stderr.splitlines()) == 1
