"""What hostile skills reach from inside their sandboxes.

One run on each engine makes every attempt, and many tests read what it left: the skills' own answers, the journal, and
what the fake internet saw. Each attempt has its control in the same run: the same skill reaches what it may, and the
servers that it may not reach were reached by the test itself.
"""

from __future__ import annotations

import json
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from egress_attempts import (
    API,
    GATEWAYS,
    METHODS,
    NOT_TLS,
    OTHER_NAME,
    PAGES,
    PLAIN_PORTS,
    PROBES,
    PUBLIC,
    PUBLIC6,
    QUOTA,
    RAW,
    SERVED,
    SMUGGLED,
    SPECIAL,
    UNLISTED,
    WILD,
    WILD_NAMES,
)
from egress_box import EgressBox, egress_box
from engines import ROOT
from perstack.testing.model_server import ModelServer, Turn
from perstack.testing.project import Project, RunResult
from perstack.testing.waiting import eventually

pytestmark = pytest.mark.engine


LATER = 3
"""Further steps: on a busy machine the gate's word of a denial may come after the result of the call, with the next."""


@dataclass(frozen=True, kw_only=True)
class Story:
    """One run, and all that it left."""

    result: RunResult
    answers: dict[str, object]
    internet: object
    controls: frozenset[str]
    secret: str
    journal: str
    swept: list[str]
    everything: str

    @property
    def record(self) -> list[dict]:
        """What the journal has of the gate's decisions; those on perstack's own connections have no skill."""
        return [event for event in self.result.of("proxyAccess") if "sequence" in event]

    def events(self, action: str) -> list[dict]:
        return [event for event in self.record if event["action"] == action]

    def codes(self, domain: str) -> set[str]:
        """What decided on connections to this domain, or to those below it."""
        blocked = [event for event in self.events("blocked") if f".{event['domain']}".endswith(f".{domain}")]
        return {event["code"] for event in blocked}

    def arrived(self, *places: str) -> list[object]:
        """Connections that reached a server at one of these addresses, or with one of these names."""
        return [one for one in self.internet.arrivals if {one.address, one.server_name} & set(places)]


def sandboxes(box: EgressBox) -> None:
    domains = [API, "*.wild.example.com"]
    args = "--start=${HOME}$(id)`id`"
    first = box.skill(extra=f'requiredEnv = ["TOKEN"]\nallowedDomains = {json.dumps(domains)}')
    box.write(
        first.replace('"/workspace/probe.py"]', f'"/workspace/probe.py", {json.dumps(args)}]'),
        box.further("second", 'allowedDomains = ["other.example.net"]'),
        box.further("wild", 'allowedDomains = ["*.many.example.org"]'),
        box.further("without"),
    )


def publish(box: EgressBox) -> frozenset[str]:
    """The servers and names of the run; the addresses that a client inside really reaches."""
    internet = box.internet
    internet.site(API, PUBLIC)
    internet.site("evil.example.org", PUBLIC)
    internet.site("other.example.net", PUBLIC)
    internet.name(API, [PUBLIC])
    internet.serve(PUBLIC6)
    internet.pages |= {path: ("application/json", body) for path, body in PAGES.items()}
    internet.pointer(PUBLIC, API)
    for port in PLAIN_PORTS:
        internet.serve(PUBLIC, port, tls=False)
    for row, addresses in SPECIAL.items():
        for at, address in enumerate(addresses):
            internet.name(f"{row.lower()}-{at}.wild.example.com", [address])
    internet.name("mixed.wild.example.com", [PUBLIC, "10.0.0.1"])
    turns = iter(range(10**6))
    internet.name("flip.wild.example.com", lambda: [PUBLIC] if next(turns) % 2 == 0 else ["10.0.0.1"])
    internet.name("*.many.example.org", [PUBLIC])
    for address in SERVED:
        internet.serve(address)
        internet.connect(address).close()
    for port in (443, *PLAIN_PORTS):
        internet.connect(PUBLIC, port).close()
    tried = len(SERVED) + 1 + len(PLAIN_PORTS)
    eventually(lambda: len(internet.arrivals) >= tried, "the control: every server takes connections")
    return frozenset(f"{one.address}:{one.port}" for one in internet.arrivals)


