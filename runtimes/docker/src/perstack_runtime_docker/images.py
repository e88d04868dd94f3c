"""Images through the docker SDK, imported when an image is built, listed or removed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING

from perstack_containers.engine import Image
from perstack_containers.http import EngineFailure

if TYPE_CHECKING:
    from docker import APIClient

BUILD_SECONDS = 1800


class DockerImages:
    """An `ImageStore` of the engine at `address`: the path of a unix socket, or ``tcp://HOST:PORT``."""

    def __init__(self, address: str) -> None:
        self._url = address if address.startswith("tcp://") else f"unix://{address}"

    def build(self, context: bytes, *, tag: str, args: Mapping[str, str], labels: Mapping[str, str]) -> Iterator[str]:
        """The engine's lines while it makes an image."""
        with self._client() as client:
            answers = client.build(
                fileobj=BytesIO(context),
                custom_context=True,
                tag=tag,
                buildargs=dict(args),
                labels=dict(labels),
                network_mode="host",
                rm=True,
                forcerm=True,
                decode=True,
            )
            for answer in answers:
                if "error" in answer:
                    raise EngineFailure(str(answer["error"]))
                line = str(answer.get("stream") or answer.get("status") or "").strip()
                if line:
                    yield line

    def images(self, label: str) -> tuple[Image, ...]:
        """The images that have this label."""
        with self._client() as client:
            rows = client.images(filters={"label": label})
        return tuple(
            Image(id=row["Id"], tags=tuple(row["RepoTags"] or ()), labels=row["Labels"] or {}, size=row["Size"])
            for row in rows
        )

    def remove(self, image: str) -> None:
        """Remove an image that no container uses."""
        with self._client() as client:
            client.remove_image(image)

    @contextmanager
    def _client(self) -> Iterator[APIClient]:
        from docker import APIClient
        from docker.errors import DockerException
        from requests import RequestException

        try:
            client = APIClient(base_url=self._url, version="auto", timeout=BUILD_SECONDS)
            try:
                yield client
            finally:
                client.close()
        except (DockerException, RequestException) as error:
            raise EngineFailure(str(error)) from error
