"""Failures of a tool, written for the model that called it."""

from __future__ import annotations

import errno
import os


class ToolError(Exception):
    """A tool call that did not do what it was asked to.

    Attributes:
        kind: A stable name for programs: the `error` member of the result.
        message: What happened, to which path or argument, and what to do next.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


def invalid(message: str) -> ToolError:
    """The arguments do not fit the tool."""
    return ToolError("InvalidArguments", message)


def denied(message: str) -> ToolError:
    """The call would leave the workspace or touch what it may not."""
    return ToolError("AccessDenied", f"Access denied: {message}")


def not_found(shown: str) -> ToolError:
    """Nothing has this path."""
    return ToolError("NotFound", f"{shown!r} does not exist. Use listDirectory to see what does.")


def not_a_directory(shown: str) -> ToolError:
    """Something that is no directory stands where one is needed."""
    return ToolError("NotADirectory", f"{shown!r} is not a directory.")


_KINDS = {
    errno.EACCES: "AccessDenied",
    errno.EPERM: "AccessDenied",
    errno.EROFS: "AccessDenied",
    errno.EEXIST: "AlreadyExists",
    errno.ENOTEMPTY: "NotEmpty",
    errno.ENAMETOOLONG: "InvalidArguments",
    errno.EINVAL: "InvalidArguments",
    errno.ENOSPC: "NoSpace",
    errno.EDQUOT: "NoSpace",
}


def from_os_error(error: OSError, shown: str) -> ToolError:
    """The system's refusal, about the path that the model wrote."""
    number = error.errno or 0
    if number == errno.ENOENT:
        return not_found(shown)
    if number == errno.ENOTDIR:
        return not_a_directory(shown)
    if number == errno.ELOOP:
        return symbolic_link(shown)
    return ToolError(_KINDS.get(number, "SystemError"), f"{shown!r}: {os.strerror(number)}.")


def symbolic_link(shown: str, target: str | None = None) -> ToolError:
    """A symbolic link stands on the way; no tool follows one."""
    text = "is a symbolic link" if target is None else f"is a symbolic link to {target!r}"
    return denied(f"{shown!r} {text}, and links are not followed. If its target is in the workspace, use that path.")