@pytest.fixture(scope="module")
def story(request, tmp_path_factory) -> Iterator[Story]:
    with ExitStack() as undo:
        box = undo.enter_context(egress_box(tmp_path_factory.mktemp("story"), request.param))
        controls = publish(box)
        sandboxes(box)
        secret = secrets.token_hex(16)
        listening = undo.enter_context(closing(socket.create_server(("0.0.0.0", 0))))
        swept: list[str] = []
        threading.Thread(target=accept, args=(listening, swept), daemon=True).start()
        port = listening.getsockname()[1]
        socket.create_connection(("127.0.0.1", port)).close()
        own = socket.gethostbyname(socket.gethostname())
        places = ("172.17.0.1", "172.18.0.1", "10.88.0.1", "10.0.2.2", "192.168.65.254", own, "169.254.1.1")
        probes = {**PROBES, "gateways": GATEWAYS % (port, places)}
        calls = [box.python(RAW + source) for source in probes.values()]
        calls += [
            box.python(OTHER_NAME + f"result = [get('other.example.net'), denied({API!r})]", "second"),
            box.python("result = [os.environ.get('TOKEN'), denied('evil.example.org')]", "second"),
            box.python(RAW + WILD, "wild"),
            box.python(RAW + f"result = [attempt(lambda: tunnel({API!r})), sorted(os.environ)]", "without"),
        ]
        labels = [*probes, "other list", "other variables", "wild", "without"]
        env = {
            **box.all_env,
            "TOKEN": secret,
            "HTTPS_PROXY": "http://user:word@proxy.invalid:1",
            "https_proxy": "http://user:word@proxy.invalid:1",
            "NO_PROXY": "127.0.0.1,localhost",
        }
        box.internet.forget()
        later = [Turn(calls=[box.python("result = None", "second")])] * LATER
        with ModelServer([Turn(calls=calls), *later, Turn(text="done")]) as server:
            result = box.project.perstack(*box.args(), server=server, env=env, timeout=300)
        assert result.exit_code == 0, result.stderr
        log = box.project.perstack("log", "--network", "--take", "0", env=env)
        kept = [path.read_bytes() for path in box.project.state.rglob("*") if path.is_file()]
        yield Story(
            result=result,
            answers=dict(zip(labels, box.found(result)[:-LATER], strict=True)),
            internet=box.internet,
            controls=controls,
            secret=secret,
            journal=log.stdout,
            swept=swept,
            everything=result.stdout + result.stderr + log.stdout + b"".join(kept).decode("utf-8", "replace"),
        )


def accept(listening: socket.socket, swept: list[str]) -> None:
    while True:
        try:
            client, place = listening.accept()
        except OSError:
            return
        swept.append(place[0])
        client.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "story" in metafunc.fixturenames:
        engines = [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in ("docker", "podman")]
        metafunc.parametrize("story", engines, indirect=True, scope="module")


def test_T10_N1_N4_AN19_nothing_leaves_but_through_the_socket(story) -> None:
    *attempts, last = [one for one in story.answers["direct"] if one != "lo"]
    assert "reached" not in [*attempts, last]
    assert story.answers["direct"][-1] == "lo", "no other interface, and no route"
    assert not [one for one in story.internet.arrivals if one.port != 443]
    assert {f"{PUBLIC}:{port}" for port in PLAIN_PORTS} <= story.controls, "the control: those servers take connections"
    assert story.answers["reached"] == "hello"


def test_T10_N2_C1_AN13_exactly_the_listed_names_are_reached_in_any_spelling(story) -> None:
    assert story.answers["unlisted"] == [[403, "host"]] * len(UNLISTED)
    assert not story.arrived("evil.example.org", "wild.example.com")
    assert not story.internet.asked() & set(UNLISTED), "nobody even asks for them"
    assert story.answers["spellings"] == ["hello", "hello"]


def test_N3_AN3_the_model_is_asked_from_outside_and_no_skill_reaches_its_provider(story) -> None:
    assert story.answers["provider"] == [[403, "host"]] * 4
    assert story.codes("api.openai.com") == {"host"}, "it is on record"
    assert story.result.answer == "done", "the control: the model was asked, although no list names it"


