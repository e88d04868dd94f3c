"""The small languages of ``perstack log``: steps, times and conditions on an event's fields."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from perstack_proxy.limits import NUMBER_DIGITS

from perstack.errors import UsageError
from perstack.messages import JsonValue

_STEPS = re.compile(r"(?P<op>>=|<=|>|<)?(?P<first>[0-9]{1,9})(?:-(?P<last>[0-9]{1,9}))?")
_AGO = re.compile(r"(?P<count>[0-9]{1,9})(?P<unit>[smhd])")
_MILLISECONDS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_CONDITION = re.compile(r"(?P<path>(?:\.[A-Za-z_][\w-]*(?:\[\])?)+)\s*(?P<op>==|!=|>=|<=|>|<)\s*(?P<value>\S.*)")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")

_Scalar = str | int | float | bool | None
_ORDER: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


@dataclass(frozen=True, slots=True)
class Steps:
    """Step numbers from `first` to `last`, both included; None is no end."""

    first: int
    last: int | None

    def __contains__(self, step: int) -> bool:
        return self.first <= step and (self.last is None or step <= self.last)


def parse_steps(text: str) -> Steps:
    """The steps that ``5``, ``>5``, ``>=5``, ``<5``, ``<=5`` or ``1-10`` means.

    Raises:
        UsageError: It is none of these, or the range is empty.
    """
    match = _STEPS.fullmatch(text.strip())
    if match is None or (match["op"] and match["last"]):
        raise UsageError(f"{text!r} does not name steps.", hint="Write 5, '>5', '>=5', '<5', '<=5' or 1-10.")
    first = int(match["first"])
    if match["last"] is not None:
        if first > int(match["last"]):
            raise UsageError(f"The range of steps {text!r} is empty.", hint="Write the smaller number first.")
        return Steps(first, int(match["last"]))
    ranges = {
        ">": Steps(first + 1, None),
        ">=": Steps(first, None),
        "<": Steps(0, first - 1),
        "<=": Steps(0, first),
        None: Steps(first, first),
    }
    return ranges[match["op"]]


def parse_since(text: str, *, now: int) -> int:
    """The time that ``90s``, ``10m``, ``2h``, ``3d`` (before `now`) or an ISO date and time means.

    Times are milliseconds since the epoch. One without a zone is local, as the log shows them.

    Raises:
        UsageError: It is neither.
    """
    if match := _AGO.fullmatch(text.strip()):
        return now - int(match["count"]) * _MILLISECONDS[match["unit"]]
    try:
        return round(datetime.fromisoformat(text.strip()).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"{text!r} is no time.", hint="Write 90s, 10m, 2h, 3d or 2026-01-31T12:00.") from None


@dataclass(frozen=True, slots=True)
class Condition:
    """A comparison of one field. It holds when it holds for any element of an array on the way."""

    path: tuple[str, ...]
    op: str
    value: _Scalar

    def holds(self, event: JsonValue) -> bool:
        """Whether `event` has the field and it compares as asked."""
        return any(self._compare(found) for found in _find(event, self.path))

    def _compare(self, found: JsonValue) -> bool:
        if self.op in _ORDER:
            return _is_number(found) and _is_number(self.value) and _ORDER[self.op](found, self.value)  # type: ignore[arg-type]
        # True is 1 for Python, and is not for whoever reads JSON.
        same = found == self.value and isinstance(found, bool) == isinstance(self.value, bool)
        return same if self.op == "==" else not same


def parse_condition(text: str) -> Condition:
    """The condition that ``.path op value`` means, as in ``.toolCalls[].toolName == exec``.

    Raises:
        UsageError: It is no such comparison.
    """
    match = _CONDITION.fullmatch(text.strip())
    if match is None:
        hint = "Write '.path op value' with one of == != > >= < <=, as in '.toolCalls[].toolName == exec'."
        raise UsageError(f"{text!r} is no condition.", hint=hint)
    path = tuple(match["path"].replace("[]", "").split(".")[1:])
    return Condition(path, match["op"], _value(match["value"].strip()))


def _value(text: str) -> _Scalar:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    words: dict[str, _Scalar] = {"true": True, "false": False, "null": None}
    if text in words:
        return words[text]
    if _NUMBER.fullmatch(text):
        return float(text) if "." in text or len(text) > NUMBER_DIGITS else int(text)
    return text


def _find(value: JsonValue, path: tuple[str, ...]) -> Iterator[JsonValue]:
    if isinstance(value, list):
        for item in value:
            yield from _find(item, path)
    elif not path:
        yield value
    elif isinstance(value, dict) and path[0] in value:
        yield from _find(value[path[0]], path[1:])


def _is_number(value: JsonValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
