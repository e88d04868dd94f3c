"""What shows when somebody else had a hand in a journal, and how much room an honest one takes."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from perstack.errors import JournalCorrupt, JournalError
from perstack.journal.chain import Line, decode_line, encode_line, first_link, next_link
from perstack.journal.files import FileStore


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "state")


def fill(store: FileStore, job_id: str, count: int = 5) -> tuple[Path, list[bytes], str]:
    """The journal's path, its lines and its head."""
    journal = store.create(job_id)
    for number in range(count):
        text = "z" * 20_000 if number == 2 else "short"
        journal.append(json.dumps({"type": "retry", "number": number, "text": text}).encode())
    journal.close()
    path = store.state_dir / "jobs" / job_id / "journal.jsonl"
    return path, path.read_bytes().splitlines(keepends=True), journal.head


def assert_refused(store: FileStore, job_id: str, *, intact: int) -> None:
    reader = store.read(job_id)
    assert [next(reader).seq for _ in range(intact)] == list(range(1, intact + 1))
    with pytest.raises(JournalCorrupt):
        next(reader)
    with pytest.raises(JournalCorrupt):
        store.verify(job_id)
    with pytest.raises(JournalCorrupt):
        store.reopen(job_id)


def test_AO5_an_untouched_journal_verifies_to_the_head_that_its_writer_had(store):
    path, lines, head = fill(store, "job-1")
    verified = store.verify("job-1", head)
    assert (verified.records, verified.head, verified.head_at) == (5, head, 5)
    assert path.read_bytes() == b"".join(lines)


def test_AO6_an_edited_record_is_refused_wherever_it_stands(store):
    path, lines, _ = fill(store, "job-1")
    for index in range(len(lines)):
        changed = lines[index].replace(b'"number": ', b'"number":1')
        assert changed != lines[index]
        path.write_bytes(b"".join([*lines[:index], changed, *lines[index + 1 :]]))
        assert_refused(store, "job-1", intact=index)
    path.write_bytes(b"".join(lines))
    assert store.verify("job-1").records == 5


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_AO6_any_changed_byte_before_the_last_record_is_detected(tmp_path_factory, data):
    store = FileStore(tmp_path_factory.mktemp("state"))
    path, lines, head = fill(store, "job", 4)
    content = bytearray(b"".join(lines))
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with pytest.raises(JournalCorrupt):
        store.verify("job", head)
    # With the line break before the last record, the rest is one line that is torn, as after a lost power supply.
    if position < len(content) - len(lines[-1]) - 1:
        with pytest.raises(JournalCorrupt):
            list(store.read("job"))


def test_AO5_a_record_that_was_dropped_repeated_or_moved_is_detected(store):
    path, lines, _ = fill(store, "job-1")
    dropped, repeated, swapped = [lines[0], *lines[2:]], [lines[0], *lines], [lines[1], lines[0], *lines[2:]]
    for arranged, intact in ((lines[1:], 0), (dropped, 1), (repeated, 1), (swapped, 0)):
        path.write_bytes(b"".join(arranged))
        assert_refused(store, "job-1", intact=intact)


def test_AO5_records_cut_off_the_end_show_to_whoever_kept_the_head(store):
    path, lines, head = fill(store, "job-1")
    for kept in range(5):
        path.write_bytes(b"".join(lines[:kept]))
        assert store.verify("job-1").records == kept
        with pytest.raises(JournalCorrupt, match="removed from its end"):
            store.verify("job-1", head)
    path.write_bytes(b"".join(lines))
    assert store.verify("job-1", head).head_at == 5


def test_AO5_a_head_that_was_kept_holds_after_the_job_went_on(store):
    _, _, head = fill(store, "job-1")
    journal = store.reopen("job-1")
    journal.append(b'{"type":"retry"}')
    journal.close()
    verified = store.verify("job-1", head)
    assert (verified.head_at, verified.records) == (5, 6)
    assert verified.head == journal.head != head


