from __future__ import annotations

import base64
import itertools
import json
import secrets
import urllib.parse

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from perstack import events, messages
from perstack.redaction import Redactor

CANARY = "s3cr3t/+&" + secrets.token_urlsafe(12)
REDACTOR = Redactor({"API_KEY": CANARY})

secret_values = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x24F), min_size=12, max_size=40).filter(
    lambda value: value == value.strip() and not Redactor({"NAME": value}).too_common
)


def variants(value: str) -> list[str]:
    data = value.encode()
    return [
        value,
        base64.b64encode(data).decode(),
        base64.urlsafe_b64encode(data).decode().rstrip("="),
        urllib.parse.quote(value, safe=""),
        urllib.parse.quote_plus(value),
        data.hex(),
        data.hex().upper(),
        json.dumps(value)[1:-1],
        json.dumps(json.dumps(value))[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
    ]


def test_AO3_a_secret_is_replaced_by_its_name_and_the_rest_of_the_text_is_kept():
    assert REDACTOR.text(f"key={CANARY}; path=/tmp") == "key=[redacted:API_KEY]; path=/tmp"
    assert REDACTOR.text("key=other; path=/tmp") == "key=other; path=/tmp"


@given(value=secret_values, before=st.text(max_size=20), after=st.text(max_size=20))
def test_AO3_Q14_no_common_form_of_a_secret_survives_in_text_or_json(value, before, after):
    redactor = Redactor({"NAME": value})
    for form in variants(value):
        text = f"{before}{form}{after}"
        assert form not in redactor.text(text)
        data = redactor.json(msgspec.json.encode({"type": "x", "args": {text: [text, 1, None]}}))
        (key,) = msgspec.json.decode(data)["args"]
        assert form not in key
        assert form not in msgspec.json.decode(data)["args"][key][0]


@given(value=secret_values, before=st.binary(max_size=7), after=st.binary(max_size=7))
def test_AO3_a_secret_inside_a_longer_base64_text_leaves_at_most_the_bits_it_shares(value, before, after):
    redactor = Redactor({"NAME": value})
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        shown = redactor.text(encode(before + value.encode() + after).decode())
        assert "[redacted:NAME]" in shown
        decoded = base64.b64decode(shown.replace("-", "+").replace("_", "/").partition("[")[0] + "====")
        assert value.encode()[:2] not in decoded[len(before) :]


@given(text=st.text(), pad=st.integers(0, 3))
def test_AO3_redaction_is_stable_so_live_and_resumed_histories_are_the_same_bytes(text, pad):
    data = msgspec.json.encode({"text": text + CANARY[:-pad] if pad else text + CANARY})
    once = REDACTOR.json(data)
    assert REDACTOR.json(once) == once
    assert Redactor({"API_KEY": CANARY}).json(data) == once


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=9))
def test_json_without_a_secret_comes_back_byte_for_byte(value):
    data = msgspec.json.encode({"value": msgspec.json.encode(value).decode()})
    assert REDACTOR.json(data) == data


@given(
    pieces=st.lists(st.sampled_from([CANARY, CANARY[:5], CANARY[-6:], "x", "other words "]), max_size=6),
    cuts=st.lists(st.integers(0, 200), max_size=12),
)
def test_AO3_a_secret_split_over_deltas_is_redacted_as_in_one_piece(pieces, cuts):
    redactor = Redactor({"API_KEY": CANARY, "OVERLAP": CANARY[-6:] + "other words"})
    text = "".join(pieces)
    stream = redactor.stream()
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    shown = [stream.feed(text[start:end]) for start, end in itertools.pairwise(edges)]
    assert "".join([*shown, stream.flush()]) == redactor.text(text)
    assert all(CANARY not in piece for piece in shown)


def test_a_stream_holds_back_only_what_may_be_the_beginning_of_a_secret():
    stream = REDACTOR.stream()
    assert stream.feed("hello ") == "hello "
    assert stream.feed(CANARY[:4]) == ""
    assert stream.feed("!") == f"{CANARY[:4]}!"
    assert Redactor({}).stream().feed(CANARY[:4]) == CANARY[:4]


