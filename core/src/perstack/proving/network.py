"""The attacks on a sandbox's network, judged by who was reached and what the gate tells."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from perstack.proving.attacks import Attack, listed, number, texts
from perstack.proving.inside import network as inside
from perstack.proving.outside import UNIX

if TYPE_CHECKING:
    from perstack.messages import JsonObject
    from perstack.proving.attacks import Case, Judgement
    from perstack.skill_policy import Control

PRIVATE = (
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.254",
    "192.168.0.1",
    "169.254.169.254",
    "100.100.100.200",
    "192.0.0.192",
    "fd00:ec2::254",
    "2001:db8::1",
)
"""Private and metadata addresses, and one that nobody has. The kernel is asked for a way; nothing is sent."""
TUNNELS = ("10.0.0.1", "127.0.0.1", "0.0.0.0", "169.254.169.254", "[::1]", "[fd00:ec2::254]")  # noqa: S104 - asked for
NOWHERE = "perstack-prove.invalid"
"""The top-level domain is reserved: no name below it exists."""


def unlisted(case: Case) -> str:
    """A host name that no list has, and that tells which skill asked for it."""
    return f"{case.host.mark}-{case.number}.{NOWHERE}"


def _network(case: Case) -> JsonObject:
    return {
        "services": [list(each) for each in case.host.services],
        "udp": [list(each) for each in case.host.udp],
        "abstract": case.host.abstract,
        "mark": case.mark,
    }


def _judge_network(case: Case, report: JsonObject) -> Judgement:
    devices, routes = texts(report, "devices"), texts(report, "routes")
    reached = texts(report, "reached")
    arrived = [place for place in case.host.arrivals(case.number) if place != UNIX]
    if devices or routes:
        yield "network", False, f"it has the network device {listed(sorted({*devices, *routes}))}"
    if reached or arrived:
        yield "network", False, f"it reached this machine: {listed(arrived or reached)}"
    if devices or routes or reached or arrived:
        return
    if not case.host.services:
        yield "network", None, "no service of this machine could be set up that answers"
    else:
        tried = number(report["tried"])
        yield "network", True, f"no device, no route; {tried} services of this machine heard nothing"


def _names(case: Case) -> JsonObject:
    return {"name": unlisted(case)}


def _judge_names(_: Case, report: JsonObject) -> Judgement:
    resolved = texts(report, "resolved")
    if resolved:
        yield "network", False, f"somebody answered for a name that does not exist: {listed(resolved)}"
    else:
        yield "network", True, "nobody answered for a name"


def _private_addresses(_: Case) -> JsonObject:
    return {"addresses": list(PRIVATE)}


def _judge_private_addresses(_: Case, report: JsonObject) -> Judgement:
    routed, tried = texts(report, "routed"), number(report["tried"])
    if routed:
        yield "private-addresses", False, f"there is a way to {listed(routed)}"
    else:
        yield "private-addresses", tried > 0 or None, f"there is no way to any of {tried} addresses"


def _requests(case: Case) -> dict[str, tuple[Control, str]]:
    """What the forwarder has to refuse, and the control that each refusal belongs to."""
    host = case.policy.egress[0].pattern.replace("*.", "perstack-prove.")
    tunnels: dict[str, tuple[Control, str]] = {
        f"a tunnel to {address}": ("private-addresses", f"CONNECT {address}:443 HTTP/1.1\r\nHost: {address}:443\r\n")
        for address in TUNNELS
    }
    name = unlisted(case)
    return {
        "a tunnel to an unlisted host": ("network", f"CONNECT {name}:443 HTTP/1.1\r\nHost: {name}:443\r\n"),
        "a tunnel to another port": ("network", f"CONNECT {host}:80 HTTP/1.1\r\nHost: {host}:80\r\n"),
        "plain HTTP": ("network", f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n"),
        **tunnels,
    }


def _forwarder(case: Case) -> JsonObject:
    return {"requests": {name: f"{request}\r\n" for name, (_, request) in _requests(case).items()}}


def _judge_forwarder(case: Case, report: JsonObject) -> Judgement:
    answers = report["answers"]
    if not isinstance(answers, dict):
        raise TypeError("answers")
    refused: Counter[Control] = Counter()
    for name, (control, _) in _requests(case).items():
        answer = str(answers[name])
        status = [*answer.split(), "", ""][1]
        refused[control] += status.startswith("4")
        if status.startswith("2"):
            yield control, False, f"the forwarder allowed {name}"
        elif not status.startswith("4"):  # silence and a failure of what was let through are no refusals
            yield control, None, f"{name} got {repr(answer) if answer else 'no answer'} in place of a refusal"
    told = unlisted(case) in case.blocked
    for control, count in refused.items():
        evidence = f"{count} requests were refused, and what the gate refuses is on record"
        yield control, told or None, evidence if told else "the gate has no record of a request, so it may not be there"


ATTACKS = (
    Attack(
        name="network",
        program="network",
        controls=("network",),
        arguments=_network,
        judge=_judge_network,
        seconds=30.0,
    ),
    Attack(
        name="names",
        program="network",
        controls=("network",),
        arguments=_names,
        judge=_judge_names,
        seconds=30.0,
        free=lambda: False,
    ),
    Attack(
        name="private_addresses",
        program="network",
        controls=("private-addresses",),
        arguments=_private_addresses,
        judge=_judge_private_addresses,
        free=lambda: bool(inside.private_addresses(list(PRIVATE))["routed"]),  # a host alone has no way itself
    ),
    Attack(
        name="forwarder",
        program="network",
        controls=("network", "private-addresses"),
        arguments=_forwarder,
        judge=_judge_forwarder,
        seconds=30.0,
        applies=lambda policy: bool(policy.egress),
    ),
)