def test_N5_N7_Q15_every_request_but_CONNECT_is_refused(story) -> None:
    assert set(story.answers["methods"]) <= {"403", "400"}
    assert len(story.answers["methods"]) == len(METHODS)
    assert story.answers["ports"] == [[403, "port"]] * len(PLAIN_PORTS)
    assert not [one for one in story.internet.arrivals if one.port != 443]


def test_N6_AN2_AN12_a_tunnel_carries_TLS_to_the_host_that_was_asked_for_and_nothing_else(story) -> None:
    assert story.answers["not tls"] == [[200, "150303"]] * len(NOT_TLS), "each is answered with a TLS alert"
    assert not story.arrived("evil.example.org")
    assert not [one for one in story.internet.arrivals if b"SSH" in one.data or bytes(range(100)) in one.data]
    expected = {"other-server-name", "no-server-name", "hidden-server-name", "not-tls"}
    assert expected <= story.codes(API)
    told = json.dumps(story.result.values("resolveToolResults", "toolResults", "*", "result", "*", "text"))
    assert "the server name 'evil.example.org' is not the 'other.example.net' that was asked for" in told


@pytest.mark.parametrize("row", list(SPECIAL))
def test_N8_N9_N10_N11_N12_N13_N14_N15_C8_AN5_a_name_that_leads_to_a_special_address_is_refused(story, row) -> None:
    assert story.answers["special"][row] == [[403, "address"]] * len(SPECIAL[row])
    served = [address for address in SPECIAL[row] if address in SERVED]
    assert not [one for one in story.arrived(*served) if one.address != "127.0.0.1" or one.port == 443]
    assert {f"{address}:443" for address in served} <= story.controls, "the control: the server takes connections"
    if row != "AN5":
        assert [event for event in story.events("blocked") if event["domain"] == f"{row.lower()}-0.wild.example.com"]


def test_N11_N12_AN1_an_address_in_any_spelling_is_no_name_whatever_its_owner_calls_it(story) -> None:
    assert set(story.answers["literals"]) <= {"403", "400"}
    assert not [query for query in story.internet.queries if query.type == "PTR"]
    assert not story.arrived("169.254.169.254", "::1")


def test_N16_AN14_a_name_that_changes_between_check_and_connection_never_reaches_a_private_address(story) -> None:
    assert story.answers["mixed"] == [403, "address"]
    assert not story.arrived("10.0.0.1"), "whatever each of the answers was"
    assert "10.0.0.1:443" in story.controls
    assert {event["domain"] for event in story.record} >= {"flip.wild.example.com"}


def test_AN4_neither_the_host_nor_a_gateway_is_reached(story) -> None:
    assert "reached" not in story.answers["gateways"]
    assert story.swept == ["127.0.0.1"], "the control alone"


def test_AN6_AN8_AN9_no_name_server_hears_of_a_name_that_nobody_listed(story) -> None:
    *attempts, configured = story.answers["dns"]
    assert "reached" not in attempts
    assert configured == ""
    listed = (API, ".wild.example.com", ".many.example.org", "other.example.net")
    assert [name for name in story.internet.asked() if not name.endswith(listed)] == []
    assert API in story.internet.asked(), "the control: listed names are looked up"


def test_AN7_names_below_a_wildcard_are_counted_and_have_a_depth(story) -> None:
    codes, deep = story.answers["wild"]
    assert deep == [403, "wildcard-depth"]
    assert codes["open"] == 100
    assert codes["wildcard-names"] == WILD_NAMES - 100
    assert len([name for name in story.internet.asked() if name.endswith(".many.example.org")]) == 100
    assert "wildcard-names" in story.codes("many.example.org")


def test_AN10_a_skill_does_not_have_the_list_of_another(story) -> None:
    assert story.answers["other list"] == ["hello", [403, "host"]]
    reached, names_inside = story.answers["without"]
    assert reached == "ConnectionRefusedError", "without domains there is nothing to connect to"
    assert not [name for name in names_inside if "proxy" in name.lower()]
    assert {event["skillName"] for event in story.events("allowed")} == {"probe", "second", "wild"}


