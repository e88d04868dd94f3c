"""A registry of npm and Python packages for the fake internet, made from the archives in `build/servers/registry`."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import tarfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from perstack.testing.fnet.internet import Internet
from repository import ROOT

ARCHIVES = ROOT / "build" / "servers" / "registry"
HOST = "registry.fnet.example"
FILES_HOST = "files.fnet.example"
ADDRESS, FILES_ADDRESS = "93.184.216.71", "93.184.216.72"


@dataclass
class PackageRegistry:
    """Pages of a registry, and where they are served.

    Attributes:
        pages: Content type and body by path.
        token: What a request has to bring; empty for nothing.
    """

    pages: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    manifests: dict[str, dict] = field(default_factory=dict)
    wheels: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def add_npm(self, archive: bytes) -> None:
        """A version of a package, in place of the same version if there is one."""
        manifest = package_json(archive)
        name, version = manifest["name"], manifest["version"]
        path = f"/npm/{name}/-/{name.rpartition('/')[2]}-{version}.tgz"
        self.pages[path] = ("application/octet-stream", archive)
        digest = "sha512-" + base64.b64encode(hashlib.sha512(archive).digest()).decode()
        dist = {"tarball": f"https://{HOST}{path}", "integrity": digest}
        document = self.manifests.setdefault(name, {"name": name, "versions": {}})
        scripts = manifest.get("scripts", {})
        hooks = {"hasInstallScript": True} if {"preinstall", "install", "postinstall"} & scripts.keys() else {}
        document["versions"][version] = {**manifest, **hooks, "dist": dist}
        document["dist-tags"] = {"latest": version}
        self.pages[f"/npm/{name.replace('/', '%2F')}"] = ("application/json", json.dumps(document).encode())

    def add_wheel(self, name: str, wheel: bytes) -> None:
        """A wheel, in place of the one of the same name if there is one."""
        package = re.sub(r"[-_.]+", "-", name.partition("-")[0]).lower()
        self.wheels.setdefault(package, {})[name] = wheel
        self.pages[f"/files/{name}"] = ("application/octet-stream", wheel)
        self.pages[f"/files/{name}.metadata"] = ("text/plain", metadata(wheel))
        links = "".join(
            f'<a href="https://{FILES_HOST}/files/{name}#sha256={hashlib.sha256(body).hexdigest()}"'
            f' data-core-metadata="true">{name}</a>\n'
            for name, body in self.wheels[package].items()
        )
        self.pages[f"/simple/{package}/"] = ("text/html", f"<!DOCTYPE html><body>{links}</body>".encode())

    def serve(self, internet: Internet) -> None:
        """The registry and the host of its files are in this internet."""
        internet.pages |= self.pages
        internet.site(HOST, ADDRESS)
        internet.site(FILES_HOST, FILES_ADDRESS)


def real_registry() -> PackageRegistry:
    """The packages of the real servers that the tests install."""
    found = PackageRegistry()
    for path in sorted(ARCHIVES.glob("npm/*.tgz")):
        found.add_npm(path.read_bytes())
    for path in sorted(ARCHIVES.glob("pypi/*.whl")):
        found.add_wheel(path.name, path.read_bytes())
    return found


def settings(home: Path, config: Path, authority: Path, *, token: str) -> None:
    """The settings that npm and pip of a user have whose registries these are; `token` is the account's at both."""
    home.mkdir(parents=True, exist_ok=True)
    (home / ".npmrc").write_text(
        f"registry=https://{HOST}/npm/\ncafile={authority}\n//{HOST}/npm/:_authToken={token}\n"
    )
    (config / "pip").mkdir(parents=True, exist_ok=True)
    (config / "pip/pip.conf").write_text(
        f"[global]\nindex-url = https://me:{token}@{HOST}/simple\ncert = {authority}\n"
    )


def npm_archive(name: str, version: str, files: dict[str, str], **manifest: object) -> bytes:
    """The archive of a package with these files."""
    content = {"package.json": json.dumps({"name": name, "version": version, **manifest}), **files}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path, text in content.items():
            member = tarfile.TarInfo(f"package/{path}")
            member.size, member.mode = len(text.encode()), 0o644
            archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def wheel(
    name: str, version: str, files: dict[str, str], *, scripts: str = "", requires: tuple[str, ...] = ()
) -> bytes:
    """A wheel with these files, for every platform."""
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
    content = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    if scripts:
        content[f"{info}/entry_points.txt"] = f"[console_scripts]\n{scripts}\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, text in content.items():
            archive.writestr(path, text)
    return buffer.getvalue()


def package_json(archive: bytes) -> dict:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        for member in tar:
            if member.name.count("/") == 1 and member.name.endswith("/package.json"):
                return json.load(tar.extractfile(member))
    raise AssertionError("no package.json")


def metadata(wheel: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA")))
