"""The packages that a command line fetches when it is started, and whether their versions are fixed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath

_EXACT = r"v?[0-9]+(?:\.[0-9A-Za-z+-]+)*"
_NPM = re.compile(rf"(?P<name>(?:@[^@/]+/)?[^@/]+)@(?P<version>{_EXACT})")
_PYPI = re.compile(rf"(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?(?:==|@)(?P<version>{_EXACT})")
_ELSEWHERE = re.compile(r"://|^git[+@]|^(?:github|gitlab|bitbucket|gist|file|link|npm):|^\.{0,2}/|^~|^[A-Za-z]:\\|#")


@dataclass(frozen=True, kw_only=True, slots=True)
class Launcher:
    """A program that fetches packages and starts them.

    Attributes:
        words: Words before its options, such as ``tool run``.
        packages: Options whose value is a package.
        values: Other options that take a value.
        extra: Options whose value is a package besides the one that is started.
    """

    grammar: re.Pattern[str]
    words: tuple[str, ...] = ()
    packages: frozenset[str] = frozenset()
    values: frozenset[str] = frozenset()
    extra: frozenset[str] = frozenset()


_NODE = Launcher(grammar=_NPM, packages=frozenset({"-p", "--package"}), values=frozenset({"-c", "--call", "--cache"}))
_UV = Launcher(
    grammar=_PYPI,
    packages=frozenset({"--from"}),
    values=frozenset({"-p", "--python", "--index", "--index-url", "-i", "--default-index", "--extra-index-url"}),
    extra=frozenset({"--with", "-w"}),
)
_PIPX = Launcher(
    grammar=_PYPI,
    words=("run",),
    packages=frozenset({"--spec"}),
    values=frozenset({"--python", "--index-url", "-i", "--pip-args"}),
    extra=frozenset({"--with"}),
)


def _with_words(launcher: Launcher, *words: str) -> Launcher:
    return Launcher(
        grammar=launcher.grammar,
        words=words,
        packages=launcher.packages,
        values=launcher.values,
        extra=launcher.extra,
    )


LAUNCHERS: Mapping[str, tuple[Launcher, ...]] = {
    "npx": (_NODE,),
    "bunx": (_NODE,),
    "pnpx": (_NODE,),
    "npm": (_with_words(_NODE, "exec"), _with_words(_NODE, "x")),
    "pnpm": (_with_words(_NODE, "dlx"),),
    "yarn": (_with_words(_NODE, "dlx"),),
    "bun": (_with_words(_NODE, "x"),),
    "uvx": (_UV,),
    "uv": (_with_words(_UV, "tool", "run"),),
    "pipx": (_PIPX,),
}


YES = frozenset({"-y", "--yes", "-q", "--quiet"})
"""Options that change nothing of what is fetched or run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """A package that a command line names.

    Attributes:
        version: Its exact version; None when the newest one that fits is taken at each start.
        elsewhere: Whether it comes from a URL, a repository or a path rather than from the registry.
    """

    spec: str
    version: str | None = None
    elsewhere: bool = False


def program(argv: Sequence[str]) -> str:
    """The name of the program, without directory and extension."""
    name = PureWindowsPath(PurePosixPath(argv[0]).name).name.lower()
    return name.removesuffix(".exe").removesuffix(".cmd")


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """What a launcher's command line asks for.

    Attributes:
        specs: The packages as they are written, the one that is started among them.
        command: The command of these packages that is started; empty for the package's own.
        args: What that command is given.
        options: Other options that it has, which change what would be fetched or run.
    """

    specs: tuple[str, ...]
    command: str
    args: tuple[str, ...]
    options: tuple[str, ...]


def launch(argv: Sequence[str]) -> tuple[Launcher, Launch] | None:
    """The launcher and what it is asked for; None when the program fetches no packages."""
    for launcher in LAUNCHERS.get(program(argv), ()):
        if tuple(argv[1 : 1 + len(launcher.words)]) == launcher.words:
            return launcher, _launch(launcher, argv[1 + len(launcher.words) :])
    return None


def packages(argv: Sequence[str]) -> tuple[Package, ...] | None:
    """The packages that this command line fetches; None when its program fetches none."""
    found = launch(argv)
    return None if found is None else tuple(_package(found[0], spec) for spec in found[1].specs)


def _launch(launcher: Launcher, words: Sequence[str]) -> Launch:
    named = False
    specs: list[str] = []
    options: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        option, equals, attached = word.partition("=")
        if word == "--":
            continue
        if not word.startswith("-"):
            if not named:
                specs.append(word)
            command = word if named else ""
            return Launch(specs=tuple(dict.fromkeys(specs)), command=command, args=tuple(rest), options=tuple(options))
        if option in launcher.packages | launcher.extra | launcher.values:
            value = attached if equals else rest.pop(0) if rest else ""
            if option not in launcher.values:
                specs.append(value)
            named = named or option in launcher.packages
        if option not in launcher.packages | launcher.extra | YES:
            options.append(option)
    return Launch(specs=tuple(dict.fromkeys(specs)), command="", args=(), options=tuple(options))


def _package(launcher: Launcher, spec: str) -> Package:
    if _ELSEWHERE.search(spec):
        return Package(spec=spec, elsewhere=True)
    match = launcher.grammar.fullmatch(spec)
    return Package(spec=spec, version=match["version"] if match else None)
