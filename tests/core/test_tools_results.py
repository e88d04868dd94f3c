"""What a server's answer becomes for the model."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perstack.messages import FilePart, ImagePart, TextPart, text_of
from perstack.tools.results import TEXT_CHARACTERS, bounded, shortened, to_outcome

PNG = base64.b64encode(b"\x89PNG").decode()


def parts(*content: object, **more: object):
    return to_outcome({"content": list(content), **more}).contents


@pytest.mark.parametrize(
    ("content", "mime"),
    [
        (b"\xff\xd8\xff\xe0 jpeg", "image/jpeg"),
        (b"GIF89a gif", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"<svg/>", None),
        (b"RIFF\0\0\0\0WAVE", None),
        (b"", None),
    ],
)
def test_an_image_has_the_type_of_its_content_and_what_is_none_is_left_out(content, mime) -> None:
    (part,) = parts({"type": "image", "data": base64.b64encode(content).decode(), "mimeType": "image/png"})
    if mime is None:
        assert part == TextPart(text="[image left out: its content is no PNG, JPEG, GIF or WebP image]")
    else:
        assert part == ImagePart(encoded_data=base64.b64encode(content).decode(), mime_type=mime)


def test_text_arrives_as_it_is() -> None:
    assert parts({"type": "text", "text": "a\n\x1b b"}) == (TextPart(text="a\n\x1b b"),)


def test_an_image_arrives_as_an_image() -> None:
    assert parts({"type": "image", "data": PNG, "mimeType": "image/png"}) == (
        ImagePart(encoded_data=PNG, mime_type="image/png"),
    )


@pytest.mark.parametrize(
    ("entry", "mime"),
    [
        ({"type": "audio", "data": PNG, "mimeType": "audio/wav"}, "audio/wav"),
        ({"type": "image", "data": PNG, "mimeType": "image/svg+xml"}, "image/svg+xml"),
        (
            {"type": "resource", "resource": {"uri": "a:b", "blob": PNG, "mimeType": "application/pdf"}},
            "application/pdf",
        ),
        ({"type": "resource", "resource": {"uri": "a:b", "blob": PNG}}, "application/octet-stream"),
        ({"type": "image", "data": PNG}, "application/octet-stream"),
        ({"type": "image", "data": PNG, "mimeType": "image/\x1b[31m"}, "application/octet-stream"),
    ],
)
def test_W_41_bytes_of_other_types_arrive_as_files(entry, mime) -> None:
    assert parts(entry) == (FilePart(encoded_data=PNG, mime_type=mime),)


def test_W_18_links_and_resources_with_text_are_text_and_nothing_is_opened() -> None:
    link = {"type": "resource_link", "uri": "file:///etc/passwd", "name": "pw\u202e", "description": "x"}
    resource = {"type": "resource", "resource": {"uri": "memo://1", "text": "hello"}}
    shown = text_of(parts(link, resource))
    assert "file:///etc/passwd" in shown
    assert "\\u202e" in shown
    assert "[resource memo://1]\nhello" in shown


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("text", "not an object"),
        ({"type": "text"}, "not a string"),
        ({"type": "image", "mimeType": "image/png"}, "no data"),
        ({"type": "image", "data": "no base64!", "mimeType": "image/png"}, "not base64"),
        ({"type": "image", "data": "A" * (21 * 1024 * 1024), "mimeType": "image/png"}, "larger than"),
        ({"type": "resource", "resource": "x"}, "not an object"),
        ({"type": "resource", "resource": {}}, "no data"),
        ({"type": "hologram"}, "'hologram' is unknown"),
        ({}, "no type"),
    ],
)
def test_W_10_malformed_content_is_named_in_its_place(entry, reason) -> None:
    first, last = parts(entry, {"type": "text", "text": "the rest"})
    assert first.text.startswith("[")
    assert reason in first.text
    assert last.text == "the rest"


def test_structured_content_stands_in_where_there_is_no_text() -> None:
    outcome = to_outcome({"structuredContent": {"sum": 3}})
    assert outcome.structured == {"sum": 3}
    assert json.loads(text_of(outcome.contents)) == {"sum": 3}
    assert parts({"type": "text", "text": "three"}, structuredContent={"sum": 3}) == (TextPart(text="three"),)


@pytest.mark.parametrize(("flag", "failed"), [(True, True), (False, False), (None, False), ("true", False), (1, False)])
def test_a_result_is_an_error_only_when_the_server_says_so(flag, failed) -> None:
    assert to_outcome({"content": [], "isError": flag}).is_error is failed


@pytest.mark.parametrize("result", [{}, {"content": []}, {"content": [{"type": "text", "text": ""}]}])
def test_silence_is_said_and_is_no_error(result) -> None:
    outcome = to_outcome(result)
    assert bounded(outcome.contents) == (TextPart(text="(no output)"),)
    assert not outcome.is_error


def test_halves_of_characters_are_replaced() -> None:
    assert parts({"type": "text", "text": "a\ud800b"}) == (TextPart(text="a?b"),)


def test_AM7_a_long_text_keeps_its_beginning_and_its_end_and_says_what_is_missing() -> None:
    (part,) = bounded((TextPart(text="A" * 150_000 + "Z" * 150_000),))
    assert len(part.text) < TEXT_CHARACTERS + 100
    assert part.text.startswith("AAA")
    assert part.text.endswith("ZZZ")
    assert "200000 of 300000 characters left out" in part.text


def test_all_texts_of_a_result_share_one_limit() -> None:
    cut = bounded(tuple(TextPart(text=str(n) * 1000) for n in range(5)), limit=2500)
    assert [len(part.text) for part in cut[:2]] == [1000, 1000]
    assert all("left out" in part.text for part in cut[2:])


def test_more_parts_than_anyone_needs_are_left_out_with_their_number() -> None:
    shown = parts(*({"type": "text", "text": "x"} for _ in range(1500)))
    assert len(shown) == 1001
    assert "500 further parts" in shown[-1].text


@given(st.text(max_size=60), st.integers(0, 80))
def test_a_shortened_text_is_the_text_or_its_two_ends(text, limit) -> None:
    short = shortened(text, limit)
    if len(text) <= limit:
        assert short == text
    else:
        head, _, tail = short.partition("\n[… ")
        assert text.startswith(head)
        assert text.endswith(tail.partition(" …]\n")[2])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["content", "structuredContent", "isError", "x"]), json_values))
def test_W_10_no_answer_of_a_server_raises(result) -> None:
    to_outcome(result)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["type", "text", "data", "mimeType", "resource", "uri", "name", "blob"]),
            json_values | st.sampled_from(["text", "image", "audio", "resource", "resource_link"]),
        )
    )
)
def test_W_10_no_content_of_a_server_raises(content) -> None:
    for part in to_outcome({"content": content}).contents:
        assert isinstance(part, TextPart | ImagePart | FilePart)
