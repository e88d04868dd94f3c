"""The tools that a skill had when it last connected, kept so that a lazy skill need not start to be described.

They are what the model is told, never what is believed: when the skill does start, a tool that differs is not called.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from perstack.protocols import SkillTool
from perstack.skill_policy import BUILT_IN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from perstack.skill_policy import SkillPolicy

FOLDER = "tools"
"""Of the state directory, which no skill in a sandbox sees."""
FORMAT = 1
MAX_BYTES = 64 * 1024 * 1024
"""Of one file; a list of the most tools at their largest is smaller."""


def policy_digest(policy: SkillPolicy) -> str:
    """Names what decides a skill's tools: another command, endpoint, image, variable or Expert is another skill.

    Where the entries come from does not count, so that an edit elsewhere in the file forgets nothing; nor does what a
    runtime or a workspace adds of its own.
    """
    identity = {
        "format": FORMAT,
        "expert": policy.expert,
        "skill": policy.skill,
        "kind": policy.kind,
        "argv": policy.argv,
        "endpoint": policy.endpoint,
        "headers": [(header.name, header.template) for header in policy.headers],
        "image": policy.image,
        "env": [(grant.name, grant.source) for grant in policy.env if grant.origin != BUILT_IN],
        "egress": [grant.pattern for grant in policy.egress],
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def changed_tools(before: Sequence[SkillTool] | None, now: Sequence[SkillTool]) -> tuple[str, ...]:
    """Names of tools that came, went or changed; none where nothing was known."""
    if before is None:
        return ()
    old, new = ({tool.name: tool for tool in tools} for tools in (before, now))
    return tuple(sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name)))


def _unchanged(data: bytes) -> bytes:
    return data


def known_tools(state_dir: Path, *, redact: Callable[[bytes], bytes] = _unchanged) -> KnownTools:
    """The tools that are known on this machine; `redact` takes the secrets of this run out of JSON."""
    return KnownTools(state_dir / FOLDER, redact)


@dataclass(frozen=True, slots=True)
class KnownTools:
    """A directory with one file for each skill, mode 0600. What cannot be read is not known; nothing fails a run."""

    directory: Path
    redact: Callable[[bytes], bytes] = _unchanged

    def of(self, policy: SkillPolicy) -> tuple[SkillTool, ...] | None:
        """The tools of the skill, or None when it has to be asked."""
        try:
            with self._path(policy).open("rb") as file:
                return tuple(msgspec.json.decode(file.read(MAX_BYTES), type=list[SkillTool]))
        except (OSError, msgspec.MsgspecError, RecursionError):
            return None

    def keep(self, policy: SkillPolicy, tools: Sequence[SkillTool]) -> None:
        """Remember them, in place of what was known; a disk that refuses costs no more than a later start.

        Tools whose words hold a secret are not kept: without it they would differ from what the skill says next time.
        """
        path = self._path(policy)
        temporary = path.with_suffix(f".{os.getpid()}")
        data = msgspec.json.encode(list(tools))
        try:
            if self.redact(data) != data:
                path.unlink(missing_ok=True)
                return
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)

    def _path(self, policy: SkillPolicy) -> Path:
        return self.directory / f"{policy_digest(policy)}.json"
