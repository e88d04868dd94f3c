"""AWS's signature on each request, made by botocore, which is imported with the first one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Protocol, TypeAlias

from perstack.errors import ConfigError, Problem, ProviderError
from perstack.model_http import Authorise

SERVICE = "bedrock"


class Credentials(Protocol):
    """What the signer needs; those of a profile renew themselves when they are frozen."""

    def get_frozen_credentials(self) -> object:
        """The keys as they are now."""
        ...


Find: TypeAlias = Callable[[], Credentials]


def static(access_key: str, secret_key: str, token: str | None) -> Find:
    """Credentials that were given."""

    def find() -> Credentials:
        made: Credentials = import_module("botocore.credentials").Credentials(access_key, secret_key, token)
        return made

    return find


def of_profile(name: str) -> Find:
    """Credentials of a profile in AWS's own files: keys, roles, SSO, or a process that gives them.

    Raises:
        ConfigError: There is no such profile, or nothing in it.
    """

    def find() -> Credentials:
        errors = import_module("botocore.exceptions")
        try:
            found: Credentials | None = import_module("botocore.session").Session(profile=name).get_credentials()
        except errors.BotoCoreError as error:
            raise ConfigError([Problem(message=f"AWS profile {name!r}: {error}", hint="See: aws configure")]) from None
        if found is None:
            raise ConfigError([Problem(message=f"AWS profile {name!r} has no credentials.", hint="See: aws configure")])
        return found

    return find


def signer(find: Find, region: str) -> Authorise:
    """The headers of each request: its date, its signature, and the session's token where there is one."""
    lock = asyncio.Lock()
    found: list[Credentials] = []

    def sign(url: str, body: bytes) -> Mapping[str, str]:
        if not found:
            found.append(find())
        request = import_module("botocore.awsrequest").AWSRequest(
            method="POST", url=url, data=body, headers={"content-type": "application/json"}
        )
        import_module("botocore.auth").SigV4Auth(found[0].get_frozen_credentials(), SERVICE, region).add_auth(request)
        headers = {str(name): str(value) for name, value in request.headers.items()}
        return {name: value for name, value in headers.items() if name.lower() != "content-type"}

    async def authorise(url: str, body: bytes) -> Mapping[str, str]:
        async with lock:
            try:
                return await asyncio.to_thread(sign, url, body)
            except (ConfigError, ProviderError):
                raise
            except Exception as error:
                name = type(error).__name__
                raise ProviderError(
                    f"AWS gave no credentials ({name}).", hint="See: aws sts get-caller-identity"
                ) from error

    return authorise
