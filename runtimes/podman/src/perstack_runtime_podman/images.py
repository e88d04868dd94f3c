"""Images through the podman SDK, imported when an image is built, listed or removed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING

from perstack_containers.engine import Image
from perstack_containers.http import EngineFailure

if TYPE_CHECKING:
    from podman import PodmanClient

BUILD_SECONDS = 1800


class PodmanImages:
    """An `ImageStore` of the service at `address`."""

    def __init__(self, address: str) -> None:
        self._url = f"unix://{address}"

    def build(self, context: bytes, *, tag: str, args: Mapping[str, str], labels: Mapping[str, str]) -> Iterator[str]:
        """The engine's lines, which this SDK gives when the image is there."""
        with self._client() as client:
            _, lines = client.images.build(
                fileobj=BytesIO(context),
                custom_context=True,
                dockerfile="Dockerfile",
                tag=tag,
                buildargs=dict(args),
                labels=dict(labels),
                network_mode="host",
                outputformat="application/vnd.docker.distribution.manifest.v2+json",
                rm=True,
                forcerm=True,
                timeout=BUILD_SECONDS,
            )
            for line in lines:
                yield from line.decode("utf-8", "replace").splitlines()

    def images(self, label: str) -> tuple[Image, ...]:
        """The images that have this label."""
        with self._client() as client:
            found = client.images.list(filters={"label": label})
            return tuple(
                Image(id=one.id, tags=tuple(one.tags), labels=one.labels, size=one.attrs.get("Size", 0))
                for one in found
            )

    def remove(self, image: str) -> None:
        """Remove an image that no container uses."""
        with self._client() as client:
            client.images.remove(image)

    @contextmanager
    def _client(self) -> Iterator[PodmanClient]:
        from podman import PodmanClient
        from podman.errors import PodmanError
        from requests import RequestException

        try:
            with PodmanClient(base_url=self._url, timeout=BUILD_SECONDS) as client:
                yield client
        except (PodmanError, RequestException) as error:
            raise EngineFailure(str(error)) from error
