"""editTextFile and writeTextFile change exactly what was asked for, whole or not at all."""

from __future__ import annotations

import os
import stat
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize("new", ["$&", "$'", "$$", "$1", "\\1", "\\n", "{0}", "%s"])
def test_AF14_W_57_the_new_text_is_literal(server, workspace, new):
    (workspace / "f").write_text("a OLD b")
    server.ok("editTextFile", path="f", oldText="OLD", newText=new)
    assert (workspace / "f").read_text() == f"a {new} b"


def test_AF14_the_old_text_is_literal(server, workspace):
    (workspace / "f").write_text("axb a.b")
    server.ok("editTextFile", path="f", oldText="a.b", newText="c")
    assert (workspace / "f").read_text() == "axb c"


def test_AF14_W_57_line_endings_stay_as_they_are(server, workspace):
    file = workspace / "f"
    file.write_bytes(b"one\r\ntwo\r\nthree\nfour\r\n")
    server.ok("editTextFile", path="f", oldText="one\ntwo\n", newText="1\n2\n2b\n")
    assert file.read_bytes() == b"1\r\n2\r\n2b\r\nthree\nfour\r\n"
    server.ok("editTextFile", path="f", oldText="three\n", newText="3\n")
    assert file.read_bytes() == b"1\r\n2\r\n2b\r\n3\nfour\r\n"


def test_AF14_W_57_a_line_that_is_new_in_a_file_of_windows_lines_ends_as_they_do(server, workspace):
    file = workspace / "f"
    file.write_bytes(b"one\r\ntwo\r\n")
    server.ok("editTextFile", path="f", oldText="two", newText="2\n3")
    assert file.read_bytes() == b"one\r\n2\r\n3\r\n"
    server.ok("editTextFile", path="f", oldText="one\n", newText="")
    assert file.read_bytes() == b"2\r\n3\r\n"
    server.ok("editTextFile", path="f", oldText="\r\n", newText="\n", replaceAll=True)
    assert file.read_bytes() == b"2\n3\n", "who names a line break means it"


def test_AF14_bytes_that_are_no_text_stay_as_they_are(server, workspace):
    file = workspace / "f"
    file.write_bytes(b"\xef\xbb\xbf\xff\xfe old \x80")
    server.ok("editTextFile", path="f", oldText="old", newText="new")
    assert file.read_bytes() == b"\xef\xbb\xbf\xff\xfe new \x80"


def test_W_57_an_ambiguous_text_is_refused_with_its_lines(server, workspace):
    file = workspace / "f"
    file.write_text("x = 1\ny\nx = 1\n")
    kind, message = server.refused("editTextFile", path="f", oldText="x = 1", newText="z")
    assert kind == "NotUnique"
    assert "2 times" in message
    assert "lines 1, 3" in message
    assert file.read_text() == "x = 1\ny\nx = 1\n"
    assert server.ok("editTextFile", path="f", oldText="x = 1", newText="z", replaceAll=True)["replacements"] == 2
    assert file.read_text() == "z\ny\nz\n"
    (workspace / "overlap").write_text("aaa")
    assert server.refused("editTextFile", path="overlap", oldText="aa", newText="b")[0] == "NotUnique"


def test_a_text_that_is_not_there_or_empty_is_refused(server, workspace):
    (workspace / "f").write_text("abc")
    assert "copy the text exactly" in server.refused("editTextFile", path="f", oldText="abd", newText="x")[1]
    assert server.refused("editTextFile", path="f", oldText="", newText="x")[0] == "InvalidArguments"


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755, 0o4755])
def test_the_mode_is_kept_and_set_uid_is_not(server, workspace, mode):
    file = workspace / "f"
    file.write_text("old")
    file.chmod(mode)
    server.ok("editTextFile", path="f", oldText="old", newText="new")
    server.ok("writeTextFile", path="f", text="newer")
    assert stat.S_IMODE(file.stat().st_mode) == mode & 0o777


def test_a_reader_sees_the_old_text_or_the_new_one_and_nothing_is_left_over(server, workspace):
    file = workspace / "f"
    texts = {"a" * 200_000, "b" * 100_000}
    file.write_text("a" * 200_000)
    seen, stop = set(), threading.Event()

    def read():
        while not stop.is_set():
            seen.add(file.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(20):
            for text in texts:
                server.ok("writeTextFile", path="f", text=text)
    finally:
        stop.set()
        reader.join()
    assert seen <= texts
    assert os.listdir(workspace) == ["f"]


def test_AF14_parallel_edits_of_one_file_are_all_in_it(server, workspace):
    file = workspace / "f"
    file.write_text("".join(f"<{number:02}>\n" for number in range(50)))
    idents = [
        server.begin("editTextFile", path="f", oldText=f"<{number:02}>", newText=f"[{number:02}]")
        for number in range(50)
    ]
    for ident in idents:
        assert not server.finish(ident).is_error
    assert file.read_text() == "".join(f"[{number:02}]\n" for number in range(50))


def test_a_file_over_the_limit_is_refused(server, workspace):
    file = workspace / "f"
    file.write_text("needle" + "x" * (10 * 1024 * 1024))
    assert server.refused("editTextFile", path="f", oldText="needle", newText="n")[0] == "TooLarge"
    os.truncate(file, 10 * 1024 * 1024)
    server.ok("editTextFile", path="f", oldText="needle", newText="n")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    before=st.text(max_size=30),
    old=st.text(min_size=1, max_size=10),
    new=st.text(max_size=10),
    after=st.text(max_size=30),
)
def test_AF14_any_unique_text_is_replaced_exactly(server, workspace, before, old, new, after):
    text = before + old + after
    (workspace / "f").write_bytes(text.encode())
    if "\r" not in old + new and 0 < text.count("\n") == text.count("\r\n"):
        old, new = old.replace("\n", "\r\n"), new.replace("\n", "\r\n")
    places = [start for start in range(len(text)) if text.startswith(old, start)]
    result = server.call("editTextFile", path="f", oldText=old, newText=new)
    if len(places) == 1:
        assert (workspace / "f").read_bytes() == (before + new + after).encode()
    else:
        assert result["error"] == ("NotUnique" if places else "NotFound")
        assert (workspace / "f").read_bytes() == text.encode()
