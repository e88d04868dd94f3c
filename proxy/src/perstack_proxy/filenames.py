"""Names of files that are more than data: control files, which other programs obey, and files that hold secrets.

A path is of its kind if any of its components is, in any case of its letters, so neither a directory below nor a
renamed one above leads around.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache

OWN_NAMES = ("perstack.toml", "perstack.lock")
"""Names of files that say what skills may do, so no skill is let change them."""
CONTROL_NAMES: Mapping[str, tuple[str, ...]] = {
    "configuration of Perstack": OWN_NAMES,
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
"""Names of control files by what obeys them. Lower case; ``*`` stands for any characters."""

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
"""Names of files that hold secrets and nothing else of use. Lower case; ``*`` stands for any characters."""
SAMPLE_NAMES = (".env.example", ".env.sample", ".env.template", ".env.dist", ".env.defaults")
"""These look like environment files and are there to be read; nothing obeys them."""

GIT_CONTROLS = ("hooks", "config", "config.worktree", "commondir", "modules", "worktrees")
"""What of a repository's own directory git obeys or looks for such in; the rest of it is data."""


def control_reason(parts: Sequence[str]) -> str | None:
    """What obeys this path, or None."""
    for part in parts:
        folded = part.casefold()
        for reason, names in CONTROL_NAMES.items():
            if _matcher(names)(folded) and folded not in SAMPLE_NAMES:
                return reason
    return None


def obeyed_by(parts: Sequence[str], *, directory: bool) -> str | None:
    """As `control_reason`, for programs that work with git: of its directory only what can run something counts.

    Args:
        parts: The path from the workspace.
        directory: Whether it is one. A file called ``.git`` names a directory anywhere, whose hooks are run.
    """
    for depth, part in enumerate(parts):
        last = depth + 1 == len(parts)
        if part.casefold() != ".git" or (last and not directory):
            if reason := control_reason((part,)):
                return reason
        else:
            inner = "" if last else parts[depth + 1].casefold()
            return control_reason((part,)) if inner in GIT_CONTROLS else None
    return None


def is_own(parts: Sequence[str]) -> bool:
    """Whether the path is a file that says what skills may do."""
    return any(part.casefold() in OWN_NAMES for part in parts)


def is_secret(parts: Sequence[str]) -> bool:
    """Whether the path is a file for secrets, or below such a directory."""
    among = _matcher(SECRET_NAMES)
    folded = (part.casefold() for part in parts)
    return any(among(name) and name not in SAMPLE_NAMES for name in folded)


@cache
def _matcher(names: tuple[str, ...]) -> Callable[[str], object]:
    """What tells whether a name is one of these; compiled once, as a search asks it for every file."""
    import re

    return re.compile("|".join(re.escape(name).replace(r"\*", ".*") for name in names), re.DOTALL).fullmatch
