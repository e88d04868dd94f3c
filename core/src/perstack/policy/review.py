"""What a person should look at before an Expert runs: the checklist of the security requirement, as findings.

Each finding has a code that keeps its meaning, and an id that changes when what was found changes: an accepted
finding does not cover what somebody puts in its place later.
"""

from __future__ import annotations

import hashlib
import shlex
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from perstack_proxy import patterns

from perstack.config import headers
from perstack.config.loading import Loaded
from perstack.config.models import ExpertConfig
from perstack.config.skills import BASE_SKILL, McpSkill, RemoteSkill, RequiredEnv, StdioSkill
from perstack.policy import base_skill, commands, env
from perstack.policy.destinations import chosen_diversions, is_allowed
from perstack.policy.limits import LOCAL_RUNTIME
from perstack.policy.packages import packages, program
from perstack.skill_policy import Origin, is_pinned
from perstack.tools.suspicion import suspicions

if TYPE_CHECKING:
    from perstack.protocols import SkillTool
    from perstack.specs import ProviderSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Code:
    """A kind of finding. `accept` says whether a person has to accept it before a review passes."""

    code: str
    summary: str
    accept: bool = True


CODES: Mapping[str, Code] = {
    code.code: code
    for code in (
        Code(code="CMD001", summary="a command is started", accept=False),
        Code(code="CMD002", summary="a command runs code that stands in the file"),
        Code(code="CMD003", summary="another command takes the place of the base tools"),
        Code(code="PKG001", summary="a package has no exact version, so each start may run other code"),
        Code(code="PKG002", summary="a package has an exact version", accept=False),
        Code(code="PKG003", summary="a package comes from outside of its registry"),
        Code(code="PKG004", summary="a skill's packages are locked with their hashes", accept=False),
        Code(code="IMG001", summary="an image has no digest, so each start may run other code"),
        Code(code="ENV001", summary="a skill gets a variable", accept=False),
        Code(code="ENV002", summary="several skills get the same variable"),
        Code(code="ENV003", summary="nothing says what a variable is for"),
        Code(code="ENV004", summary="a skill gets the key of a model provider"),
        Code(code="ENV005", summary="a file holds variables", accept=False),
        Code(code="FIL001", summary="a skill's tools may change files that steer other programs"),
        Code(code="FIL002", summary="a skill's tools may read files for secrets"),
        Code(code="NET001", summary="a skill may reach a host", accept=False),
        Code(code="NET002", summary="a skill may reach every host below a name"),
        Code(code="NET003", summary="a wildcard covers hosts of unrelated parties"),
        Code(code="NET005", summary="a name can look like another one"),
        Code(code="NET006", summary="a skill runs on another machine"),
        Code(code="NET007", summary="a skill on another machine is sent a variable"),
        Code(code="MCP001", summary="a server may ask the model"),
        Code(code="MCP002", summary="a server may ask the person"),
        Code(code="MCP003", summary="what a tool says of itself looks as if it was written to steer a model"),
        Code(code="MCP004", summary="what a skill's tools say is not known before its first run", accept=False),
        Code(code="DEL001", summary="an Expert can delegate", accept=False),
        Code(code="LLM001", summary="the project says where the model provider's key goes"),
        Code(code="LLM002", summary="the project holds headers for the model provider, where secrets do not belong"),
        Code(code="API001", summary="the project names another registry of Experts"),
        Code(code="RUN001", summary="the project chooses a runtime without isolation"),
        Code(code="RUN002", summary="a job ends after so many steps", accept=False),
    )
}
"""Every finding that a review can make."""

