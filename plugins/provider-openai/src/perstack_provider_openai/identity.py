"""Tokens of Microsoft Entra ID in place of a key, by the vendor's own library, imported when the first is needed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from importlib import import_module
from typing import Protocol

from perstack.errors import ConfigError, Problem, ProviderError
from perstack.model_http import Authorise


class _Token(Protocol):
    token: str


class _Credential(Protocol):
    def get_token(self, scope: str) -> _Token: ...


def bearer_of(scope: str) -> Authorise:
    """The header of each request; the library keeps a token for as long as it is valid.

    Raises:
        ConfigError: The library is not installed.
    """
    try:
        library = import_module("azure.identity")
    except ImportError:
        hint = "pip install 'perstack-provider-openai[azure]', or set AZURE_API_KEY and leave auth out."
        raise ConfigError([Problem(message='auth = "identity" needs azure-identity.', hint=hint)]) from None
    credential: _Credential = library.DefaultAzureCredential()

    async def authorise(_url: str, _body: bytes) -> Mapping[str, str]:
        try:
            token = await asyncio.to_thread(credential.get_token, scope)
        except Exception as error:
            raise ProviderError(f"Azure gave no token: {type(error).__name__}.", hint="Try: az login") from error
        return {"authorization": f"Bearer {token.token}"}

    return authorise
