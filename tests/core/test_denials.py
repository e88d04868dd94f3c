"""A result tells once of what was kept from its skill."""

from __future__ import annotations

from perstack.events import Event, ProxyAccess
from perstack.sandbox.denials import KEPT, Denials


def blocked(domain: str, *, skill: str = "web", action: str = "blocked") -> ProxyAccess:
    return ProxyAccess(
        id="i", timestamp=0, job_id="j", run_id="r", action=action, domain=domain, port=443, skill_name=skill,
        expert_key="e", code="host", reason="because",
    )  # fmt: skip


def test_a_denial_is_told_once_and_to_its_own_skill_alone() -> None:
    passed: list[Event] = []
    denials = Denials(passed.append)
    for event in (blocked("a.example"), blocked("a.example"), blocked("b.example", action="allowed")):
        denials.notify(event)
    assert len(passed) == 3, "every event goes on"
    assert denials.take("e", "other") == ()
    assert denials.take("e", "web") == ("perstack blocked a connection to a.example:443: because",)
    denials.notify(blocked("a.example"))
    assert denials.take("e", "web") == (), "it was told"


def test_a_flood_of_denials_makes_no_long_result() -> None:
    denials = Denials(lambda _: None)
    for number in range(1000):
        denials.notify(blocked(f"n{number}.example"))
    assert len(denials.take("e", "web")) == KEPT
