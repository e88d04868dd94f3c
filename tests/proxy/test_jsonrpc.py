"""Framing: what is sent comes back, and nothing hostile costs more than its limit."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perstack_proxy import jsonrpc
from perstack_proxy.jsonrpc import (
    ErrorObject,
    LineSplitter,
    LineTooLongError,
    MessageError,
    Notification,
    Request,
    Response,
)
from perstack_proxy.limits import MessageLimits

LIMITS = MessageLimits(line_bytes=10_000, depth=8, values=100, id_characters=16)

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
objects = st.dictionaries(st.text(), values, max_size=5)
ids = st.integers(-(2**53), 2**53) | st.text(max_size=100)
methods = st.text(min_size=1, max_size=100)
errors = st.builds(ErrorObject, st.integers(), st.text(), values)
messages = (
    st.builds(Request, ids, methods, objects)
    | st.builds(Notification, methods, objects)
    | st.tuples(ids, objects).map(lambda pair: Response(*pair))
    | st.builds(lambda ident, error: Response(ident, None, error), st.none() | ids, errors)
)


@given(messages)
def test_what_is_encoded_is_one_line_and_decodes_to_the_same_message(message):
    line = jsonrpc.encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert jsonrpc.decode(line) == message


def test_a_lone_surrogate_survives_or_becomes_a_question_mark():
    message = Notification("m", {"name": "\udcff", "b\ud800": ["\U0001f600", {"c": "\udfff."}]})
    line = jsonrpc.encode(message)
    assert jsonrpc.decode(line) == message
    assert jsonrpc.decode(line, surrogates=False).params == {"name": "?", "b?": ["\U0001f600", {"c": "?."}]}


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_typed_error(line):
    with contextlib.suppress(MessageError):
        assert jsonrpc.decode(line, limits=LIMITS)


@given(values)
def test_any_json_is_a_message_or_a_typed_error(value):
    with contextlib.suppress(MessageError):
        assert jsonrpc.decode(json.dumps(value).encode())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", "not JSON"),
        (b"\xff", "not UTF-8 at byte 0"),
        (b"7", "not an object"),
        (b"[]", "batches"),
        (b'{"method":"m"}', '"jsonrpc" must be "2.0"'),
        (b'{"jsonrpc":"2.0"}', "no method, result or error"),
        (b'{"jsonrpc":"2.0","id":true,"method":"m"}', '"id" must be'),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"m"}', '"id" must be'),
        (b'{"jsonrpc":"2.0","id":"12345678901234567","method":"m"}', '"id" must be'),
        (b'{"jsonrpc":"2.0","id":9007199254740993,"method":"m"}', '"id" must be'),
        (b'{"jsonrpc":"2.0","id":null,"method":"m"}', "must not be null"),
        (b'{"jsonrpc":"2.0","id":1,"method":""}', '"method" must be'),
        (b'{"jsonrpc":"2.0","id":1,"method":"m","params":[]}', '"params" must be an object'),
        (b'{"jsonrpc":"2.0","id":1,"result":7}', "must be an object"),
        (b'{"jsonrpc":"2.0","id":1,"result":{},"error":{}}', "both a result and an error"),
        (b'{"jsonrpc":"2.0","id":1,"error":{"code":"x","message":"m"}}', "integer"),
        (b'{"jsonrpc":"2.0","id":1,"result":{"x":NaN}}', "NaN is not a JSON number"),
    ],
)
def test_a_malformed_line_is_an_error_that_names_the_reason(line, words):
    with pytest.raises(MessageError, match=r"^[^\n]+$") as caught:
        jsonrpc.decode(line, limits=LIMITS)
    assert words in str(caught.value)


def test_the_error_carries_the_id_of_the_refused_message():
    with pytest.raises(MessageError) as caught:
        jsonrpc.decode(b'{"jsonrpc":"1.0","id":"a"}')
    assert caught.value.id == "a"


def _line(value):
    return json.dumps({"jsonrpc": "2.0", "method": "m", "params": {"x": value}}).encode()


def _nested(depth):
    value = 0
    for _ in range(depth):
        value = [value]
    return value


def test_depth_is_limited_exactly_and_brackets_in_strings_do_not_count():
    jsonrpc.decode(_line(_nested(6)), limits=LIMITS)
    with pytest.raises(MessageError, match="nested deeper than 8"):
        jsonrpc.decode(_line(_nested(7)), limits=LIMITS)
    jsonrpc.decode(_line('[[[[[[[[[[[["\\[[['), limits=LIMITS)


def test_the_number_of_values_is_limited_and_commas_in_strings_do_not_count():
    jsonrpc.decode(_line([0] * 90), limits=LIMITS)
    with pytest.raises(MessageError, match="more than 100 values"):
        jsonrpc.decode(_line([0] * 200), limits=LIMITS)
    jsonrpc.decode(_line("," * 5_000), limits=LIMITS)


def test_a_line_that_python_itself_could_not_parse_is_a_typed_error():
    with pytest.raises(MessageError, match="nested deeper"):
        jsonrpc.decode(b"[" * 100_000)
    with pytest.raises(MessageError, match="more than 500000 values"):
        jsonrpc.decode(b"[" * 1_000_000)
    with pytest.raises(MessageError, match="not JSON"):
        jsonrpc.decode(b'{"jsonrpc":"2.0","id":' + b"9" * 5_000 + b"}")


def test_a_long_line_is_an_error_that_names_the_limit():
    with pytest.raises(LineTooLongError, match="longer than 10000 bytes"):
        jsonrpc.decode(b"x" * 10_001, limits=LIMITS)


@given(st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line)), st.integers(1, 7))
def test_lines_come_out_as_they_went_in_however_they_are_cut(lines, size):
    stream, splitter, found = b"".join(line + b"\n" for line in lines), LineSplitter(20), []
    for start in range(0, len(stream), size):
        splitter.feed(stream[start : start + size])
        while (line := splitter.next_line()) is not None:
            found.append(line)
    assert found == lines
    assert splitter.unfinished == 0


@given(st.lists(st.integers(0, 30), max_size=8), st.integers(1, 50))
def test_a_line_over_the_limit_is_reported_once_and_its_neighbours_are_kept(lengths, size):
    lines = [bytes([65 + number]) * length for number, length in enumerate(lengths)]
    stream, splitter, found = b"".join(line + b"\n" for line in lines), LineSplitter(10), []
    for start in range(0, len(stream), size):
        splitter.feed(stream[start : start + size])
        while True:
            try:
                line = splitter.next_line()
            except LineTooLongError:
                found.append("too long")
                continue
            if line is None:
                break
            found.append(line)
    assert found == [line if len(line) <= 10 else "too long" for line in lines]


def test_an_endless_line_holds_no_more_than_the_limit():
    splitter, reported = LineSplitter(1_000), 0
    for _ in range(100):
        splitter.feed(b"x" * 500)
        try:
            assert splitter.next_line() is None
        except LineTooLongError:
            reported += 1
        assert splitter.unfinished <= 1_500
    assert reported == 1
    splitter.feed(b"\nnext\n")
    assert splitter.next_line() == b"next"
