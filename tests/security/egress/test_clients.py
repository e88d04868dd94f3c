"""Real clients in a sandbox reach an allowed host through the forwarder, by the proxy variables alone, and only it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from perstack_proxy.variables import proxy_variables
from real_clients import API, EVIL, PYTHON, TRUST, got, publish, words


@pytest.fixture(scope="module")
def published(internet, tmp_path_factory):
    publish(internet.pages, tmp_path_factory.mktemp("published"))
    return internet


def environment(proxy: str, authority: Path, folder: Path) -> dict[str, str]:
    own = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_TERMINAL_PROMPT": "0", "PIP_CONFIG_FILE": os.devnull}
    return {**own, **dict.fromkeys(TRUST.split(), str(authority)), **proxy_variables(proxy)}


CLIENTS = ["curl", *PYTHON, "node fetch", "git clone", "npm install", "pip download"]


@pytest.mark.parametrize("client", CLIENTS)
def test_AN21_a_real_client_reaches_an_allowed_host_and_no_other_one(
    published, egress, sandbox, proxy, tmp_path, client
):
    assert shutil.which(client.split()[0]) or client in PYTHON, f"{client} is not installed"
    env = environment(proxy, published.authority, tmp_path)
    project = tmp_path / "project"
    project.mkdir()

    def run(host: str) -> subprocess.CompletedProcess[str]:
        named = [f"{name}={value}" for name, value in env.items()]
        inside = sandbox.command("env", "-i", *named, *words(client, host, str(tmp_path), sys.executable))
        return subprocess.run(inside, cwd=project, capture_output=True, text=True, timeout=60, check=False)

    denied = run(EVIL)
    assert denied.returncode != 0
    assert egress.untouched(EVIL)
    assert {line["host"] for line in egress.gate.wait_for("deny", 1)} == {EVIL}

    done = run(API)
    assert done.returncode == 0, done.stderr
    assert {arrival.server_name for arrival in published.arrivals} == {API}
    assert published.asked() <= {API}
    assert got(client, done.stdout, tmp_path)


def test_AN21_and_bypass_7_a_client_that_ignores_the_proxy_reaches_nothing(egress, sandbox, proxy):
    curl = ["curl", "-sS", "--noproxy", "*", "--connect-timeout", "2", "--resolve", f"{API}:443:93.184.216.34"]
    done = subprocess.run(sandbox.command(*curl, f"https://{API}/"), capture_output=True, timeout=30, check=False)
    assert done.returncode != 0
    assert egress.untouched(API)
    allowed = [*curl[:2], "--proxy", proxy, "--cacert", str(egress.internet.authority)]
    done = subprocess.run(sandbox.command(*allowed, f"https://{API}/"), capture_output=True, timeout=30, check=True)
    assert done.stdout == b"hello"
