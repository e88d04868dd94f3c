"""What a skill makes others read: cut, counted and made safe."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from perstack.sandbox.stderr import ShortLines
from perstack.sandbox.throttle import BURST_LINES, LINES_PER_SECOND, TOTAL_LINES, Throttle


class Clock:
    """A clock that the test winds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.binary(max_size=30), max_size=20))
def test_lines_do_not_depend_on_how_bytes_arrive(chunks) -> None:
    whole, pieces = ShortLines(limit=12), ShortLines(limit=12)
    data = b"".join(chunks)
    at_once = [*whole.feed(data), whole.flush()]
    in_pieces = [line for chunk in chunks for line in pieces.feed(chunk)] + [pieces.flush()]
    assert at_once == in_pieces


def test_AO4_a_long_line_keeps_its_beginning_and_says_what_is_missing() -> None:
    lines = ShortLines(limit=4)
    assert list(lines.feed(b"abcdef")) == []
    assert list(lines.feed(b"ghi\nnext\n")) == ["abcd… [5 more bytes]", "next"]


def test_AO2_bytes_that_are_no_text_and_hidden_characters_are_shown() -> None:
    assert list(ShortLines().feed(b"a\xff\x1b[31m\xe2\x80\xaeb\r\n")) == ["a\\ufffd\\x1b[31m\\u202eb"]


def test_AO4_a_flood_passes_at_a_rate_and_the_rest_is_counted() -> None:
    clock, told = Clock(), []
    throttle = Throttle(told.append, clock=clock)
    for _ in range(BURST_LINES + 7):
        throttle.pass_on("x")
    assert told == ["x"] * BURST_LINES
    clock.now += 1
    throttle.pass_on("y")
    assert told[BURST_LINES:] == ["… 7 lines suppressed", "y"]
    throttle.close()
    assert told[BURST_LINES:] == ["… 7 lines suppressed", "y"]


def test_AO4_a_flood_that_never_ends_comes_to_an_end() -> None:
    clock, told = Clock(), []
    throttle = Throttle(told.append, clock=clock)
    for _ in range(2 * TOTAL_LINES):
        clock.now += 1 / LINES_PER_SECOND
        throttle.pass_on("x")
    assert told == ["x"] * TOTAL_LINES
    throttle.close()
    assert told[-1] == f"… {TOTAL_LINES} lines suppressed"
