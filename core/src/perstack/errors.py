"""Every error that perstack raises on purpose, and the exit code that each one ends a command with.

    PerstackError                 2
    ├── UserError                 1   the command line, a file or an installation has to change
    │   ├── UsageError            1
    │   ├── ConfigError           1   carries every problem of the configuration at once
    │   ├── LockMismatch          7   a skill is not what perstack.lock says
    │   ├── PluginError           1
    │   │   ├── PluginMissing     1   names the package to install
    │   │   ├── PluginLoadError   1   keeps the cause
    │   │   └── PluginConflict    1   names both sides
    │   └── JournalError          1
    │       ├── JobNotFound       1
    │       ├── JournalLocked     1   another process writes this job
    │       ├── JournalCorrupt    1   the chain does not hold
    │       └── JournalWriteError 2   the disk is full or broken
    ├── PolicyError               5   refused: what was asked is not allowed
    │   ├── ControlsMissing       5   a runtime cannot enforce what the run requires
    │   └── ControlsBroken        6   a runtime does not enforce what it claims
    ├── SandboxError              2   the boundary failed, which is never a command's result
    │   └── SandboxUnavailable    2
    ├── SkillError                2   a skill did not start or broke its protocol
    ├── ToolError                 2   one call failed; the model sees the message
    ├── OutputLost                2   standard output or standard error cannot be written
    └── ProviderError             2   the model's server refused or failed; may be retryable

A command's non-zero exit, a tool's own failure and a denied call are results, not exceptions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of every perstack command."""

    COMPLETED = 0
    USAGE = 1
    FAILED = 2
    BUDGET = 3
    INTERACTIVE = 4
    REFUSED = 5
    BROKEN = 6
    CHANGED = 7
    INTERRUPTED = 130
    TERMINATED = 143


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing that is wrong in one place, with what to do about it.

    Attributes:
        message: What is wrong, naming the thing.
        where: File, variable or option; empty when there is no place.
        line: 1-based line in a file, or None.
        key: Dotted path of the key, or empty.
        hint: What to do next; empty when the message says it.
    """

    message: str
    where: str = ""
    line: int | None = None
    key: str = ""
    hint: str = ""

    def __str__(self) -> str:
        place = self.where if self.line is None else f"{self.where}:{self.line}"
        head = ": ".join(part for part in (place, self.key, self.message) if part)
        return f"{head} ({self.hint})" if self.hint else head


class PerstackError(Exception):
    """Something that perstack foresaw; shown as one message and a hint, never as a stack trace.

    Attributes:
        exit_code: What the command that hit it exits with.
        hint: The next step for the person who reads the message, or empty.
    """

    exit_code = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UserError(PerstackError):
    """The person who ran the command can mend it."""

    exit_code = ExitCode.USAGE


class UsageError(UserError):
    """The command line does not fit."""


class ConfigError(UserError):
    """The configuration has problems; all of them are carried, not only the first."""

    def __init__(self, problems: Sequence[Problem], *, hint: str = "") -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems), hint=hint)


class LockMismatch(UserError):
    """A skill, or one of its packages, is not what ``perstack.lock`` says; nobody goes on before a person has looked.

    Attributes:
        differences: What is different, as safe lines.
    """

    exit_code = ExitCode.CHANGED

    def __init__(self, what: str, differences: Sequence[str], *, hint: str = "") -> None:
        self.differences = tuple(differences)
        lines = "".join(f"\n  {line}" for line in self.differences)
        super().__init__(f"{what} is not what perstack.lock says:{lines}", hint=hint)


class PluginError(UserError):
    """A plugin stands in the way of what was asked."""


class PluginMissing(PluginError):
    """A name was asked for that no active plugin offers."""


class PluginLoadError(PluginError):
    """A selected or required plugin did not load; the cause is chained."""


class PluginConflict(PluginError):
    """Two plugins offer the same name."""


class JournalError(UserError):
    """A job's journal cannot be used as asked."""


class JobNotFound(JournalError):
    """There is no such job or checkpoint in the state directory."""


class JournalLocked(JournalError):
    """Another process is writing this job."""


class JournalCorrupt(JournalError):
    """The journal's chain does not hold: it was changed or damaged outside perstack."""


class JournalWriteError(JournalError):
    """The journal could not be written, so nothing more is done."""

    exit_code = ExitCode.FAILED


class PolicyError(PerstackError):
    """What was asked is not allowed, and was not done."""

    exit_code = ExitCode.REFUSED


class ControlsMissing(PolicyError):
    """A runtime does not enforce every control that the run requires."""

    def __init__(self, *, runtime: str, skill: str, missing: Sequence[str], hint: str = "") -> None:
        self.missing = tuple(sorted(missing))
        super().__init__(
            f"Runtime {runtime!r} does not enforce {', '.join(self.missing)} for skill {skill!r}; nothing was started.",
            hint=hint
            or "Choose a runtime that does, or go without the control: --relax CONTROL, or in your own settings.",
        )


class ControlsBroken(PolicyError):
    """A control was tried and does not hold, or nobody could tell although the run requires it."""

    exit_code = ExitCode.BROKEN

    def __init__(self, *, runtime: str, broken: Mapping[str, Sequence[str]]) -> None:
        lines = [f"{skill}: {', '.join(controls)}" for skill, controls in broken.items()]
        super().__init__(
            f"Runtime {runtime!r} was tried and does not hold, so nothing was started:\n" + "\n".join(lines),
            hint="See what happened with: perstack prove",
        )


class SandboxError(PerstackError):
    """The boundary itself failed."""


class SandboxUnavailable(SandboxError):
    """A sandbox could not be opened, or is gone."""


class StagingError(PerstackError):
    """A copy of a workspace cannot be made, compared or brought back; nothing of it is lost."""


class SkillError(PerstackError):
    """A skill did not start, or its server broke the protocol."""


class ToolError(PerstackError):
    """One tool call failed; the message is written for the model to read."""


class OutputLost(PerstackError):
    """Standard output or standard error cannot be written any more; what was running stopped, and can go on."""


class ProviderError(PerstackError):
    """The model's server could not be reached, refused, or failed.

    Attributes:
        status: HTTP status, or None when no response arrived.
        retryable: Whether the same request may succeed later.
        retry_after: Seconds that the server asked to wait, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        status: int | None = None,
        retryable: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.retryable = retryable
        self.retry_after = retry_after