def test_AO6_a_record_forged_without_the_key_is_refused(store):
    path, lines, _ = fill(store, "job-1")
    last = decode_line(lines[-1])
    assert last is not None
    event = b'{"type":"completeRun","text":"forged"}'
    for key in (b"", bytes(32)):
        forged = encode_line(Line(6, next_link(key, last.link, 6, event), event))
        path.write_bytes(b"".join([*lines, forged]))
        assert_refused(store, "job-1", intact=5)
    real = (store.state_dir / "journal.key").read_bytes()
    path.write_bytes(b"".join([*lines, encode_line(Line(6, next_link(real, last.link, 6, event), event))]))
    assert store.verify("job-1").records == 6


def test_AO6_a_journal_is_not_taken_for_that_of_another_job_or_installation(store, tmp_path):
    path, _, _ = fill(store, "job-1")
    (store.state_dir / "jobs" / "job-2").mkdir(mode=0o700)
    shutil.copy(path, store.state_dir / "jobs" / "job-2" / "journal.jsonl")
    assert_refused(store, "job-2", intact=0)
    other = FileStore(tmp_path / "other")
    fill(other, "job-1")
    shutil.copytree(path.parent, other.state_dir / "jobs" / "job-1", dirs_exist_ok=True)
    assert_refused(other, "job-1", intact=0)
    assert store.verify("job-1").records == 5


def test_AO6_a_changed_or_missing_blob_is_refused(store):
    _, _, head = fill(store, "job-1")
    (blob,) = [path for path in (store.state_dir / "jobs" / "job-1" / "blobs").rglob("*") if path.is_file()]
    content = blob.read_bytes()
    blob.write_bytes(content.replace(b"z", b"y", 1))
    with pytest.raises(JournalCorrupt, match="was changed"):
        store.verify("job-1", head)
    blob.unlink()
    with pytest.raises(JournalCorrupt, match="is missing"):
        list(store.read("job-1"))
    blob.write_bytes(content)
    assert store.verify("job-1", head).records == 5


def test_AO6_a_text_that_looks_like_a_reference_stays_that_text(store):
    journal = store.create("job-1")
    secret = b'{"type":"retry","text":"%s"}' % (b"s" * 9000)
    journal.append(secret)
    path = store.state_dir / "jobs" / "job-1" / "journal.jsonl"
    stored = decode_line(path.read_bytes())
    assert stored is not None
    reference = json.loads(stored.event)["text"]
    forged = json.dumps({"type": "retry", "text": reference, reference: 1}).encode()
    journal.append(forged)
    journal.close()
    assert [record.event for record in store.read("job-1")] == [secret, forged]


def test_the_first_link_depends_on_key_and_job():
    assert len({first_link(key, job) for key in (b"a" * 32, b"b" * 32) for job in ("x", "y")}) == 4


def test_a_journal_that_cannot_be_read_is_an_error_with_its_cause(store, monkeypatch):
    fill(store, "job-1")
    path = store.state_dir / "jobs" / "job-1" / "journal.jsonl"
    path.unlink()
    path.mkdir()
    with pytest.raises(JournalError) as caught:
        list(store.read("job-1"))
    assert caught.value.__cause__ is not None


def test_W_39_a_hundred_steps_take_under_a_megabyte_and_growth_is_linear(store):
    image = "A" * 50_000
    sizes = []
    journal = store.create("job-1")
    for step in range(1000):
        for kind in (
            "startGeneration",
            "callTools",
            "finishToolExecution",
            "finishToolExecution",
            "continueToNextStep",
        ):
            text = image if kind == "finishToolExecution" else "word " * 100
            journal.append(msgspec.json.encode({"type": kind, "id": f"{step:024}", "text": text}))
        if step % 100 == 99:
            sizes.append(sum(path.stat().st_size for path in store.state_dir.rglob("*") if path.is_file()))
    journal.close()
    growth = [after - before for before, after in itertools.pairwise(sizes)]
    assert sizes[0] < 1_000_000
    assert max(growth) < 1.05 * min(growth)
    assert sum(1 for _ in store.read("job-1")) == 5000
