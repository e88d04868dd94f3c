"""A difference from the lock is shown so that a person can read it, and shows nothing that a terminal obeys."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from perstack.locking.changes import LINES, locked_tools, package_changes, tool_changes
from perstack.locking.lockfile import NpmPackage, PackageSet, PypiPackage
from perstack.protocols import SkillTool


def tool(name: str = "read", description: str = "Reads a file.", **schema: object) -> SkillTool:
    return SkillTool(name=name, description=description, input_schema={"type": "object", **schema})


def changes(before: list[SkillTool], now: list[SkillTool]) -> tuple[str, ...]:
    return tool_changes(locked_tools(before), locked_tools(now))


def test_the_same_tools_in_another_order_are_no_change() -> None:
    assert changes([tool("a"), tool("b")], [tool("b"), tool("a")]) == ()
    assert changes([tool(a=1, b=2)], [tool(b=2, a=1)]) == ()


def test_every_part_of_a_tool_that_changed_is_shown() -> None:
    lines = changes([tool(properties={"path": {}})], [tool(description="Sends a file.", properties={"to": {}})])
    assert lines[0] == "tool 'read' changed:"
    assert "  - Reads a file." in lines
    assert "  + Sends a file." in lines
    assert any('"path"' in line and line.startswith("  -") for line in lines)
    assert any('"to"' in line and line.startswith("  +") for line in lines)


def test_tools_that_came_and_went_are_shown() -> None:
    lines = changes([tool("old")], [tool("new", description="Hello")])
    assert lines == ("tool 'new' is new:", "  + Hello", "tool 'old' is gone:", "  - Reads a file.")


@given(st.text())
def test_no_difference_holds_what_a_terminal_obeys_or_a_line_that_is_not_ours(text) -> None:
    for line in changes([tool()], [tool(description=f"x\n\x1b[2J\u202e{text}", name="read")]):
        assert "\x1b" not in line
        assert "\u202e" not in line
        assert "\n" not in line
        assert line.startswith(("tool 'read'", "  "))


def test_a_difference_is_bounded() -> None:
    lines = changes([tool()], [tool(f"t{number}") for number in range(1000)])
    assert len(lines) == LINES + 1
    assert lines[-1].startswith("… and ")


def npm(version: str, hashed: str = "A") -> PackageSet:
    integrity = f"sha512-{hashed * 86}=="
    return PackageSet(npm=(NpmPackage(path="node_modules/p", name="p", version=version, integrity=integrity),))


def test_AC2_a_version_that_was_published_again_is_told_apart_from_a_new_version() -> None:
    assert package_changes(npm("1.0.0"), npm("1.0.0")) == ()
    assert package_changes(npm("1.0.0"), npm("1.0.1", "B")) == ("package p: 1.0.0 became 1.0.1",)
    again = package_changes(npm("1.0.0"), npm("1.0.0", "B"))
    assert again[0] == "package p 1.0.0 was published again with other content:"
    assert [line.strip()[:10] for line in again[1:]] == ["- sha512-A", "+ sha512-B"]
    other = PackageSet(python="3.11", pypi=(PypiPackage(name="q", version="1", wheels={}),))
    assert package_changes(npm("1.0.0"), other) == ("package p 1.0.0 is gone", "package q 1 is new")
