"""The models that a job may ask, first to last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from perstack.specs import ModelInfo


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """One model as a job asks it.

    Attributes:
        info: What is known of it, or None when nothing is.
        reasoning_tokens: Budget for the reasoning of one generation; 0 is none.
    """

    name: str
    info: ModelInfo | None = None
    reasoning_tokens: int = 0


class Models:
    """The job's models. All of its runs ask the current one; where it keeps failing, the next takes its place."""

    def __init__(self, models: Sequence[Model]) -> None:
        self._models = tuple(models)
        self._position = 0

    @property
    def current(self) -> Model:
        """The model to ask."""
        return self._models[self._position]

    @property
    def window(self) -> int | None:
        """Its context window in tokens, where it is known."""
        info = self.current.info
        return info.context_window if info is not None else None

    def next_after(self, failed: Model) -> Model | None:
        """The model to ask in the place of `failed`, which is the current one from here on; None when none is left.

        Runs that failed at the same time move on once.
        """
        if self.current == failed:
            if self._position + 1 == len(self._models):
                return None
            self._position += 1
        return self.current


def smallest_window(models: Sequence[Model]) -> int | None:
    """The smallest context window among them, as far as they are known."""
    windows = (model.info.context_window for model in models if model.info is not None)
    return min((window for window in windows if window is not None), default=None)
