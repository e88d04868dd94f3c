"""What is known of a provider's models, read from a data file when it is first asked for.

A file holds an object of models by name; each has the keys of a ``[models."NAME"]`` table of ``perstack.toml``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from perstack.specs import ModelInfo, Prices

if TYPE_CHECKING:
    from perstack.messages import JsonObject

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


class ModelTable(Mapping[str, ModelInfo]):
    """The models of the file at `path`, which is read once, when the first is asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._models: dict[str, ModelInfo] | None = None

    def __getitem__(self, name: str) -> ModelInfo:
        return self._read()[name]

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
    prices = values.get("prices")
    if isinstance(prices, dict):
        changes["prices"] = Prices(**{PRICES[key]: value for key, value in prices.items()})  # type: ignore[arg-type]
    return replace(info, **changes)  # type: ignore[arg-type]  # the files' test and the configuration check types


def _frozen(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value
