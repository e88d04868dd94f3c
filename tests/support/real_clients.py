"""What real clients fetch from the fake internet, and the command lines that they do it with."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
import zipfile
from collections.abc import MutableMapping
from pathlib import Path

from perstack.testing.fnet.servers import Page

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

Pages = MutableMapping[str, Page]


def publish(pages: Pages, folder: Path) -> None:
    """A git repository, an npm package and a wheel, as static pages."""
    publish_repository(pages, folder)
    publish_npm_package(pages)
    publish_wheel(pages)


def publish_repository(pages: Pages, folder: Path) -> None:
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


def words(client: str, host: str, folder: str, python: str) -> list[str]:
    """The client's command line; what it says of the host is not about proxies.

    Args:
        client: One of those in `got`.
        host: Where it goes.
        folder: Where it may write.
        python: The interpreter, for clients that are written in Python.
    """
    if client in PYTHON:
        return [python, "-c", PYTHON[client].format(host=host)]
    npm = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=0", "--loglevel=error"]
    pip = [python, "-m", "pip", "download", "-q", "--no-deps", "--retries=0", "--disable-pip-version-check"]
    uv = ["uv", "pip", "install", "-q", "--no-deps", "--no-cache", "--no-config", "--python", python]
    return {
        "curl": ["curl", "-sS", "--fail", f"https://{host}/"],
        "node fetch": ["node", "-e", FETCH.format(host=host)],
        "git clone": ["git", "clone", "-q", f"https://{host}/repo.git", f"{folder}/clone"],
        "npm install": [*npm, f"--cache={folder}/cache", f"--registry=https://{host}/npm/", PACKAGE],
        "pip download": [*pip, f"--index-url=https://{host}/simple/", "-d", f"{folder}/wheels", PACKAGE],
        "uv install": [*uv, f"--index-url=https://{host}/simple/", f"--target={folder}/installed", PACKAGE],
    }[client]


def got(client: str, printed: str, folder: Path) -> bool:
    """Whether the client has what it came for."""
    if client == "git clone":
        return (folder / "clone" / "hello.txt").read_text() == "hello"
    if client == "npm install":
        return (folder / "project" / "node_modules" / PACKAGE / "package.json").exists()
    if client == "pip download":
        return len(list((folder / "wheels").glob("*.whl"))) == 1
    if client == "uv install":
        return len(list((folder / "installed").glob("*.dist-info"))) == 1
    return printed.strip() == "hello"