_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "fish", "cmd", "powershell", "pwsh"})
_INLINE = {"python": "-c", "python3": "-c", "node": "-e", "bun": "-e", "ruby": "-e", "perl": "-e", "php": "-r"}
_MARKERS = {
    patterns.WILDCARD: "NET002",
    patterns.SHARED_HOST: "NET003",
    patterns.PUNYCODE: "NET005",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing to look at.

    Attributes:
        message: What was found, naming it.
        where: The skill, as ``EXPERT/SKILL``; the Expert; or empty for the project.
        accepted: Whether nothing is left to do: it needs no acceptance, or has it.
    """

    code: Code
    message: str
    where: str
    origin: Origin
    accepted: bool = field(default=False)

    @property
    def id(self) -> str:
        """Names this finding, its place and what was found: ``CODE:DIGEST``."""
        text = f"{self.code.code}\n{self.where}\n{self.message}"
        return f"{self.code.code}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def review(
    loaded: Loaded,
    experts: Sequence[ExpertConfig],
    *,
    providers: Collection[ProviderSpec] = (),
    accepted: Collection[str] = (),
    tools: Mapping[str, Sequence[SkillTool] | None] | None = None,
    locked: Mapping[str, int] | None = None,
) -> tuple[Finding, ...]:
    """Every finding about these Experts and about the project, project first.

    Args:
        loaded: The configuration.
        experts: The Experts to look at, delegates included.
        providers: Installed model providers, whose keys are watched for, and where those go.
        accepted: Ids that are accepted besides those of the user's own settings.
        tools: What each skill offered when it last ran, by ``EXPERT/SKILL``; None for one that has not run yet.
        locked: Numbers of packages that skills are locked to, by ``EXPERT/SKILL``.
    """
    known = {*accepted, *loaded.project.policy.accept}
    reviewer = _Reviewer(
        loaded=loaded,
        providers={spec.name: spec for spec in providers},
        keys=env.provider_keys(providers),
        asked=_asked(experts),
        tools=tools or {},
        locked=locked or {},
    )
    findings = [*reviewer.project(), *(finding for expert in experts for finding in reviewer.expert(expert))]
    return tuple(
        replace(found, accepted=not found.code.accept or found.id in known)
        for found in {found.id: found for found in findings}.values()
    )


def _asked(experts: Sequence[ExpertConfig]) -> Mapping[str, Sequence[str]]:
    """Which skills ask for each of the host's variables."""
    asked: dict[str, dict[str, None]] = defaultdict(dict)
    for expert in experts:
        for name, skill in expert.skills.items():
            if isinstance(skill, StdioSkill):
                for entry in skill.required_env:
                    asked[entry.host_name][f"{expert.key}/{name}"] = None
    return {name: tuple(skills) for name, skills in asked.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reviewer:
    """One review: what is the same for all Experts."""

    loaded: Loaded
    providers: Mapping[str, ProviderSpec]
    keys: Collection[str]
    asked: Mapping[str, Sequence[str]]
    tools: Mapping[str, Sequence[SkillTool] | None]
    locked: Mapping[str, int]

    def project(self) -> Iterator[Finding]:
        """Findings that concern every Expert."""
        project, origins = self.loaded.project, self.loaded.origins
        provider = project.provider
        yield from self._destinations()
        if provider is not None:
            path = ("provider", "setting", "headers")
            if "headers" in provider.setting and self._by_project(path):
                yield _finding("LLM002", "headers for the model's server stand in the file", "", origins.at(*path))
        if project.perstack_api_base_url and self._by_project(("perstackApiBaseUrl",)):
            message = f"the registry would be {project.perstack_api_base_url}; this version asks none"
            yield _finding("API001", message, "", origins.at("perstackApiBaseUrl"))
        if project.runtime == LOCAL_RUNTIME and self._by_project(("runtime",)):
            message = "skills would run as you, with your files and your network"
            yield _finding("RUN001", message, "", origins.at("runtime"))
        yield _finding("RUN002", f"maxSteps is {project.max_steps}", "", origins.at("maxSteps"))
        yield from self._env_files()

    def _destinations(self) -> Iterator[Finding]:
        """Where the model is asked, if the project says so and the user has not allowed it."""
        loaded, provider = self.loaded, self.loaded.project.provider
        refused = {
            Origin(source=problem.where, line=problem.line): problem.message
            for problem in chosen_diversions(loaded, self.providers)
        }
        for origin, message in refused.items():
            yield _finding("LLM001", f"{message}: a run needs allowProviderOrigins for it", "", origin)
        named = {
            loaded.host_env.origins[name]: (value, f"{name} comes from an env file")
            for name, value in loaded.host_env.values.items()
            if name.endswith("_BASE_URL")
        }
        if provider is not None and isinstance(url := provider.setting.get("baseUrl"), str):
            named[loaded.origins.at("provider", "setting", "baseUrl")] = (url, f"requests to the model go to {url}")
        for origin, (url, message) in named.items():
            by_project = origin.source not in loaded.operator_sources
            if by_project and origin not in refused and not is_allowed(url, loaded):
                yield _finding("LLM001", message, "", origin)

    def expert(self, expert: ExpertConfig) -> Iterator[Finding]:
        """Findings about one Expert and its skills."""
        for position, delegate in enumerate(expert.delegates):
            origin = self.loaded.origins.at("experts", expert.key, "delegates", position)
            yield _finding("DEL001", f"delegates to {delegate}", expert.key, origin)
        for name, skill in expert.skills.items():
            place = _Place(self.loaded, expert.key, name)
            if isinstance(skill, StdioSkill):
                yield from self._command(place, skill)
                yield from _files(place, skill)
                for position, entry in enumerate(skill.required_env):
                    yield from self._variable(place, entry, position)
            if isinstance(skill, RemoteSkill):
                yield from _remote(place, skill)
            if isinstance(skill, McpSkill):
                yield from _questions(place, skill)
                yield from _domains(place, skill)
            if place.where in self.tools:
                yield from _words(place, self.tools[place.where])

    def _command(self, place: _Place, skill: StdioSkill) -> Iterator[Finding]:
        if base_skill.is_bundled(place.skill, skill):
            return
        argv = commands.argv(skill)
        line = shlex.join(argv)
        yield place.finding("CMD001", f"runs {line}", "command")
        if place.skill == BASE_SKILL:
            yield place.finding("CMD003", f"runs {line} as the base tools", "command")
        if program(argv) in _SHELLS or _INLINE.get(program(argv).rstrip("0123456789.")) in argv:
            yield place.finding("CMD002", f"runs the code in {line}", "command")
        if place.where in self.locked:
            yield place.finding("PKG004", f"runs {self.locked[place.where]} packages as they are locked", "command")
        else:
            yield from _packages(place, skill, argv)
        if skill.image is not None and not is_pinned(skill.image):
            yield place.finding("IMG001", f"{skill.image} has no digest", "image")

    def _variable(self, place: _Place, entry: RequiredEnv, position: int) -> Iterator[Finding]:
        path = ("requiredEnv", position)
        came = "" if entry.host_name == entry.name else f" from {entry.host_name}"
        said = f": {entry.description}" if entry.description else ""
        yield place.finding("ENV001", f"gets {entry.name}{came}{said}", *path)
        others = [other for other in self.asked[entry.host_name] if other != place.where]
        if others:
            yield place.finding("ENV002", f"{entry.host_name} goes to {', '.join(others)} as well", *path)
        if not entry.description:
            yield place.finding("ENV003", f"{entry.name} has no description", *path)
        if entry.host_name in self.keys:
            yield place.finding("ENV004", f"{entry.host_name} is the key of a model provider", *path)

    def _env_files(self) -> Iterator[Finding]:
        files = defaultdict(list)
        for name, origin in self.loaded.host_env.origins.items():
            if origin.line is not None:
                files[origin.source].append(name)
        for source, names in sorted(files.items()):
            yield _finding("ENV005", f"{source} sets {', '.join(sorted(names))}", "", Origin(source=source))

    def _by_project(self, path: tuple[str, ...]) -> bool:
        """Whether the value at `path` comes from the project rather than from whoever runs it."""
        origin = self.loaded.origins.at(*path)
        return origin.source not in self.loaded.operator_sources


@dataclass(frozen=True, slots=True)
class _Place:
    """A skill in the configuration."""

    loaded: Loaded
    expert: str
    skill: str

    @property
    def where(self) -> str:
        """The skill as findings name it."""
        return f"{self.expert}/{self.skill}"

    def finding(self, code: str, message: str, *path: str | int) -> Finding:
        """A finding at a key of the skill's table."""
        origin = self.loaded.origins.at("experts", self.expert, "skills", self.skill, *path)
        return _finding(code, message, self.where, origin)


def _packages(place: _Place, skill: StdioSkill, argv: Sequence[str]) -> Iterator[Finding]:
    """What is known of the packages that nothing but the command line fixes."""
    line, found = shlex.join(argv), packages(argv)
    key = "packageName" if skill.package_name is not None else "args"
    if found is not None and not found:
        yield place.finding("PKG001", f"{line} names no package that could be checked", key)
    for package in found or ():
        if package.elsewhere:
            yield place.finding("PKG003", f"{package.spec} is fetched from there", key)
        elif package.version is None:
            yield place.finding("PKG001", f"{package.spec} has no exact version", key)
        else:
            yield place.finding("PKG002", f"{package.spec} is version {package.version}, without a hash", key)


def _remote(place: _Place, skill: RemoteSkill) -> Iterator[Finding]:
    yield place.finding("NET006", f"the skill runs at {skill.endpoint}", "endpoint")
    for name, template in skill.headers.items():
        for variable in headers.variables(template):
            yield place.finding("NET007", f"sends {variable} to {skill.endpoint} as {name}", "headers", name)


def _files(place: _Place, skill: StdioSkill) -> Iterator[Finding]:
    for position, pattern in enumerate(skill.files.writable):
        yield place.finding("FIL001", f"may change {pattern}", "files", "writable", position)
    for position, pattern in enumerate(skill.files.readable):
        yield place.finding("FIL002", f"may read {pattern}", "files", "readable", position)


def _words(place: _Place, tools: Sequence[SkillTool] | None) -> Iterator[Finding]:
    """What the skill's tools say of themselves. A tool that changes what is odd about it is another finding."""
    if tools is None:
        yield place.finding("MCP004", "its tools are listed here once it has run")
    for tool in tools or ():
        for suspicion in suspicions(tool):
            yield place.finding("MCP003", f"the tool {tool.name!r} {suspicion}")


def _questions(place: _Place, skill: McpSkill) -> Iterator[Finding]:
    if skill.allow_sampling:
        yield place.finding("MCP001", "its server may ask the run's model, at your cost", "allowSampling")
    if skill.allow_elicitation:
        yield place.finding("MCP002", "its server may ask the person at the terminal", "allowElicitation")


def _domains(place: _Place, skill: McpSkill) -> Iterator[Finding]:
    for position, domain in enumerate(skill.allowed_domains):
        markers = patterns.parse(domain, punycode=True).markers
        for code in [_MARKERS[marker] for marker in markers] or ["NET001"]:
            yield place.finding(code, f"may reach {domain}", "allowedDomains", position)


def _finding(code: str, message: str, where: str, origin: Origin) -> Finding:
    return Finding(code=CODES[code], message=message, where=where, origin=origin)