def test_AN12_AN20_an_upload_stops_at_its_quota_and_every_byte_is_on_record(story) -> None:
    _, how = story.answers["upload"]
    assert how == "stopped"
    uploaded = max(one.count for one in story.internet.arrivals)
    assert QUOTA // 2 < uploaded <= QUOTA
    ends = [event for event in story.events("closed") if event.get("bytesUp", 0) > QUOTA // 2]
    assert [event["reason"] for event in ends] == ["bytes"]
    page = (ROOT / "docs" / "operating" / "egress.md").read_text()
    assert "**Time and size** of allowed connections can carry data" in page, "what stays is written down"


def test_AN18_what_parsers_could_read_differently_opens_nothing(story) -> None:
    assert story.answers["smuggled"] == [0] * len(SMUGGLED)
    assert not story.arrived("evil.example.org")


def test_AN21_ordinary_clients_reach_an_allowed_host_and_no_other(story) -> None:
    for client, (allowed, denied) in story.answers["clients"].items():
        assert allowed[0] == 0, (client, allowed)
        assert denied[0] != 0, (client, denied)
    assert not story.arrived("evil.example.org")


def test_AN21_the_hosts_own_proxies_reach_no_sandbox(story) -> None:
    values = story.answers["environment"]
    assert {value for name, value in values.items() if name.lower() != "no_proxy"} <= {"http://127.0.0.1:3128", "1"}
    assert values["NO_PROXY"] == values["no_proxy"] == ""
    assert "proxy.invalid" not in story.everything


def test_Q9_every_decision_is_in_the_journal_with_skill_reason_bytes_and_time(story) -> None:
    for event in story.record:
        assert event["skillName"]
        assert event["timestamp"] > 0
        assert event.get("reason") or event["action"] == "allowed"
    numbers = [event["sequence"] for event in story.record]
    assert numbers == sorted(set(numbers))
    shown = [line for line in story.journal.splitlines() if "probe: " in line or "second: " in line]
    assert f"allowed {API}:443" in story.journal
    assert "blocked evil.example.org:443" in story.journal
    assert len(shown) > len(UNLISTED)
    assert not [event for event in story.result.of("dockerContainerStatus") if event["status"] == "unhealthy"]


def test_Q12_Q14_Q16_a_secret_is_with_its_skill_and_in_no_message_name_or_record(story) -> None:
    assert [one for one in story.internet.arrivals if story.secret in " ".join(one.requests)], "the control: it has it"
    assert story.answers["other variables"][0] is None, "another skill does not"
    assert story.answers["secret"][0] == [403, "host"]
    assert story.secret not in story.everything
    assert not [name for name in story.internet.asked() if story.secret in name]


def test_AC7_nothing_is_interpolated_on_the_way_to_a_sandbox(story) -> None:
    assert story.answers["arguments"] == ["--start=${HOME}$(id)`id`"]


BAD_DOMAINS = (
    *(
        "${HOME}.example.com",
        "$HOME",
        "api.example.com\\nevil.example.org",
        "*",
        "*.com",
        "com",
        "*.co.uk",
        "localhost",
    ),
    *("169.254.169.254", "2130706433", "https://api.example.com", "api.example.com:80", "a_b.com", "a.*.com"),
)


def test_AC7_AN13_a_domain_that_is_none_is_refused_before_anything_starts(tmp_path: Path) -> None:
    project = Project(tmp_path, "")

    def expert(name: str, domain: str) -> str:
        skill = f'[experts.{name}.skills.s]\ntype = "mcpStdioSkill"\ncommand = "true"\nallowedDomains = ["{domain}"]\n'
        return f'[experts.{name}]\ninstruction = "x"\n{skill}'

    project.write("".join(expert(f"e{at}", domain) for at, domain in enumerate(BAD_DOMAINS)))
    refused = project.perstack("check")
    assert refused.exit_code != 0
    for at in range(len(BAD_DOMAINS)):
        assert f"experts.e{at}." in refused.stderr + refused.stdout, BAD_DOMAINS[at]
    project.write(expert("fine", "api.example.com"))
    assert project.perstack("check").exit_code == 0, "the control"
