"""What is known of a provider's models, read from a data file when it is first asked for.

A file holds an object of models by name; each has the keys of a ``[models."NAME"]`` table of ``perstack.toml``. A name
that ends with ``*`` stands for all that begin like it and have no entry of their own, also without a version's date.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from perstack.specs import LongPrices, ModelInfo, Prices

if TYPE_CHECKING:
    from perstack.messages import JsonObject

DATE = re.compile(r"-(20\d{6}|20\d\d-\d\d-\d\d)$")
"""The end of the name of a model's dated version."""
FIELDS = {
    "contextWindow": "context_window",
    "maxOutput": "max_output",
    "reasoning": "reasoning",
    "efforts": "efforts",
    "leastReasoning": "least_reasoning",
    "mostReasoning": "most_reasoning",
    "vision": "vision",
    "documents": "documents",
    "tools": "tools",
    "structuredOutput": "structured_output",
}
PRICES = {"input": "input", "output": "output", "cachedInput": "cached_input", "cacheWrite": "cache_write"}
"""Keys of a file, and the attributes that they fill."""


def known_model(models: Mapping[str, ModelInfo], name: str) -> ModelInfo | None:
    """What is known of the model `name`, or of the model of which it is a dated version."""
    return models.get(name) or models.get(DATE.sub("", name))


class ModelTable(Mapping[str, ModelInfo]):
    """The models of the file at `path`, which is read once, when the first is asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._models: dict[str, ModelInfo] | None = None

    def __getitem__(self, name: str) -> ModelInfo:
        models = self._read()
        for exact in (name, DATE.sub("", name)):
            if exact in models:
                return models[exact]
        beginnings = [known for known in models if known.endswith("*") and name.startswith(known[:-1])]
        if not beginnings:
            raise KeyError(name)
        return models[max(beginnings, key=len)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def _read(self) -> dict[str, ModelInfo]:
        if self._models is None:
            import json

            models = json.loads(self._path.read_bytes())
            self._models = {name: overridden(ModelInfo(), values) for name, values in models.items()}
        return self._models


def overridden(info: ModelInfo, values: JsonObject) -> ModelInfo:
    """`info` with what a table says of the model in its place.

    Raises:
        KeyError: The table has a key that is not known.
        TypeError: A price is missing.
    """
    rest = {key: value for key, value in values.items() if key != "prices"}
    changes: dict[str, object] = {FIELDS[key]: _frozen(value) for key, value in rest.items()}
    if isinstance(prices := values.get("prices"), dict):
        changes["prices"] = _prices(prices)
    return replace(info, **changes)  # type: ignore[arg-type]  # the files' test and the configuration check types


def _prices(values: JsonObject) -> Prices:
    rates: dict[str, object] = {PRICES[key]: value for key, value in values.items() if key in PRICES}
    long = values.get("long")
    if isinstance(long, dict):
        own = {PRICES[key]: value for key, value in long.items() if key in PRICES}
        rates["long"] = LongPrices(over=long["over"], **own)  # type: ignore[arg-type]  # see above
    return Prices(**rates)  # type: ignore[arg-type]  # see above


def _frozen(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value
