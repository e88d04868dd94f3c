"""What the run's policy says about files and bounds: control files are not written, secret files are not read.

A control file is one that a program outside the sandbox obeys later: the configuration of Perstack itself, of git, of
a shell, an editor or a CI service. A path is of its kind if any of its components is, in any case of its letters, so
neither a directory below nor a renamed one above leads around. The configuration can except paths; a command that
`exec` starts is not bound by this, it is bound by its sandbox.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from perstack_skill_base.limits import Bounds

if TYPE_CHECKING:
    import re

#: Names of control files by what obeys them. Lower case; `*` stands for any characters.
CONTROL_NAMES: Mapping[str, tuple[str, ...]] = {
    "configuration of Perstack": ("perstack.toml", "perstack.lock"),
    "an environment file": (".env", ".env.*", ".envrc"),
    "git's own, which can hold programs to run": (".git", ".gitmodules", ".husky", ".pre-commit-config.y*ml"),
    "run by a CI service": (
        ".github",
        ".gitlab",
        ".gitlab-ci.y*ml",
        ".gitea",
        ".forgejo",
        ".circleci",
        ".buildkite",
        ".travis.y*ml",
        ".drone.y*ml",
        ".woodpecker*",
        "azure-pipelines.y*ml",
        "bitbucket-pipelines.y*ml",
        "jenkinsfile",
    ),
    "run by an editor or an agent": (
        ".vscode",
        ".idea",
        ".zed",
        ".fleet",
        ".devcontainer",
        ".devcontainer.json",
        "*.code-workspace",
        ".exrc",
        ".vimrc",
        ".nvimrc",
        ".nvim.lua",
        ".dir-locals.el",
        ".claude",
        ".cursor",
        ".mcp.json",
    ),
    "run by a shell or a package manager": (
        ".bashrc",
        ".bash_profile",
        ".bash_login",
        ".bash_logout",
        ".profile",
        ".zshrc",
        ".zshenv",
        ".zprofile",
        ".npmrc",
        ".yarnrc",
        ".yarnrc.yml",
        ".pypirc",
    ),
}

#: Names of files that hold secrets and nothing else of use. Lower case; `*` stands for any characters.
SECRET_NAMES = (
    ".env",
    ".env.*",
    ".envrc",
    ".npmrc",
    ".pypirc",
    ".netrc",
    "_netrc",
    ".git-credentials",
    ".pgpass",
    ".my.cnf",
    ".htpasswd",
    ".vault-token",
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".kube",
    ".dockercfg",
    "application_default_credentials.json",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.jks",
    "*.keystore",
    "*.kdbx",
    "*.tfstate",
)
#: These look like environment files and are there to be read.
SAMPLE_NAMES = (".env.example", ".env.sample", ".env.template", ".env.dist", ".env.defaults")


class FilePolicy:
    """Which paths are control or secret files.

    Args:
        writable: Paths that may be written although they are control files; see `perstack_skill_base.globs`. A
            pattern is about the path from the workspace and covers what is below it.
        readable: Paths that may be read although they are secret files.
    """

    def __init__(self, writable: Sequence[str] = (), readable: Sequence[str] = ()) -> None:
        self.writable = tuple(writable)
        self.readable = tuple(readable)
        self._writable = _compiled(self.writable)
        self._readable = _compiled(self.readable)

    def control(self, parts: Sequence[str]) -> str | None:
        """What obeys this path, or None if it may be written."""
        for part in parts:
            folded = part.casefold()
            for reason, names in CONTROL_NAMES.items():
                if _matcher(names)(folded):
                    return None if _excepted(self._writable, parts) else reason
        return None

    def secret(self, parts: Sequence[str]) -> bool:
        """Whether this path may not be read."""
        among = _matcher(SECRET_NAMES)
        for part in parts:
            folded = part.casefold()
            if among(folded) and folded not in SAMPLE_NAMES:
                return not _excepted(self._readable, parts)
        return False


class Policy(NamedTuple):
    """All that can be set for a run."""

    files: FilePolicy
    bounds: Bounds


def parse(text: str) -> Policy:
    """The policy in a JSON object with `writable`, `readable` (lists of patterns) and `bounds`; each may be left out.

    Raises:
        ValueError: It is none; the text says what is wrong.
    """
    import json

    value = json.loads(text)
    if not isinstance(value, dict) or value.keys() - {"writable", "readable", "bounds"}:
        raise ValueError("it must be an object with writable, readable and bounds")
    files = FilePolicy(writable=_patterns(value, "writable"), readable=_patterns(value, "readable"))
    return Policy(files, _bounds(value.get("bounds", {})))


def _patterns(value: Mapping[str, object], name: str) -> list[str]:
    patterns = value.get(name, [])
    if not isinstance(patterns, list) or not all(isinstance(pattern, str) and pattern for pattern in patterns):
        raise ValueError(f"{name} must be a list of patterns")
    return patterns


def _bounds(value: object) -> Bounds:
    known = {_camel(name): name for name in Bounds._fields}
    if not isinstance(value, dict):
        raise ValueError("bounds must be an object")
    for name, number in value.items():
        if name not in known:
            raise ValueError(f"there is no bound {name!r}; there are {', '.join(known)}")
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise ValueError(f"the bound {name!r} must be an integer from 1")
    return Bounds(**{known[name]: number for name, number in value.items()})


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


@cache
def _matcher(names: tuple[str, ...]) -> Callable[[str], object]:
    """What tells whether a name is one of these; compiled once, as a search asks it for every file."""
    import re

    return re.compile("|".join(re.escape(name).replace(r"\*", ".*") for name in names), re.DOTALL).fullmatch


def _excepted(patterns: Sequence[re.Pattern[str]], parts: Sequence[str]) -> bool:
    path = "/".join(parts)
    return any(pattern.fullmatch(path) for pattern in patterns)


def _compiled(patterns: Sequence[str]) -> tuple[re.Pattern[str], ...]:
    if not patterns:
        return ()
    import re

    from perstack_skill_base.globs import translate

    return tuple(re.compile(f"(?s:{translate(pattern.strip('/'))}(?:/.*)?)") for pattern in patterns)