def test_AO3_overlapping_secrets_leave_no_part_of_either():
    redactor = Redactor({"A": "abcdefgh1234", "B": "1234zzzzyyyy"})
    assert redactor.text("<abcdefgh1234zzzzyyyy>") == "<[redacted:A]>"
    assert Redactor({"SHORT": "hunter2-hunter2", "LONG": "hunter2-hunter2-more"}).text("hunter2-hunter2-more") == (
        "[redacted:LONG]"
    )


def test_values_under_eight_characters_are_reported_and_left_alone():
    redactor = Redactor({"FLAG": "true", "EMPTY": "", "SPACES": "   ", "KEY": CANARY})
    assert redactor.too_short == ("FLAG",)
    assert redactor.text(f"true {CANARY}") == "true [redacted:KEY]"


def test_words_of_events_and_public_texts_are_reported_and_left_alone():
    redactor = Redactor({"MODE": "completed", "ROOT": "/srv/project", "KEY": CANARY}, public=["/srv/project/sub"])
    assert redactor.too_common == ("MODE", "ROOT")
    assert (
        redactor.json(b'{"status":"completed","cwd":"/srv/project"}') == b'{"status":"completed","cwd":"/srv/project"}'
    )
    assert redactor.text(CANARY) == "[redacted:KEY]"


def test_every_literal_that_an_event_can_hold_counts_as_its_word():
    literals = set()
    for struct in (*vars(events).values(), *vars(messages).values()):
        if isinstance(struct, type) and issubclass(struct, messages.Wire):
            for field in msgspec.inspect.type_info(struct).fields:
                if isinstance(field.type, msgspec.inspect.LiteralType):
                    literals.update(value for value in field.type.values if len(value) >= 8)
    assert literals
    assert set(Redactor({literal: literal for literal in literals}).too_common) == literals


def test_AO3_a_private_key_is_found_line_by_line_and_its_frame_is_not_a_secret():
    lines = [secrets.token_hex(32) for _ in range(3)]
    key = "\n".join(["-----BEGIN PRIVATE KEY-----", *lines, "-----END PRIVATE KEY-----"])
    for value in (key, key.replace("\n", "\r\n"), json.dumps({"private_key": key})):
        redactor = Redactor({"PEM": value})
        shown = redactor.text(f"-----BEGIN PRIVATE KEY-----\n  {lines[1]}\n")
        assert shown == "-----BEGIN PRIVATE KEY-----\n  [redacted:PEM]\n"
        assert not any(line in redactor.text(key) for line in lines)
    wrapped = base64.encodebytes(key.encode()).decode()
    assert not any(len(line) == 76 and line in Redactor({"PEM": key}).text(wrapped) for line in wrapped.splitlines())


def test_AO3_json_that_escapes_a_secret_differently_is_redacted_too():
    escaped = "".join(f"\\u{ord(char):04x}" for char in CANARY)
    assert REDACTOR.json(b'{"a":"%s"}' % escaped.encode()) == b'{"a":"[redacted:API_KEY]"}'
    assert REDACTOR.json(b'{"a":"%s"}' % CANARY.replace("/", "\\/").encode()) == b'{"a":"[redacted:API_KEY]"}'


def test_AO3_a_secret_number_is_redacted_as_a_whole_and_time_stamps_stay_numbers():
    redactor = Redactor({"PIN": "17638155"})
    assert redactor.json(b'{"timestamp":1763815568000,"pin":17638155}') == (
        b'{"timestamp":1763815568000,"pin":"[redacted:PIN]"}'
    )


def test_a_secret_that_is_its_own_name_is_not_shown_by_the_replacement():
    assert Redactor({"SAME_NAME": "SAME_NAME"}).text("x SAME_NAME y") == "x [redacted] y"
    assert Redactor({"R": "redacted"}).text("x redacted y") == "x […] y"


@pytest.mark.parametrize("value", ["caf\udce9-\udcff-binary-value", "half\ud800-of-a-character"])
def test_AO3_a_value_that_is_no_text_is_redacted_as_programs_print_it(value):
    redactor = Redactor({"RAW": value})
    assert redactor.text(f"<{value}>") == "<[redacted:RAW]>"
    if value.startswith("caf"):
        printed = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        assert redactor.json(msgspec.json.encode({"a": printed})) == b'{"a":"[redacted:RAW]"}'
