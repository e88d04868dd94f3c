"""What the run's policy says about files and bounds. Commands that `exec` starts are bound by their sandbox instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from perstack_proxy.file_policy import FilePolicy

from perstack_skill_base.limits import Bounds


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
