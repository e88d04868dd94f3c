"""Each distribution works alone: built, installed where no repository is on the path, and run."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from engines import engine
from packaging.requirements import Requirement
from perstack.testing.model_server import Call, ModelServer, Turn
from repository import ROOT, distributions, read_toml

pytestmark = [pytest.mark.wheels, pytest.mark.xdist_group("wheels")]

ALL = {distribution.name: distribution for distribution in distributions()}
PROJECT = """
model = "scripted-model"

[provider]
providerName = "openai"

[experts.lone]
instruction = "Write down what you are told."
"""


def call(*command: object, cwd: Path | None = None, env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    words = list(map(str, command))
    return subprocess.run(words, check=False, capture_output=True, text=True, timeout=240, cwd=cwd, env=env)


def checked(*command: object, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    done = call(*command, cwd=cwd, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def build(folder: Path, target: Path) -> Path:
    before = set(target.glob("*.whl"))
    checked(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target, folder)
    [wheel] = set(target.glob("*.whl")) - before
    return wheel


@pytest.fixture(scope="session")
def wheels(tmp_path_factory) -> dict[str, Path]:
    """Every distribution's wheel, by name, and the metapackage's."""
    target = tmp_path_factory.mktemp("wheels")
    folders = {"perstack": ROOT} | {name: distribution.folder for name, distribution in ALL.items()}
    return {name: build(folder, target) for name, folder in folders.items()}


def closure(name: str) -> set[str]:
    """A distribution and all of ours that it needs."""
    needed = {Requirement(item).name for item in ALL[name].dependencies} & set(ALL)
    return {name}.union(*(closure(other) for other in needed))


def lone_environment(wheels: dict[str, Path], name: str, folder: Path) -> Path:
    """The interpreter of an environment that holds one distribution, what it needs, and nothing else of ours.

    Our wheels are given by path, so that no index is ever asked for a name of ours.
    """
    checked(sys.executable, "-m", "venv", folder)
    python = folder / "bin" / "python"
    ours = [wheels[needed] for needed in sorted(closure(name))]
    pip = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "-c", ROOT / "constraints.txt"]
    checked(*pip, *ours, cwd=folder)
    return python


@pytest.fixture(scope="session")
def lone_python(wheels, tmp_path_factory) -> Path:
    """The interpreter of an environment with the local runtime."""
    return lone_environment(wheels, "perstack-runtime-local", tmp_path_factory.mktemp("lone") / "env")


def test_a_wheel_holds_its_package_and_nothing_else(wheels) -> None:
    for name, distribution in ALL.items():
        names = zipfile.ZipFile(wheels[name]).namelist()
        info = f"{name.replace('-', '_')}-{distribution.project['version']}.dist-info"
        assert {entry.split("/")[0] for entry in names} == {distribution.package, info}
        assert f"{distribution.package}/py.typed" in names
        assert f"{info}/licenses/LICENSE" in names


def test_the_metapackage_holds_metadata_only(wheels) -> None:
    version = read_toml(ROOT / "pyproject.toml")["project"]["version"]  # type: ignore[index]
    names = zipfile.ZipFile(wheels["perstack"]).namelist()
    assert {entry.split("/")[0] for entry in names} == {f"perstack-{version}.dist-info"}


def test_the_local_runtime_installed_alone_runs_an_expert(wheels, lone_python, tmp_path) -> None:
    canary = secrets.token_hex(16)
    project = tmp_path / "project"
    project.mkdir()
    (project / "perstack.toml").write_text(PROJECT)
    perstack = lone_python.with_name("perstack")
    turns = [Turn(calls=[Call("writeTextFile", {"path": "note.txt", "text": canary})]), Turn(text="written")]
    with ModelServer(turns) as server:
        env = {
            "PATH": f"{perstack.parent}:{os.defpath}",
            "HOME": str(tmp_path),
            "OPENAI_API_KEY": secrets.token_hex(16),
            "OPENAI_BASE_URL": server.openai_url,
        }
        run = [perstack, "run", "lone", "Write it down.", "--runtime", "local"]
        where = checked(lone_python, "-c", "import perstack; print(perstack.__file__)", cwd=project, env=env)
        assert Path(where.strip()).is_relative_to(lone_python.parent.parent)

        without_model = call(*run, cwd=project, env=env)
        assert without_model.returncode == 1
        assert "pip install perstack-provider-openai" in without_model.stderr
        assert server.requests == []

        checked(lone_python, "-m", "pip", "install", "-qq", "--no-deps", wheels["perstack-provider-openai"])
        done = call(*run, cwd=project, env=env)

        assert done.returncode == 0, done.stderr
        assert (project / "note.txt").read_text() == canary
        assert len(server.requests) == len(turns)


@pytest.mark.engine
def test_the_docker_runtime_installed_alone_runs_an_expert_in_a_sandbox(wheels, tmp_path_factory, tmp_path) -> None:
    python = lone_environment(wheels, "perstack-runtime-docker", tmp_path_factory.mktemp("docker") / "env")
    checked(python, "-m", "pip", "install", "-qq", "--no-deps", wheels["perstack-provider-openai"])
    canary = secrets.token_hex(16)
    (tmp_path / "perstack.toml").write_text(PROJECT)
    (tmp_path / "workspace").mkdir()
    calls = [
        Call("writeTextFile", {"path": "note.txt", "text": canary}),
        Call("exec", {"command": "id", "args": ["-un"]}),
    ]
    with ModelServer([Turn(calls=calls), Turn(text="written")]) as server:
        env = {
            "PATH": os.defpath,
            "HOME": str(tmp_path),
            **engine("docker").env,
            "PERSTACK_CACHE_DIR": str(ROOT / "build" / "cache"),
            "OPENAI_API_KEY": secrets.token_hex(16),
            "OPENAI_BASE_URL": server.openai_url,
        }
        # Without --runtime: docker is the default.
        run = [python.with_name("perstack"), "run", "lone", "Write it down.", "--workspace", "workspace"]
        done = call(*run, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "workspace" / "note.txt").read_text() == canary
    assert "perstack\\\\n" in done.stdout, "the user inside"
    proof = call(python.with_name("perstack"), "prove", "--workspace", "workspace", cwd=tmp_path, env=env)
    assert proof.returncode == 0, proof.stdout + proof.stderr
    assert "network            proved" in proof.stdout
