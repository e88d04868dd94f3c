"""Perstack's base tools: files, exec, todo and completion, as an MCP server on the standard library alone."""

__version__ = "0.1.0"
