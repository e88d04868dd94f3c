"""What core itself offers, through the same hooks as any plugin. It is always there and cannot be blocked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from perstack.hookspecs import hookimpl
from perstack.specs import StorageSpec, TransportSpec

if TYPE_CHECKING:
    from perstack.messages import JsonValue
    from perstack.protocols import JournalStore, Transport


@hookimpl(trylast=True)
def perstack_parse_config(data: bytes) -> Mapping[str, JsonValue]:
    """Read TOML, the format of ``perstack.toml``."""
    import tomli

    return tomli.loads(data.decode("utf-8-sig"))


@hookimpl
def perstack_register_transports() -> Iterable[TransportSpec]:
    """Offer skills over standard streams and over https. A skill that a person serves needs no transport."""
    return [
        TransportSpec(type="mcpStdioSkill", summary="MCP over a process's standard streams", factory=_stdio),
        TransportSpec(type="mcpHttpSkill", summary="MCP over Streamable HTTP", factory=lambda: _remote("http")),
        TransportSpec(type="mcpSseSkill", summary="MCP over HTTP+SSE, as it was", factory=lambda: _remote("sse")),
    ]


@hookimpl
def perstack_register_storages() -> Iterable[StorageSpec]:
    """Offer journals as files."""
    return [StorageSpec(scheme="file", summary="A directory on this machine", factory=_files)]


def _stdio() -> Transport:
    from perstack.tools.stdio import StdioTransport

    return StdioTransport()


def _remote(kind: Literal["http", "sse"]) -> Transport:
    try:
        from perstack.tools.remote.transport import RemoteTransport
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"mcp", "mcp_types"}:
            raise
        from perstack.errors import PluginMissing

        raise PluginMissing(
            "Skills that run elsewhere need the package 'mcp', which is not installed.",
            hint="pip install 'perstack-core[remote]'",
        ) from None
    return RemoteTransport(kind)


def _files(place: str) -> JournalStore:
    from perstack.journal.files import FileStore

    return FileStore(Path(place))
