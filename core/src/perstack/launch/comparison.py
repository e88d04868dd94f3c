"""Which controls each runtime claims, and which of them it enforces on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import anyio
from perstack_proxy.sanitise import sanitise_line

from perstack.errors import PerstackError
from perstack.ids import new_id
from perstack.protocols import SandboxRequest
from perstack.skill_policy import BUILT_IN, CONTROLS, Control, SkillPolicy
from perstack.specs import RuntimeContext

if TYPE_CHECKING:
    from perstack.specs import RuntimeSpec

Standing = Literal["enforced", "not here", "unknown", "not claimed"]
SECONDS = 600.0
"""For one runtime; a first sandbox may need its image made."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeStanding:
    """One runtime on this machine.

    Attributes:
        problem: Why none of its sandboxes can be opened here; empty where one was.
        controls: What became of each control.
    """

    name: str
    summary: str
    problem: str
    controls: dict[Control, Standing]


async def compare(specs: Iterable[RuntimeSpec]) -> tuple[RuntimeStanding, ...]:
    """Each runtime after a sandbox of it was opened, asked what holds, and closed again."""
    return tuple([await _standing(spec) for spec in specs])


async def _standing(spec: RuntimeSpec) -> RuntimeStanding:
    enforced: frozenset[Control] | None = None
    try:
        with anyio.fail_after(SECONDS):
            problem, enforced = await _tried(spec)
    except TimeoutError:
        problem = f"no sandbox was there after {SECONDS:g} s"
    except PerstackError as error:
        problem = str(error)
    except Exception as error:  # noqa: BLE001 - a runtime of a plugin
        problem = f"it failed: {type(error).__name__}: {error}"
    return RuntimeStanding(
        name=spec.name,
        summary=spec.summary,
        problem=sanitise_line(problem),
        controls={control: _stands(control, spec, enforced) for control in CONTROLS},
    )


def _stands(control: Control, spec: RuntimeSpec, enforced: frozenset[Control] | None) -> Standing:
    if control not in spec.claims:
        return "not claimed"
    if enforced is None:
        return "unknown"
    return "enforced" if control in enforced else "not here"


async def _tried(spec: RuntimeSpec) -> tuple[str, frozenset[Control] | None]:
    """Why it does not work here, or what a sandbox of it enforces."""
    with tempfile.TemporaryDirectory(prefix="perstack-") as name:
        place = Path(name)
        workspace = place / "workspace"
        workspace.mkdir()
        runtime = spec.factory(
            RuntimeContext(run_id=new_id(), job_id="runtimes", state_dir=place, notify=lambda _: None)
        )
        problems = (await runtime.preflight()).problems
        if problems:
            return " ".join(map(str, problems)), None
        policy = SkillPolicy(expert="runtimes", skill="runtimes", kind="mcpStdioSkill", origin=BUILT_IN, argv=("true",))
        async with runtime.open(SandboxRequest(policy=policy, env={}, workspace=workspace)) as sandbox:
            return "", sandbox.enforced
