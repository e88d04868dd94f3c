"""What is fuzzed with atheris at the gate: parsers of what a skill sends, and the file that Squid reads.

    python tests/support/fuzz_egress.py TARGET [-max_total_time=SECONDS] [further options of libFuzzer]

A target raises when a property does not hold; the only errors that it lets pass are those that the parser promises.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import atheris

with atheris.instrument_imports(include=["perstack_proxy"]):
    from perstack_proxy import clienthello, connect, control, patterns, squid

PLAIN = squid.squid_config(control.Policy((control.Listener(control.SkillRules(name="n"), "/n"),))).splitlines()


def request(data: bytes) -> None:
    """A request is read in one spelling, and a piece of it is never another request."""
    try:
        found = connect.read_connect(data)
    except connect.ConnectError:
        return
    if found is None:
        return
    assert patterns.normalise(found.host) == found.host
    assert 0 < found.port < 65536
    spelled = f"CONNECT {found.host}:{found.port} HTTP/1.1\r\n\r\n".encode()
    assert connect.read_connect(spelled) == (found.host, found.port, len(spelled))
    for end in range(0, found.length, 7):
        assert connect.read_connect(data[:end]) is None


def hello(data: bytes) -> None:
    """What is read does not depend on how it is cut."""
    cut, data = (data[0] + 1 if data else 1), data[1:]
    assert outcome([data]) == outcome([data[at : at + cut] for at in range(0, len(data), cut)])


def outcome(pieces: list[bytes]) -> object:
    reader = clienthello.HelloReader()
    try:
        for piece in pieces:
            if (found := reader.feed(piece)) is not None:
                return found
    except clienthello.HelloError as error:
        return error.code
    return None


def pattern(data: bytes) -> None:
    """An accepted pattern prints as it is parsed, and covers no address and no name above it."""
    try:
        found = patterns.parse(data.decode("utf-8", "replace"), punycode=True)
    except patterns.PatternError:
        return
    assert patterns.parse(str(found), punycode=True) == found
    assert found.matches(f"x.{found.host}") == found.wildcard
    assert not found.matches(found.host.partition(".")[2])
    assert connect.is_host_name(found.host)


def squid_file(data: bytes) -> None:
    """Whatever the domains are, they change no line but their own."""
    domains = data.decode("utf-8", "replace").split("\x1f")[:4]
    skill = {"name": "n", "socket": "/n", "rules": [{"pattern": domain} for domain in domains]}
    try:
        policy = control.read_policy(json.dumps({"type": "policy", "version": 1, "skills": [skill]}).encode())
    except control.ControlError:
        return
    lines = squid.squid_config(policy).splitlines()
    own = ("acl exact0 dstdomain -n ", "acl below0 dstdom_regex -n -i ^", "http_access deny from0")
    rest = [line for line in lines if not line.startswith(own)]
    assert rest == [line for line in PLAIN if not line.startswith(own)]
    assert len([line for line in lines if line.startswith("http_access")]) == 6


TARGETS: dict[str, Callable[[bytes], None]] = {
    "request": request,
    "hello": hello,
    "pattern": pattern,
    "squid": squid_file,
}

if __name__ == "__main__":
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]])
    atheris.Fuzz()
