"""The packages of one skill: found out in a sandbox, fetched from the user's registries, unpacked into the store."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from anyio import to_thread
from perstack_proxy.sanitise import sanitise_line

from perstack.errors import SkillError
from perstack.locking import npm, pypi
from perstack.locking.commands import ORIGIN
from perstack.locking.fetching import Answer, Fetcher
from perstack.locking.filling import compiled_into, fill_npm, fill_pypi
from perstack.locking.lockfile import PackageSet, PypiPackage
from perstack.locking.npm_settings import npm_registries
from perstack.locking.python_settings import python_registries
from perstack.locking.registries import Ecosystem, Registries, Registry
from perstack.locking.resolving import NpmAnswers, PythonAnswers, consult, resolver_argv
from perstack.policy.env import env_values
from perstack.policy.packages import Launch, launch, packages, program
from perstack.protocols import SandboxRequest
from perstack.skill_policy import BUILT_IN, Limits, Mount

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from perstack.config.environment import HostEnv
    from perstack.locking.store import Store
    from perstack.messages import JsonObject, JsonValue
    from perstack.protocols import Runtime, SandboxProcess
    from perstack.skill_policy import SkillPolicy
    from perstack.specs import Proxy, RuntimeSpec

_PYTHON = re.compile(r"3\.[0-9]{1,2}")
_GLIBC = re.compile(r"(?:2\.[0-9]{1,3})?")
ECOSYSTEMS: Mapping[str, Ecosystem] = {"npx": "npm", "uvx": "pypi"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Sources:
    """What the packages of all skills of one installation share.

    Attributes:
        environ: The process's own variables, which say where registries are.
        host_env: Values of the variables that a runtime hands to every process.
        machine: The kind of machine that sandboxes run on.
        say: Told of progress, line by line.
    """

    runtime: Runtime
    spec: RuntimeSpec
    store: Store
    machine: str
    host_env: HostEnv
    environ: Mapping[str, str] = field(repr=False)
    home: Path
    proxy: Proxy | None
    say: Callable[[str], None]

    @asynccontextmanager
    async def source(self, policy: SkillPolicy) -> AsyncIterator[Source]:
        """Where the packages of the skill come from.

        Raises:
            SkillError: Its command line asks for what cannot be locked.
        """
        ecosystem = ECOSYSTEMS[program(policy.argv)]
        configured = npm_registries if ecosystem == "npm" else python_registries
        found = configured(self.environ, home=self.home)
        for reason in found.ignored:
            self.say(f"not used: {sanitise_line(reason)}")
        if found.default:
            found = await self._with_default(policy, found)
        async with Fetcher(found.known, authorities=found.authorities, proxy=self.proxy) as fetcher:
            yield Source(self, policy, ecosystem, found, fetcher)

    async def _with_default(self, policy: SkillPolicy, found: Registries) -> Registries:
        """The registries with the one that npm or uv in our own image names, since nobody configured one."""
        order: JsonObject = {"do": "registry", "of": found.ecosystem}
        said = await self.ask(replace(policy, image=None), order)
        url = str(said.get("url", "")).rstrip("/") + "/"
        return replace(found, known=(*found.known, Registry(url=url)))

    async def ask(
        self,
        policy: SkillPolicy,
        order: JsonObject,
        *,
        answer: Callable[[str], Awaitable[Answer]] | None = None,
        told: Callable[[JsonObject], None] = lambda _: None,
        packages: Mount | None = None,
        python: str = "python3",
    ) -> JsonObject:
        """What the resolver finds in a sandbox without a network, without secrets and without the workspace.

        Raises:
            SkillError: It failed; names the skill.
        """

        async def nothing(_path: str) -> Answer:
            return Answer(status=404, type="text/plain", body=b"")

        bare = replace(
            policy,
            argv=(python, *resolver_argv()[1:]),
            env=tuple(grant for grant in policy.env if grant.origin == BUILT_IN),
            egress=(),
            limits=Limits(),
            packages=packages,
        )
        with tempfile.TemporaryDirectory(prefix="perstack-install-") as folder:
            workspace = await to_thread.run_sync(Path(folder).resolve)
            request = SandboxRequest(policy=bare, env=env_values(bare, self.host_env), workspace=workspace)
            async with self.runtime.open(request) as sandbox:
                process: SandboxProcess = await sandbox.start()
                try:
                    return await consult(process, order, answer=answer or nothing, told=told)
                except SkillError as error:
                    raise SkillError(f"Skill {policy.skill!r}: {error}", hint=error.hint) from None


class Source:
    """Where the packages of one skill come from."""

    def __init__(
        self, shared: Sources, policy: SkillPolicy, ecosystem: Ecosystem, found: Registries, fetcher: Fetcher
    ) -> None:
        self._shared = shared
        self._policy = policy
        self._ecosystem = ecosystem
        self._fetcher = fetcher
        self._npm = npm.NpmRegistry(found, fetcher)
        self._index = pypi.PythonIndex(found, fetcher)
        self._launch = check_launch(policy)

    async def resolve(self) -> tuple[PackageSet, str]:
        """The newest packages that fit the command line, and the file of them that it starts.

        Raises:
            SkillError: There are none, or they cannot be locked.
        """
        return await (self._resolve_npm() if self._ecosystem == "npm" else self._resolve_pypi())

    async def fill(self, packages: PackageSet, key: str, title: str) -> Path:
        """The directory of the packages, which are on this machine now, each compared with its hash.

        Raises:
            LockMismatch: A version was published again with other content.
            SkillError: A package cannot be had.
        """
        shared = self._shared
        count = len(packages.npm) + len(packages.pypi)
        shared.say(f"{self._policy.skill}: fetching {count} packages of {title}")
        with shared.store.adding(key, title=title) as made:
            machine, get, say = shared.machine, self._fetcher.get, shared.say
            if packages.npm:
                await fill_npm(packages, made, machine=machine, registry=self._npm, get=get, progress=say)
            else:
                await fill_pypi(packages, made, machine=machine, index=self._index, get=get, progress=say)
                await self._compile(packages, made)
        found = shared.store.find(key)
        if found is None:
            raise SkillError(f"The packages of skill {self._policy.skill!r} were removed while they were installed.")
        return found

    async def _compile(self, packages: PackageSet, made: Path) -> None:
        """Compiled in the sandbox, because a server on a read-only mount would compile itself at every start."""
        if self._shared.spec.packages_at is None:
            return
        target = self._shared.spec.packages_at(made)
        mount = Mount(host=made, target=target, mode="ro", origin=ORIGIN)
        await self._shared.ask(
            self._policy,
            {"do": "compile", "root": f"{target}/site"},
            told=compiled_into(made / "site"),
            packages=mount,
            python=f"python{packages.python}",
        )

    async def _resolve_npm(self) -> tuple[PackageSet, str]:
        specs: list[JsonValue] = list(self._launch.specs)
        found = await self._shared.ask(self._policy, {"do": "npm", "specs": specs}, answer=NpmAnswers(self._npm))
        resolution = found.get("lock")
        for name in npm.with_scripts(resolution):
            self._shared.say(f"{sanitise_line(name)} has an install script, which is not run")
        packages = PackageSet(npm=npm.packages_of(resolution))
        return packages, npm.program(resolution, self._launch.specs, self._launch.command)

    async def _resolve_pypi(self) -> tuple[PackageSet, str]:
        specs: list[JsonValue] = [requirement(spec) for spec in self._launch.specs]
        answers = PythonAnswers(self._index, self._fetcher.get)
        found = await self._shared.ask(self._policy, {"do": "pypi", "specs": specs}, answer=answers)
        facts = found.get("facts")
        said: JsonObject = facts if isinstance(facts, dict) else {}
        if said.get("system") != "Linux":
            raise SkillError("Python packages are locked for Linux alone.", hint="Choose a runtime with containers.")
        python, libc = str(said.get("python")), said.get("libc")
        glibc = str(libc[1]) if isinstance(libc, list) and len(libc) > 1 and libc[0] == "glibc" else ""
        if not _PYTHON.fullmatch(python) or not _GLIBC.fullmatch(glibc):
            raise SkillError(f"The sandbox's Python says that it is {sanitise_line(python)!r}, which cannot be locked.")
        locked = [
            await self._pypi_package(name, version, python=python, libc=glibc)
            for name, version in sorted(pypi.pins(found.get("requirements")).items())
        ]
        wanted = self._launch.command or pypi.bare_name(self._launch.specs[-1])
        return PackageSet(python=python, pypi=tuple(locked)), f"bin/{wanted}"

    async def _pypi_package(self, name: str, version: str, *, python: str, libc: str) -> PypiPackage:
        files = await self._index.files(name)
        best = pypi.chosen(files, version, python=python, libc=libc, machines=pypi.MACHINES)
        wheels = {}
        for file in dict.fromkeys(best.values()):
            wheels[file.name] = f"sha256:{file.sha256 or await self._hash(file.url)}"
        if self._shared.machine not in best:
            raise SkillError(f"{name} {version} has no wheel for {self._shared.machine}.", hint="Nothing is built.")
        return PypiPackage(name=name, version=version, wheels=wheels)

    async def _hash(self, url: str) -> str:
        return hashlib.sha256((await self._fetcher.get(url)).body).hexdigest()


def check_launch(policy: SkillPolicy) -> Launch:
    """What the skill's command line asks for.

    Raises:
        SkillError: It asks for what cannot be locked; says what.
    """
    found = launch(policy.argv)
    if found is None or not found[1].specs:
        raise SkillError(f"Skill {policy.skill!r} names no package.", hint="Name it in args or packageName.")
    if found[1].options:
        words = ", ".join(found[1].options)
        raise SkillError(f"Skill {policy.skill!r} has options that cannot be locked: {sanitise_line(words)}.")
    for package in packages(policy.argv) or ():
        if package.elsewhere:
            raise SkillError(
                f"Skill {policy.skill!r} fetches {sanitise_line(package.spec)!r}, which comes from no registry.",
                hint="Only packages of a registry have a version and a hash that hold.",
            )
    return found[1]


def requirement(spec: str) -> str:
    """A spec of uvx as a requirement: ``name@1.2`` is ``name==1.2``, and ``name@latest`` is ``name``."""
    name, at, version = spec.partition("@")
    return name if at and version == "latest" else f"{name}=={version}" if at else spec


def set_name(policy: SkillPolicy) -> str:
    """What people know the packages of a command line by."""
    found = launch(policy.argv)
    specs = " ".join(found[1].specs) if found else ""
    return f"{ECOSYSTEMS[program(policy.argv)]} {specs}" + (f" in {policy.image}" if policy.image else "")
