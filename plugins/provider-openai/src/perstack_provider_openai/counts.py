"""What both formats say of tokens, though not under the same names."""

from __future__ import annotations

import msgspec
from perstack.messages import Usage


class InputDetails(msgspec.Struct, frozen=True):
    """Part of the input."""

    cached_tokens: int | None = None


class OutputDetails(msgspec.Struct, frozen=True):
    """Part of the output."""

    reasoning_tokens: int | None = None


def usage_of(
    given: int, made: int, *, total: int | None, of_input: InputDetails | None, of_output: OutputDetails | None
) -> Usage:
    """The tokens of an answer; servers leave out what they do not count."""
    return Usage(
        input_tokens=given,
        output_tokens=made,
        reasoning_tokens=(of_output and of_output.reasoning_tokens) or 0,
        cached_input_tokens=(of_input and of_input.cached_tokens) or 0,
        total_tokens=total or given + made,
    )
