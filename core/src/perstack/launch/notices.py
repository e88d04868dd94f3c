"""What a person has to know before a run: what is not enforced, not redacted, not read, not loaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from perstack.policy.provider_tools import told
from perstack.sandbox.gaps import unenforced

if TYPE_CHECKING:
    from perstack.launch.plan import RunPlan


def notices(plan: RunPlan) -> tuple[str, ...]:
    """One line each, without values of secrets."""
    return (
        *(f"{problem}" for problem in plan.loaded.ignored),
        *_not_redacted(plan),
        *_not_enforced(plan),
        *_provider_tools(plan),
    )


def _not_redacted(plan: RunPlan) -> Iterator[str]:
    for name in plan.redactor.too_short:
        yield f"The value of {name} is too short to be redacted; it will be shown where it occurs."
    for name in plan.redactor.too_common:
        yield f"The value of {name} is a common word, so it is not redacted; it will be shown where it occurs."


def _not_enforced(plan: RunPlan) -> Iterator[str]:
    gaps = {policy: unenforced(policy, plan.runtime.claims) for policy in plan.decision.skills if policy.argv}
    if not any(gaps.values()):
        return
    claims = ", ".join(sorted(plan.runtime.claims)) or "nothing"
    yield f"Runtime {plan.runtime.name!r} enforces {claims}, and nothing else of the policy:"
    for policy, lines in gaps.items():
        for line in lines:
            yield f"  {policy.expert} / {policy.skill}: {line}"


def _provider_tools(plan: RunPlan) -> Iterator[str]:
    for key, tools in plan.provider_tools.items():
        for line in told(tools):
            yield f"Provider tool of {key}: {line}"
