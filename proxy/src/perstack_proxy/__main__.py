"""The command `perstack-proxy`: the gate, the forwarder, Squid's file, and a look at one verdict."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from perstack_proxy.limits import POLICY_LINE_BYTES

if TYPE_CHECKING:
    import argparse

EXIT_DENIED = 1
EXIT_USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code of the command; what a person has to know is on standard error."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if len(words) == 3 and words[0] == "forward" and words[2].isdecimal():
            return _forward(words[1], int(words[2]))  # it starts with every skill, and argparse takes 10 ms
        options = _parser().parse_args(words)
        if options.command == "forward":
            return _forward(options.socket, options.port, sys.stdin.readline().strip() if options.offer else "")
        return {"gate": _gate, "squid-config": _squid_config, "check": _check}[options.command](options)
    except (OSError, OverflowError, ValueError, RuntimeError) as error:
        print(f"perstack-proxy {words[0]}: {error}", file=sys.stderr)  # noqa: T201 - a command speaks
        return EXIT_USAGE
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    import argparse

    parser = argparse.ArgumentParser(prog="perstack-proxy", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    gate = commands.add_parser("gate", help="serve the policy on stdin; grants follow it, audit lines go to stdout")
    gate.add_argument("--squid", metavar="PROGRAM", help="go through this Squid instead of connecting directly")
    gate.add_argument("--folder", default="", help="existing folder for Squid's file; required with --squid")
    forward = commands.add_parser("forward", help="lead a port on loopback to the gate's socket")
    forward.add_argument("socket", help="the unix socket of the gate")
    forward.add_argument("port", type=int, nargs="?", default=3128, help="0 picks a free one; the port is printed")
    forward.add_argument("--offer", action="store_true", help="give the port to the gate, with its key from stdin")
    commands.add_parser("squid-config", help="print Squid's file for the policy on stdin")
    check = commands.add_parser("check", help="say what the policy on stdin says of a host, and which line says so")
    check.add_argument("skill", help="the skill's name in the policy")
    check.add_argument("target", nargs="+", metavar="HOST[:PORT]")
    return parser


def _gate(options: argparse.Namespace) -> int:
    import contextlib
    import threading

    from perstack_proxy.audit import Audit, AuditLost
    from perstack_proxy.control import ControlError, read_grant, read_policy
    from perstack_proxy.dialer import DirectDialer
    from perstack_proxy.gate import Gate
    from perstack_proxy.parent import ParentDialer
    from perstack_proxy.squid_process import SquidProcess

    # glibc waits 5 s for each name server, twice; a client should know within that time.
    os.environ.setdefault("RES_OPTIONS", "timeout:2 attempts:2")
    control = sys.stdin.buffer
    policy = read_policy(control.readline(POLICY_LINE_BYTES))
    gate: Gate | None = None
    audit = Audit(_write_stdout, on_lost=lambda: gate.stop() if gate else None)
    with contextlib.ExitStack() as undo:
        direct = DirectDialer() if policy.parent is None else ParentDialer(policy.parent)
        squid = None
        if options.squid:
            squid = SquidProcess(options.squid, options.folder, policy, audit=audit)
            undo.callback(squid.stop)
        gate = Gate(policy.listeners, audit=audit, dialer=squid.dialer if squid else lambda _: direct)
        undo.callback(gate.close)
        if squid:
            audit.line("listening")  # clients may come, and wait until Squid answers
            squid.start()
        audit.line("ready", skills=[listener.rules.name for listener in policy.listeners])
        serving = gate

        def obey() -> None:
            while line := control.readline(POLICY_LINE_BYTES):
                try:
                    serving.switch(read_grant(line))
                except ControlError as error:
                    with contextlib.suppress(AuditLost):
                        audit.line("refused", reason=str(error))
                except AuditLost:
                    break
            serving.stop()

        threading.Thread(target=obey, daemon=True).start()
        gate.run()
    return 0


def _write_stdout(line: bytes) -> None:
    view = memoryview(line)
    while view:
        view = view[os.write(1, view) :]


def _forward(path: str, port: int, key: str = "") -> int:
    from perstack_proxy.forward import Forwarder

    forwarder = Forwarder(path, port=port)
    _write_stdout(f"{forwarder.port}\n".encode())
    forwarder.run(key)
    return 0


def _squid_config(_: argparse.Namespace) -> int:
    from perstack_proxy.control import read_policy
    from perstack_proxy.squid import squid_config

    _write_stdout(squid_config(read_policy(sys.stdin.buffer.readline(POLICY_LINE_BYTES))).encode())
    return 0


def _check(options: argparse.Namespace) -> int:
    from perstack_proxy.connect import read_authority
    from perstack_proxy.control import read_policy
    from perstack_proxy.rules import decide

    listeners = read_policy(sys.stdin.buffer.readline(POLICY_LINE_BYTES)).listeners
    skill = next((listener.rules for listener in listeners if listener.rules.name == options.skill), None)
    if skill is None:
        raise ValueError(f"the policy has no skill {options.skill!r}")
    denied = False
    for target in options.target:
        host, port = read_authority(target if ":" in target else f"{target}:443")
        verdict = decide(skill, host, port)
        denied |= not verdict.allowed
        where = f" ({verdict.rule} at {verdict.origin or 'unknown'})" if verdict.rule else ""
        _write_stdout(f"{verdict.code} {host}:{port}{where} {verdict.reason}".rstrip().encode() + b"\n")
    return EXIT_DENIED if denied else 0


if __name__ == "__main__":
    sys.exit(main())
