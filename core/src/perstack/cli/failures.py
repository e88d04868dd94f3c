"""What a person sees when a command fails: what happened, to which thing, and what to do next; never a stack trace."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from perstack_proxy.sanitise import sanitise, sanitise_line

from perstack.errors import ConfigError, ExitCode, OutputLost, PerstackError, UsageError

if TYPE_CHECKING:
    from perstack.plugins.registry import Registry

BROKEN_PIPE = 141
"""128 + SIGPIPE: what a shell reports for a program whose reader went away."""

_REFUSALS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP})


def report(error: BaseException, *, registry: Registry | None = None, hinted: Callable[[str], str] = str) -> int:
    """The exit code for `error`, which was shown on standard error.

    Args:
        error: What ended the command; of a group, each member counts.
        registry: Loaded plugins, which may know what helps; None asks none.
        hinted: Makes of a hint what the person reads.
    """
    leaves = [_as_refusal(leaf) for leaf in _leaves(error)]
    if any(isinstance(leaf, BrokenPipeError) for leaf in leaves) and _reader_is_gone():
        _silence_stdout()
        return BROKEN_PIPE
    if any(isinstance(leaf, KeyboardInterrupt) for leaf in leaves):
        return ExitCode.INTERRUPTED
    code = ExitCode.COMPLETED
    if any(isinstance(leaf, OSError | OutputLost) for leaf in leaves):
        leaves = _without_lost_output(leaves)
    for leaf in leaves:
        with suppress(OSError):  # standard error may be what is broken; the exit code still says it
            print("\n".join(_lines(leaf, registry, hinted)), file=sys.stderr, flush=True)
        code = max(code, leaf.exit_code if isinstance(leaf, PerstackError) else ExitCode.FAILED)
    return code


def _as_refusal(error: BaseException) -> BaseException:
    """`error`, where it is the machine's refusal of a file, in words that say so: it is no defect of ours."""
    if isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}:
        return UsageError("There are too many open files.", hint="Allow more, with: ulimit -n 4096")
    if isinstance(error, OSError) and error.errno in _REFUSALS and error.filename is not None:
        message = f"{os.fsdecode(error.filename)!r} cannot be used: {error.strerror}."
        return UsageError(message, hint="Name another place, or get access to this one.")
    return error


def _without_lost_output(leaves: list[BaseException]) -> list[BaseException]:
    """`leaves`, where those that only say that standard output cannot be written are one in words."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        _silence_stdout()
        if not any(isinstance(leaf, OutputLost) for leaf in leaves):
            lost = OutputLost(f"Standard output could not be written: {getattr(error, 'strerror', '') or error}.")
            return [lost, *(leaf for leaf in leaves if not isinstance(leaf, OSError))]
    return leaves


def warn(lines: Iterable[str]) -> None:
    """Show what a person should know although the command goes on."""
    for line in lines:
        print(f"perstack: {sanitise_line(line)}", file=sys.stderr)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _lines(error: BaseException, registry: Registry | None, hinted: Callable[[str], str]) -> Iterator[str]:
    if not isinstance(error, PerstackError):
        yield f"perstack: internal error: {sanitise_line(f'{type(error).__name__}: {error}', limit=500)}"
        yield f"  The details are in {_write_details(error)}; please report them."
        return
    if isinstance(error, ConfigError) and len(error.problems) > 1:
        yield f"perstack: {len(error.problems)} problems:"
        yield from (f"  {sanitise_line(str(problem))}" for problem in error.problems)
    else:
        yield f"perstack: {sanitise(str(error))}"
    hints = [error.hint, *(registry.error_hints(error) if registry else ())]
    yield from (f"  Hint: {sanitise_line(hinted(hint))}" for hint in dict.fromkeys(hints) if hint)


def _write_details(error: BaseException) -> str:
    """The path of a new file, readable by this user only, with the stack of `error`."""
    import tempfile
    import traceback

    handle, path = tempfile.mkstemp(prefix="perstack-error-", suffix=".txt")
    with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.writelines(traceback.format_exception(error))
    return path


def _reader_is_gone() -> bool:
    """Whether standard output is a pipe without a reader: other pipes break too, and that is no reason for silence."""
    import select

    if not hasattr(select, "poll"):  # Windows: cannot be told
        return True
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), select.POLLOUT)
    except (OSError, ValueError):  # standard output is not a file
        return False
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _silence_stdout() -> None:
    """Point standard output at nothing, so that the interpreter's last flush does not fail as well."""
    try:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
    except (OSError, ValueError):  # no such device, or standard output is not a file
        return
    os.close(nothing)
