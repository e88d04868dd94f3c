"""What every table of a configuration file is, and the values that several of them hold."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo
from pydantic.alias_generators import to_camel

from perstack.config import grammar
from perstack.skill_policy import Control

DESCRIPTION_CHARACTERS = 2048
INSTRUCTION_CHARACTERS = 20480


def _domain(text: str, info: ValidationInfo) -> str:
    return grammar.domain(text, punycode=bool(info.data.get("allow_punycode")))


Line: TypeAlias = Annotated[str, AfterValidator(grammar.line)]
Prose: TypeAlias = Annotated[str, AfterValidator(grammar.prose)]
Word: TypeAlias = Annotated[str, Field(min_length=1), AfterValidator(grammar.line)]
Name: TypeAlias = Annotated[str, AfterValidator(grammar.name)]
EnvName: TypeAlias = Annotated[str, AfterValidator(grammar.env_name)]
EnvSource: TypeAlias = Annotated[str, AfterValidator(grammar.env_source)]
Size: TypeAlias = Annotated[str, AfterValidator(grammar.size)]
Domain: TypeAlias = Annotated[str, AfterValidator(_domain)]
Names: TypeAlias = Annotated[tuple[Name, ...], Field(strict=False)]
Controls: TypeAlias = Annotated[tuple[Control, ...], Field(strict=False)]


class Table(BaseModel):
    """A table of a configuration file: unknown keys and other types than the named ones are errors."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", alias_generator=to_camel, defer_build=True)
