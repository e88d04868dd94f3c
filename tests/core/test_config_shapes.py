"""Whatever stands where, a configuration is loaded or refused with problems that have a place; nothing else happens."""

from __future__ import annotations

import contextlib
import copy
import datetime as dt

import pytest
from perstack.config import loading
from perstack.config.layers import Layer, Rank, merge
from perstack.errors import ConfigError
from projects import WHOLE

VALUES = (0, -1, 1.5, True, "", "x", [], {}, [1], ["x"], [[]], [{}], {"x": 1}, {"x": {}}, dt.date(2026, 1, 1))


def nodes(value: object, path: tuple[str | int, ...] = ()):
    """The path of every value, tables and lists included."""
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from nodes(inner, (*path, key))


def replaced(path: tuple[str | int, ...], value: object) -> dict[str, object]:
    whole = copy.deepcopy(WHOLE)
    place = whole
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return whole


@pytest.mark.parametrize("path", [path for path in nodes(WHOLE) if path], ids=lambda path: ".".join(map(str, path)))
def test_W_51_a_value_of_any_type_in_any_place_is_taken_or_is_a_problem_with_its_key(tmp_path, path) -> None:
    for value in VALUES:
        layer = Layer(rank=Rank.PROJECT, values=replaced(path, value), source="file", operator=True)
        values, origins = merge([layer])
        project, broken, problems = loading._validate(values, origins)
        found = [*problems, *(problem for some in broken.values() for problem in some)]
        assert (project is None) <= bool(found)
        for problem in found:
            assert problem.key
            assert problem.where == "file"
            assert "nput " not in problem.message, "a sentence of ours, not of a library"
        sources = loading.Sources(path=tmp_path / "p.toml", directory=tmp_path, layers=(layer,))
        with contextlib.suppress(ConfigError):
            loading.load_sources(sources, cwd=tmp_path, overrides={}, environ={})
