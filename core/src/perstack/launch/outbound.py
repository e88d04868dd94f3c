"""The way of perstack's own connections in one job, each of which is an event."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from perstack.events import ProxyAccess

if TYPE_CHECKING:
    from perstack.engine.recorder import Recorder
    from perstack.protocols import Access


def recording(recorder: Recorder) -> Callable[[Access], None]:
    """What is told of a connection to the model, before anything is sent over it."""

    def record(access: Access) -> None:
        recorder.record(
            ProxyAccess(
                **recorder.stamp(recorder.job_id),
                action="allowed" if access.allowed else "blocked",
                domain=access.domain,
                port=access.port,
                reason=access.reason,
            )
        )

    return record
