"""What a journal promises to the process that writes it."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import secrets
import stat
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from perstack.errors import JobNotFound, JournalCorrupt, JournalError, JournalLocked, UsageError
from perstack.journal import blobs, writer
from perstack.journal.files import FileStore, default_state_dir

posix = pytest.mark.skipif(sys.platform == "win32", reason="modes and flock are POSIX")


def event(number: int, **fields: object) -> bytes:
    return json.dumps({"type": "retry", "number": number, **fields}).encode()


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "state")


def filled(store: FileStore, job_id: str, count: int) -> list[bytes]:
    events = [event(number) for number in range(count)]
    journal = store.create(job_id)
    for item in events:
        journal.append(item)
    journal.close()
    return events


def journal_path(store: FileStore, job_id: str) -> Path:
    return store.state_dir / "jobs" / job_id / "journal.jsonl"


def test_what_was_appended_is_read_back_in_order_and_byte_for_byte(store):
    events = [b'{"a": 1.0e2,\t"b":"\\u00e9"}', '{"é":"x"}'.encode(), event(3, text="z" * 20_000)]
    journal = store.create("job-1")
    for item in events:
        journal.append(item)
    head = journal.head
    journal.close()
    records = list(store.read("job-1"))
    assert [record.event for record in records] == events
    assert [record.seq for record in records] == [1, 2, 3]
    assert records[-1].link == head
    lines = journal_path(store, "job-1").read_text("utf-8").splitlines()
    assert [set(json.loads(line)) for line in lines] == [{"seq", "link", "event"}] * 3


def test_a_reopened_journal_goes_on_where_it_stopped(store):
    events = filled(store, "job-1", 3)
    journal = store.reopen("job-1")
    journal.append(event(99))
    journal.close()
    assert [record.event for record in store.read("job-1")] == [*events, event(99)]
    assert store.verify("job-1").records == 4


@posix
def test_AS9_W_27_directories_are_0700_and_files_0600_whatever_the_umask(store):
    before = os.umask(0)
    try:
        journal = store.create("job-1")
        journal.append(event(1, text="z" * 20_000))
        journal.close()
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [store.state_dir, *store.state_dir.rglob("*")]}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
    assert sum(path.is_file() for path in modes) == 3


@posix
def test_AS9_a_state_directory_that_others_can_write_is_refused(store):
    store.state_dir.mkdir(parents=True)
    store.state_dir.chmod(0o777)
    with pytest.raises(JournalError, match="open to other users") as caught:
        store.create("job-1")
    assert "chmod 700" in caught.value.hint
    store.state_dir.chmod(0o755)
    store.create("job-1").close()


@posix
def test_a_symbolic_link_in_place_of_a_journal_is_not_followed(store, tmp_path):
    filled(store, "job-1", 1)
    target = tmp_path / "elsewhere"
    target.write_bytes(journal_path(store, "job-1").read_bytes())
    journal_path(store, "job-1").unlink()
    journal_path(store, "job-1").symlink_to(target)
    with pytest.raises(JournalError):
        store.reopen("job-1")
    with pytest.raises(JournalError):
        list(store.read("job-1"))


@pytest.mark.parametrize("bad", ["../../x", "a/b", "..", ".", "", "a\0b", "a\nb", "-x", "x" * 129, "é", "C:\\x", "a b"])
def test_AO8_W_25_an_id_that_is_no_id_never_becomes_a_path(store, tmp_path, bad):
    filled(store, "good", 1)
    before = sorted(tmp_path.rglob("*"))
    for use in (store.create, store.reopen, store.verify, lambda job_id: list(store.read(job_id))):
        with pytest.raises(UsageError, match="not a job id"):
            use(bad)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_job_id_is_taken_once_and_an_unknown_one_is_named(store):
    filled(store, "job-1", 1)
    with pytest.raises(JournalError, match="'job-1' exists"):
        store.create("job-1")
    for use in (store.reopen, store.verify, lambda job_id: list(store.read(job_id))):
        with pytest.raises(JobNotFound, match="no job 'job-2'"):
            use("job-2")


def test_jobs_are_listed_newest_first_and_strangers_in_the_directory_are_not_jobs(store):
    assert store.jobs() == ()
    for index, job in enumerate(["old", "new", "middle"]):
        filled(store, job, 1)
        os.utime(journal_path(store, job), ns=(0, {0: 1, 1: 3, 2: 2}[index] * 10**9))
    (store.state_dir / "jobs" / "no journal").mkdir()
    (store.state_dir / "jobs" / "empty").mkdir()
    assert store.jobs() == ("new", "middle", "old")


def test_W_40_a_line_that_is_torn_at_any_byte_is_cut_and_all_before_it_is_kept(store):
    events = filled(store, "job-1", 3)
    path = journal_path(store, "job-1")
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, len(whole) - 1) + 1
    for cut in range(last, len(whole)):
        path.write_bytes(whole[:cut])
        assert [record.event for record in store.read("job-1")] == events[:2]
        journal = store.reopen("job-1")
        assert path.stat().st_size == last
        journal.append(event(7))
        journal.close()
        assert [record.event for record in store.read("job-1")] == [*events[:2], event(7)]


@pytest.mark.parametrize("tail", [b"\0" * 700, b"\0" * 700 + b"\n", b'{"seq":4,"link"\n', b"garbage\n"])
def test_W_40_a_last_line_that_a_lost_power_supply_left_is_cut(store, tail):
    events = filled(store, "job-1", 3)
    with journal_path(store, "job-1").open("ab") as file:
        file.write(tail)
    assert [record.event for record in store.read("job-1")] == events
    store.reopen("job-1").close()
    assert store.verify("job-1").records == 3
    assert journal_path(store, "job-1").read_bytes().endswith(b"}\n")


def write_elsewhere(state_dir: Path, job_id: str, outcome: multiprocessing.SimpleQueue[str]) -> None:
    try:
        FileStore(state_dir).reopen(job_id).close()
        outcome.put("wrote")
    except JournalLocked as error:
        outcome.put(f"{error} {error.hint}")


def test_W_40_two_processes_never_write_one_job(store):
    journal = store.create("job-1")
    context = multiprocessing.get_context("spawn")

    def other_process() -> str:
        outcome = context.SimpleQueue()
        process = context.Process(target=write_elsewhere, args=(store.state_dir, "job-1", outcome))
        process.start()
        process.join(60)
        return outcome.get()

    assert store.is_active("job-1")
    refused = other_process()
    assert "Another process is writing job 'job-1'" in refused
    assert "perstack log --job job-1 --follow" in refused
    journal.close()
    assert not store.is_active("job-1")
    assert other_process() == "wrote"


def test_a_reader_sees_what_a_running_job_adds(store):
    journal = store.create("job-1")
    with store.open("job-1") as reader:
        assert list(reader) == []
        journal.append(event(1))
        assert [line.seq for line in reader] == [1]
        journal.append(event(2, text="z" * 20_000))
        assert [record.event for record in store.records("job-1", reader)] == [event(2, text="z" * 20_000)]
        assert list(reader) == []
    journal.close()


@pytest.mark.parametrize("written", [0, 1, 50])
def test_W_40_a_full_disk_leaves_no_part_of_a_record(store, monkeypatch, written):
    journal = store.create("job-1")
    journal.append(event(1))

    def full_disk(descriptor: int, data: bytes) -> None:
        os.write(descriptor, data[:written])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(writer, "write_all", full_disk)
        with pytest.raises(JournalError, match="No space left") as caught:
            journal.append(event(2))
    assert isinstance(caught.value.__cause__, OSError)
    journal.append(event(3))
    journal.close()
    assert [record.event for record in store.read("job-1")] == [event(1), event(3)]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_W_40_a_device_that_is_really_full_is_named_as_the_cause(store):
    journal = store.create("job-1")
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, journal._descriptor)
    os.close(full)
    with pytest.raises(JournalError, match="No space left"):
        journal.append(event(1))


def test_a_blob_that_could_not_be_written_leaves_nothing(store, monkeypatch):
    journal = store.create("job-1")

    def full_disk(descriptor: int, data: bytes) -> None:
        os.write(descriptor, data[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(blobs, "write_all", full_disk)
        with pytest.raises(JournalError, match="No space left"):
            journal.append(event(1, text="z" * 20_000))
    assert [path for path in store.state_dir.rglob("blobs/*/*") if path.is_file()] == []
    journal.append(event(2, text="z" * 20_000))
    journal.close()
    assert store.verify("job-1").records == 1


def test_after_a_failed_sync_nothing_more_is_accepted(store, monkeypatch):
    journal = store.create("job-1")

    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", broken, raising=False)
        patch.setattr(os, "fsync", broken)
        with pytest.raises(JournalError):
            journal.sync()
    with pytest.raises(JournalError, match="takes no more records"):
        journal.append(event(1))
    journal.close()
    journal.close()
    with pytest.raises(JournalError, match="closed"):
        journal.append(event(1))


@pytest.mark.parametrize("bad", [b"", b"[]", b'{"a":1}\n', b'{"a":\n1}', b"null"])
def test_only_a_json_object_on_one_line_is_an_event(store, bad):
    with pytest.raises(ValueError, match="one line"):
        store.create("job-1").append(bad)


def test_the_state_directory_follows_the_environment():
    assert default_state_dir({"PERSTACK_STATE_DIR": "/s", "XDG_STATE_HOME": "/x", "HOME": "/h"}) == Path("/s")
    assert default_state_dir({"PERSTACK_STATE_DIR": "s"}) == Path.cwd() / "s"
    assert default_state_dir({"PERSTACK_STATE_DIR": "~/s"}) == Path.home() / "s"
    if sys.platform != "win32":
        assert default_state_dir({"XDG_STATE_HOME": "/x", "HOME": "/h"}) == Path("/x/perstack")
        assert default_state_dir({"XDG_STATE_HOME": "relative", "HOME": "/h"}) == Path("/h/.local/state/perstack")
    with pytest.raises(UsageError) as caught:
        default_state_dir({})
    assert "PERSTACK_STATE_DIR" in caught.value.hint


@pytest.mark.parametrize("use", [lambda store: store.jobs(), lambda store: store.create("job-1")])
def test_a_state_directory_that_is_a_file_is_named_with_what_to_do(tmp_path, use):
    taken = tmp_path / "file"
    taken.write_text("")
    with pytest.raises(JournalError, match="Not a directory") as caught:
        use(FileStore(taken))
    assert str(taken) in str(caught.value)
    assert "--state-dir" in caught.value.hint
    use(FileStore(tmp_path / "free"))


def test_a_damaged_key_is_named_and_never_replaced(store):
    filled(store, "job-1", 1)
    key = store.state_dir / "journal.key"
    secret = key.read_bytes()
    key.write_bytes(secret[:5])
    with pytest.raises(JournalCorrupt, match="damaged"):
        store.create("job-2")
    key.unlink()
    with pytest.raises(JournalCorrupt, match="missing"):
        store.reopen("job-1")
    key.write_bytes(secret)
    assert store.verify("job-1").records == 1


@settings(max_examples=40, deadline=None)
@given(
    texts=st.lists(
        st.sampled_from(["short", "a" * 8190, "b" * 8193, '"\\' * 5000, "é\0" * 5000, "blob-sha256:" + "0" * 64]),
        max_size=6,
    )
)
def test_long_strings_are_kept_aside_and_come_back_byte_for_byte(tmp_path_factory, texts):
    store = FileStore(tmp_path_factory.mktemp("state"))
    events = [json.dumps({"texts": texts[: index + 1], text: 1}).encode() for index, text in enumerate(texts)]
    journal = store.create("job")
    for item in events:
        journal.append(item)
    journal.close()
    assert [record.event for record in store.read("job")] == events
    kept = [path for path in store.state_dir.rglob("blobs/*/*") if path.is_file()]
    assert len(kept) == len({text for text in texts if text not in ("short", "a" * 8190)})


def test_what_a_killed_process_left_half_written_goes_at_the_next_opening(store):
    journal = store.create("job-1")
    journal.append(event(1, text="z" * 20_000))
    journal.close()
    (blob,) = [path for path in store.state_dir.rglob("blobs/*/*") if path.is_file()]
    leftover = blob.with_name(f"{secrets.token_hex(8)}.tmp")
    leftover.write_bytes(b"half")
    store.reopen("job-1").close()
    assert not leftover.exists()
    assert blob.exists()
