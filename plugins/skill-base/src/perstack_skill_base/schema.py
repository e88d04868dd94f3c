"""A tool's declaration, and the pieces of JSON Schema that its arguments are written with."""

from __future__ import annotations

from typing import NamedTuple

Schema = dict[str, object]


class Tool(NamedTuple):
    """A tool's declaration.

    Attributes:
        name: What the model calls it.
        description: When to use it, what it returns and what it refuses.
        input_schema: JSON Schema of its arguments.
        read_only: It changes nothing.
        destructive: It may change or remove what was there.
    """

    name: str
    description: str
    input_schema: Schema
    read_only: bool = False
    destructive: bool = False

    def wire(self) -> dict[str, object]:
        """The entry of a `tools/list` result."""
        hints = {
            "readOnlyHint": self.read_only,
            "destructiveHint": self.destructive,
            "openWorldHint": self.name == "exec",
        }
        return {
            "name": self.name,
            "description": self.description,
            "inputSchema": self.input_schema,
            "annotations": hints,
        }


def object_(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    """An object with these members and no others."""
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": list(required)} if required else schema


def text(description: str, longest: int | None = None) -> Schema:
    """A string."""
    schema: Schema = {"type": "string", "description": description}
    return schema if longest is None else {**schema, "maxLength": longest}


def path(description: str) -> Schema:
    """A path."""
    return text(f"{description}; relative to the workspace")


def integer(description: str, least: int | None = 0, most: int | None = None) -> Schema:
    """A whole number within bounds, both included."""
    schema: Schema = {"type": "integer", "description": description}
    schema |= {} if least is None else {"minimum": least}
    return schema | ({} if most is None else {"maximum": most})


def flag(description: str, *, default: bool) -> Schema:
    """True or false."""
    return {"type": "boolean", "description": description, "default": default}


def array(items: Schema, description: str, most: int) -> Schema:
    """A list."""
    return {"type": "array", "items": items, "description": description, "maxItems": most}
