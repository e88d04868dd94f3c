"""Real clients in a sandbox reach an allowed host through the forwarder, by the proxy variables alone, and only it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from perstack_proxy.variables import proxy_variables

API = "api.example.com"
EVIL = "evil.example.org"
PACKAGE = "demo-of-the-gate"
FETCH = "fetch('https://{host}/').then(r => r.text()).then(console.log, e => {{ console.error(e); process.exit(1) }})"
HTTPX = "import httpx2; print(httpx2.get('https://{host}/').text)"
REQUESTS = "import requests; print(requests.get('https://{host}/').text)"
URLLIB = "import urllib.request; print(urllib.request.urlopen('https://{host}/').read().decode())"
#: What each client calls the file of authorities that it trusts.
TRUST = "SSL_CERT_FILE REQUESTS_CA_BUNDLE NODE_EXTRA_CA_CERTS GIT_SSL_CAINFO CURL_CA_BUNDLE PIP_CERT npm_config_cafile"
PYTHON = {"httpx2": HTTPX, "requests": REQUESTS, "urllib": URLLIB}


@pytest.fixture(scope="module")
def published(internet, tmp_path_factory):
    """A git repository, an npm package and a wheel, as static pages."""
    folder = tmp_path_factory.mktemp("published")
    publish_repository(internet.pages, folder)
    publish_npm_package(internet.pages)
    publish_wheel(internet.pages)
    return internet


def publish_repository(pages, folder: Path) -> None:
    source, bare = folder / "source", folder / "repo.git"
    source.mkdir()
    (source / "hello.txt").write_text("hello")
    for words in (
        ["init", "-q", str(source)],
        ["-C", str(source), "add", "."],
        ["-C", str(source), "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-q", "-m", "one"],
        ["clone", "-q", "--bare", str(source), str(bare)],
        ["-C", str(bare), "update-server-info"],
    ):
        subprocess.run(["git", *words], capture_output=True, check=True)
    for path in bare.rglob("*"):
        if path.is_file():
            pages[f"/repo.git/{path.relative_to(bare)}"] = ("application/octet-stream", path.read_bytes())


def publish_npm_package(pages) -> None:
    about = {"name": PACKAGE, "version": "1.0.0"}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        data = json.dumps(about).encode()
        entry = tarfile.TarInfo("package/package.json")
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
    tarball = archive.getvalue()
    dist = {"tarball": f"https://{API}/npm/{PACKAGE}.tgz", "shasum": hashlib.sha1(tarball).hexdigest()}
    document = {"name": PACKAGE, "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": {**about, "dist": dist}}}
    pages[f"/npm/{PACKAGE}"] = ("application/json", json.dumps(document).encode())
    pages[f"/npm/{PACKAGE}.tgz"] = ("application/octet-stream", tarball)


def publish_wheel(pages) -> None:
    name = f"{PACKAGE.replace('-', '_')}-1.0.0"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as wheel:
        wheel.writestr(f"{name}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0.0\n")
        wheel.writestr(f"{name}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{name}.dist-info/RECORD", "")
    file = f"{name}-py3-none-any.whl"
    link = f'<a href="/wheels/{file}">{file}</a>'.encode()
    pages[f"/simple/{PACKAGE}/"] = ("text/html", b"<!DOCTYPE html><html><body>" + link + b"</body></html>")
    pages[f"/wheels/{file}"] = ("application/octet-stream", archive.getvalue())


def command(client: str, host: str, folder: Path) -> list[str]:
    """The client's command line; what it says of the host is not about proxies."""
    if client in PYTHON:
        return [sys.executable, "-c", PYTHON[client].format(host=host)]
    npm = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=0", "--loglevel=error"]
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--retries=0", "--disable-pip-version-check"]
    return {
        "curl": ["curl", "-sS", "--fail", f"https://{host}/"],
        "node fetch": ["node", "-e", FETCH.format(host=host)],
        "git clone": ["git", "clone", "-q", f"https://{host}/repo.git", str(folder / "clone")],
        "npm install": [*npm, f"--cache={folder}/cache", f"--registry=https://{host}/npm/", PACKAGE],
        "pip download": [*pip, f"--index-url=https://{host}/simple/", "-d", str(folder / "wheels"), PACKAGE],
    }[client]


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
        words = ["env", "-i", *(f"{name}={value}" for name, value in env.items()), *command(client, host, tmp_path)]
        inside = sandbox.command(*words)
        return subprocess.run(inside, cwd=project, capture_output=True, text=True, timeout=60, check=False)

    denied = run(EVIL)
    assert denied.returncode != 0
    assert egress.untouched(EVIL)
    assert {line["host"] for line in egress.gate.wait_for("deny", 1)} == {EVIL}

    done = run(API)
    assert done.returncode == 0, done.stderr
    assert {arrival.server_name for arrival in published.arrivals} == {API}
    assert published.asked() <= {API}
    assert result(client, done.stdout, tmp_path)


def result(client: str, printed: str, folder: Path) -> bool:
    """Whether the client has what it came for."""
    if client == "git clone":
        return (folder / "clone" / "hello.txt").read_text() == "hello"
    if client == "npm install":
        return (folder / "project" / "node_modules" / PACKAGE / "package.json").exists()
    if client == "pip download":
        return len(list((folder / "wheels").glob("*.whl"))) == 1
    return printed.strip() == "hello"


def test_AN21_and_bypass_7_a_client_that_ignores_the_proxy_reaches_nothing(egress, sandbox, proxy):
    curl = ["curl", "-sS", "--noproxy", "*", "--connect-timeout", "2", "--resolve", f"{API}:443:93.184.216.34"]
    done = subprocess.run(sandbox.command(*curl, f"https://{API}/"), capture_output=True, timeout=30, check=False)
    assert done.returncode != 0
    assert egress.untouched(API)
    allowed = [*curl[:2], "--proxy", proxy, "--cacert", str(egress.internet.authority)]
    done = subprocess.run(sandbox.command(*allowed, f"https://{API}/"), capture_output=True, timeout=30, check=True)
    assert done.stdout == b"hello"
