"""What core itself offers, through the same hooks as any plugin. It is always there and cannot be blocked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

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
    """Offer skills over standard streams. A skill that a person serves needs no transport."""
    return [
        TransportSpec(type="mcpStdioSkill", summary="MCP over a process's standard streams", factory=_stdio),
        TransportSpec(type="mcpSseSkill", summary="MCP over HTTP: not in this version", factory=_remote),
    ]


@hookimpl
def perstack_register_storages() -> Iterable[StorageSpec]:
    """Offer journals as files."""
    return [StorageSpec(scheme="file", summary="A directory on this machine", factory=_files)]


def _stdio() -> Transport:
    from perstack.tools.stdio import StdioTransport

    return StdioTransport()


def _remote() -> Transport:
    from perstack.errors import PluginMissing

    raise PluginMissing(
        "Skills that run elsewhere (type 'mcpSseSkill') need the remote transport, which this version does not have.",
        hint='Start the server as a process instead: type = "mcpStdioSkill".',
    )


def _files(place: str) -> JournalStore:
    from perstack.journal.files import FileStore

    return FileStore(Path(place))
