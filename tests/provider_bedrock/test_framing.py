"""AWS's framing: what is whole is read however it arrives, and what is damaged is an error."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from perstack.errors import ConfigError
from perstack.specs import ProviderContext
from perstack.testing.model_server.bedrock_converse import framed
from perstack_provider_bedrock.framing import decoded, messages
from perstack_provider_bedrock.plugin import MODELS
from perstack_provider_bedrock.provider import server_url

WHOLE = framed({":event-type": "metadata", ":message-type": "event"}, b'{"a": 1}')


class Body:
    """A response that arrives in pieces."""

    def __init__(self, data: bytes, size: int) -> None:
        self._pieces = [data[start : start + size] for start in range(0, len(data), size)]

    async def aiter_raw(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


async def read(data: bytes, *, size: int = 4096, most: int = 1000) -> list[str]:
    return [message.data async for message in messages(Body(data, size), most)]


@pytest.mark.parametrize("size", [1, 7, 12, 4096])
async def test_messages_may_arrive_in_any_pieces(size: int) -> None:
    assert await read(WHOLE * 3, size=size) == ['{"a": 1}'] * 3


@pytest.mark.parametrize("position", range(0, len(WHOLE), 5))
async def test_one_damaged_byte_is_an_error(position: int) -> None:
    damaged = bytearray(WHOLE)
    damaged[position] ^= 1
    with pytest.raises(ValueError, match=r"damaged|checksum|limit|shorter"):
        await read(bytes(damaged))


async def test_a_long_message_is_refused_before_it_is_read() -> None:
    with pytest.raises(ValueError, match="over the 20 byte limit"):
        await read(WHOLE[:12], most=20)


@pytest.mark.parametrize("headers", [b"\x05ab", b"\x01a\x07\x00\x09x", b"\x01a\x00"])
def test_headers_that_are_none_are_an_error(headers: bytes) -> None:
    import binascii
    import struct

    head = struct.pack("!II", 16 + len(headers), len(headers))
    message = head + struct.pack("!I", binascii.crc32(head)) + headers
    with pytest.raises(ValueError, match="header"):
        decoded(message + struct.pack("!I", binascii.crc32(message)))


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("eu-central-1", "bedrock-runtime.eu-central-1.amazonaws.com"),
        ("us-gov-west-1", "bedrock-runtime.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "bedrock-runtime.cn-north-1.amazonaws.com.cn"),
        ("eusc-de-east-1", "bedrock-runtime.eusc-de-east-1.amazonaws.eu"),
    ],
)
def test_the_region_decides_the_host(region: str, host: str) -> None:
    named = ProviderContext(settings={}, env={"AWS_REGION": region}, cache_dir=Path("unused"))
    assert server_url(named) == f"https://{host}"


@pytest.mark.parametrize("region", ["", "evil.example/", "us-east-1.evil.example#", "US-EAST-1", "x@y-1"])
def test_a_region_that_is_none_never_becomes_an_address(region: str) -> None:
    with pytest.raises(ConfigError, match="region"):
        server_url(ProviderContext(settings={}, env={"AWS_REGION": region}, cache_dir=Path("unused")))


@pytest.mark.parametrize("model", ["eu.anthropic.claude-haiku-4-5-20251001-v1:0", "anthropic.claude-haiku-4-5"])
def test_a_model_is_known_in_every_region_and_version(model: str) -> None:
    info = MODELS.get(model)
    assert info is not None
    assert info.max_output == 64_000


def test_registering_imports_nothing_heavy() -> None:
    code = (
        "import sys, perstack_provider_bedrock.plugin as p; p.perstack_register_providers();"
        "print(sorted({'httpx2', 'anyio', 'asyncio', 'msgspec', 'pydantic', 'botocore'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
