"""The files that say what models are: every one is sound, and what a configuration says goes before it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from perstack.config.models import ModelCapabilities
from perstack.messages import Usage
from perstack.model_http import budget_of, effort_of
from perstack.model_table import FIELDS, PRICES, ModelTable, overridden
from perstack.pricing import cost
from perstack.specs import ModelInfo, Prices

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(ROOT.glob("plugins/provider-*/src/*/*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_file_says_of_its_models_what_a_configuration_could_say(path: Path) -> None:
    models = json.loads(path.read_text())
    assert models
    for name, values in models.items():
        ModelCapabilities.model_validate(values)
        info = ModelTable(path)[name]
        assert info.tools is not None
        if name.endswith("*"):  # models of the future have limits and prices of their own
            assert (info.context_window, info.max_output, info.prices) == (None, None, None)
            continue
        assert info.context_window is not None
        assert info.max_output is not None
        assert info.max_output <= info.context_window
        assert info.prices is not None


def test_the_keys_of_files_are_the_keys_of_configurations() -> None:
    fields = {info.alias for info in ModelCapabilities.model_fields.values()}
    assert {*FIELDS, "prices"} == fields
    assert set(PRICES) == {"input", "output", "cachedInput", "cacheWrite"}


def test_what_a_table_says_replaces_what_is_known_and_nothing_else() -> None:
    known = ModelInfo(context_window=1000, max_output=100, reasoning=True, vision=True)
    info = overridden(known, {"maxOutput": 50, "vision": False, "prices": {"input": 1, "output": 2}})
    assert (info.context_window, info.max_output, info.reasoning, info.vision) == (1000, 50, True, False)
    assert info.prices == Prices(input=1, output=2)


def test_what_was_cached_has_its_own_price() -> None:
    usage = Usage(input_tokens=100, output_tokens=10, cached_input_tokens=60, cache_write_tokens=30, total_tokens=110)
    assert cost(usage, None) is None
    assert cost(usage, Prices(input=1e6, output=2e6)) == 120
    assert cost(usage, Prices(input=1e6, output=2e6, cached_input=1e5, cache_write=2e6)) == 10 + 6 + 60 + 20


def test_a_long_prompt_has_the_prices_of_long_ones_for_all_of_its_tokens() -> None:
    table = {"input": 1e6, "output": 2e6, "long": {"over": 100, "input": 3e6, "output": 4e6, "cachedInput": 1e6}}
    prices = overridden(ModelInfo(), {"prices": table}).prices
    short = Usage(input_tokens=100, output_tokens=10, cached_input_tokens=50, total_tokens=110)
    long = Usage(input_tokens=101, output_tokens=10, cached_input_tokens=50, total_tokens=111)
    assert cost(short, prices) == 100 + 20
    assert cost(long, prices) == 51 * 3 + 50 * 1 + 40


def test_a_name_that_ends_with_a_star_stands_for_those_that_begin_like_it_and_have_no_entry(tmp_path: Path) -> None:
    path = tmp_path / "models.json"
    path.write_text('{"m-*": {"maxOutput": 1}, "m-1*": {"maxOutput": 2}, "m-1": {"maxOutput": 3}}')
    table = ModelTable(path)
    names = ("m-9", "m-1-large", "m-1", "m-1-20250101", "other")
    assert [info and info.max_output for info in map(table.get, names)] == [1, 2, 3, 3, None]


def test_costs_are_added_as_far_as_they_are_known() -> None:
    assert (Usage() + Usage()).cost is None
    assert (Usage(cost=0.5) + Usage() + Usage(cost=0.25)).cost == 0.75


@pytest.mark.parametrize(
    ("tokens", "info", "level"),
    [
        (0, None, None),
        (2048, None, "low"),
        (9999, ModelInfo(reasoning=False), None),
        (0, ModelInfo(reasoning=True), None),
        (0, ModelInfo(reasoning=True, efforts=("none", "low")), "none"),
        (0, ModelInfo(reasoning=True, efforts=("low", "high")), "low"),
        (5000, ModelInfo(reasoning=True, efforts=("low", "high")), "low"),
        (10_000, ModelInfo(reasoning=True, efforts=("low", "medium")), "medium"),
    ],
)
def test_W_58_a_level_is_the_nearest_that_the_model_takes(tokens: int, info: ModelInfo | None, level: str) -> None:
    assert effort_of(tokens, info) == level


@pytest.mark.parametrize(
    ("tokens", "limit", "budget"), [(0, None, 0), (64, None, 128), (9000, None, 500), (9000, 600, 300), (9000, 128, 0)]
)
def test_W_58_a_number_of_tokens_is_within_the_models_bounds(tokens: int, limit: int | None, budget: int) -> None:
    info = ModelInfo(reasoning=True, least_reasoning=128, most_reasoning=500)
    assert budget_of(tokens, info, limit=limit) == budget
