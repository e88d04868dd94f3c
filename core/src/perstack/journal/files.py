"""Journals as files in the user's state directory.

    <state>/journal.key                       the key of all chains, random, made once
    <state>/jobs/<job id>/journal.jsonl       one record a line
    <state>/jobs/<job id>/blobs/<aa>/<sha256> long strings of its events

Directories have mode 0700 and files 0600. A job is one directory: removing it removes all that is known of the job.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from perstack.errors import JobNotFound, JournalCorrupt, JournalError, JournalLocked, UsageError
from perstack.ids import PATTERN, checked_id
from perstack.journal.blobs import Blobs
from perstack.journal.chain import KEY_BYTES, first_link
from perstack.journal.disk import lock, open_private, private_directory, sync_directory, write_all
from perstack.journal.reader import Reader
from perstack.journal.writer import FileWriter
from perstack.protocols import Record

_JOURNAL = "journal.jsonl"

ELSEWHERE = "Name another state directory with --state-dir or PERSTACK_STATE_DIR."


def default_state_dir(environ: Mapping[str, str]) -> Path:
    """Where journals are kept: ``PERSTACK_STATE_DIR``, or ``perstack`` in the user's state directory.

    That is ``XDG_STATE_HOME`` (``~/.local/state``), and ``LOCALAPPDATA`` on Windows.

    Raises:
        UsageError: The environment names no home directory.
    """
    if explicit := environ.get("PERSTACK_STATE_DIR"):
        return Path(os.path.expanduser(explicit)).absolute()  # services and env files name it without a shell
    base = environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_STATE_HOME", "")
    if os.path.isabs(base):  # a relative one is to be ignored, says the XDG specification
        return Path(base) / "perstack"
    home = environ.get("USERPROFILE" if sys.platform == "win32" else "HOME", "")
    if os.path.isabs(home):
        return Path(home) / ".local" / "state" / "perstack"
    raise UsageError("There is no home directory to keep journals in.", hint="Set PERSTACK_STATE_DIR.")


def local_state_dir(state_dir: str) -> Path:
    """The directory on this machine for what belongs beside journals, which themselves may be kept elsewhere."""
    return default_state_dir(os.environ) if "://" in state_dir else Path(state_dir)


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """A journal that holds: how many records, its newest link, and the position of the head that was asked for."""

    records: int
    head: str
    head_at: int | None = None


class FileStore:
    """The journals below `state_dir`, which is made when the first job is."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir

    def create(self, job_id: str) -> FileWriter:
        """A journal for a new job.

        Raises:
            JournalError: The job exists already, or the state directory is open to others or cannot be written.
        """
        path = self._path(job_id)
        with _explained(f"A journal for job {job_id!r} could not be made", hint=ELSEWHERE):
            self.state_dir.parent.mkdir(parents=True, exist_ok=True)
            for directory, forbidden in ((self.state_dir, 0o022), (path.parent.parent, 0o077), (path.parent, 0o077)):
                private_directory(directory)
                _refuse_open_to_others(directory, forbidden)
            key = self._key(make=True)
            try:
                descriptor = open_private(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL)
            except FileExistsError:
                raise JournalError(
                    f"Job {job_id!r} exists already.", hint="Go on with --continue-job, or choose another --job-id."
                ) from None
            self._lock(descriptor, job_id)
            try:
                sync_directory(path.parent)
            except BaseException:
                os.close(descriptor)
                raise
        return self._writer(descriptor, path, key=key, seq=0, link=first_link(key, job_id), size=0)

    def reopen(self, job_id: str) -> FileWriter:
        """The journal of a job that goes on; a torn last line is cut off first.

        Raises:
            JobNotFound: There is none.
            JournalLocked: Another process is writing it.
            JournalCorrupt: Its chain does not hold.
        """
        path = self._path(job_id)
        with _explained(f"The journal of job {job_id!r} could not be opened"):
            try:
                descriptor = open_private(path, os.O_RDWR | os.O_APPEND)
            except (FileNotFoundError, NotADirectoryError):
                raise self._not_found(job_id) from None
            self._lock(descriptor, job_id)
            try:
                key = self._key()
                with Reader(os.fdopen(os.dup(descriptor), "rb"), key=key, job_id=job_id) as reader:
                    for _ in reader:
                        pass
                if os.fstat(descriptor).st_size > reader.end:
                    os.ftruncate(descriptor, reader.end)
                    os.fsync(descriptor)
                Blobs(path.parent / "blobs").sweep()
            except BaseException:
                os.close(descriptor)
                raise
        return self._writer(descriptor, path, key=key, seq=reader.seq, link=reader.link, size=reader.end)

    def read(self, job_id: str) -> Iterator[Record]:
        """Every whole record, oldest first, with its chain checked.

        Raises:
            JobNotFound: There is none.
            JournalCorrupt: A link or a blob does not hold; records before it were yielded.
        """
        with self.open(job_id) as reader:
            yield from self.records(job_id, reader)

    def open(self, job_id: str) -> Reader:
        """A reader that can be asked again for what was added; the caller closes it.

        Raises:
            JobNotFound: There is none.
        """
        path = self._path(job_id)
        with _explained(f"The journal of job {job_id!r} could not be read"):
            try:
                descriptor = open_private(path, os.O_RDONLY)
            except (FileNotFoundError, NotADirectoryError):
                raise self._not_found(job_id) from None
            try:
                key = self._key()
            except BaseException:
                os.close(descriptor)
                raise
            return Reader(os.fdopen(descriptor, "rb"), key=key, job_id=job_id)

    def records(self, job_id: str, reader: Reader) -> Iterator[Record]:
        """What `reader` has not read yet, with long strings back in place."""
        blobs = Blobs(self._path(job_id).parent / "blobs")
        with _explained(f"The journal of job {job_id!r} could not be read"):
            for line in reader:
                yield Record(seq=line.seq, event=blobs.put_back(line.event), link=line.link)

    def jobs(self) -> Sequence[str]:
        """Ids of all jobs, the one that was written to last first.

        Raises:
            JournalError: The state directory cannot be read.
        """
        found: list[tuple[int, str]] = []
        listing = _explained("The jobs could not be listed", hint=ELSEWHERE)
        with listing, suppress(FileNotFoundError), os.scandir(self.state_dir / "jobs") as entries:
            for entry in entries:
                path = Path(entry.path) / _JOURNAL
                if PATTERN.fullmatch(entry.name) and path.is_file():
                    found.append((path.stat().st_mtime_ns, entry.name))
        return tuple(name for _, name in sorted(found, reverse=True))

    def is_active(self, job_id: str) -> bool:
        """Whether a process is writing this job now."""
        try:
            descriptor = open_private(self._path(job_id), os.O_RDONLY)
        except OSError:
            return False
        try:
            return not lock(descriptor, shared=True, wait=0)
        finally:
            os.close(descriptor)

    def verify(self, job_id: str, head: str | None = None) -> Verified:
        """Every record and blob of the job holds and, with `head`, the record that it names is among them.

        Raises:
            JobNotFound: There is no such job.
            JournalCorrupt: Something was changed, or records up to `head` are missing.
        """
        head_at = None
        with self.open(job_id) as reader:
            if reader.link == head:
                head_at = 0
            for record in self.records(job_id, reader):
                if record.link == head:
                    head_at = record.seq
        if head is not None and head_at is None:
            raise JournalCorrupt(
                f"The journal of job {job_id!r} has no record with link {head!r}: records were removed from its end,"
                " or the head is another job's."
            )
        return Verified(records=reader.seq, head=reader.link, head_at=head_at)

    def _path(self, job_id: str) -> Path:
        return self.state_dir / "jobs" / checked_id(job_id, what="job id") / _JOURNAL

    def _writer(self, descriptor: int, path: Path, *, key: bytes, seq: int, link: str, size: int) -> FileWriter:
        blobs = Blobs(path.parent / "blobs")
        return FileWriter(descriptor, key=key, seq=seq, link=link, size=size, blobs=blobs)

    def _lock(self, descriptor: int, job_id: str) -> None:
        if not lock(descriptor):
            os.close(descriptor)
            raise JournalLocked(
                f"Another process is writing job {job_id!r}.",
                hint=f"Wait for it to end, or watch it with: perstack log --job {job_id} --follow",
            )

    def _not_found(self, job_id: str) -> JobNotFound:
        return JobNotFound(
            f"There is no job {job_id!r} in {str(self.state_dir)!r}.", hint="List the jobs with: perstack log --jobs"
        )

    def _key(self, *, make: bool = False) -> bytes:
        path = self.state_dir / "journal.key"
        flags = os.O_RDWR | os.O_CREAT if make else os.O_RDONLY
        try:
            descriptor = open_private(path, flags)
        except FileNotFoundError:
            raise JournalCorrupt(f"{str(path)!r} is missing: no journal can be checked without it.") from None
        try:
            # The lock makes a second process wait for the first one's key instead of making another.
            if make and not lock(descriptor, wait=10):
                raise JournalLocked(f"Another process holds {str(path)!r}.")
            key = os.read(descriptor, KEY_BYTES + 1)
            if make and not key:
                key = secrets.token_bytes(KEY_BYTES)
                write_all(descriptor, key)
                os.fsync(descriptor)
                sync_directory(self.state_dir)
            if len(key) != KEY_BYTES:
                raise JournalCorrupt(f"{str(path)!r} is damaged: it has not {KEY_BYTES} bytes.")
            return key
        finally:
            os.close(descriptor)


def _refuse_open_to_others(path: Path, forbidden: int) -> None:
    if sys.platform != "win32" and path.stat().st_mode & forbidden:
        raise JournalError(f"{str(path)!r} is open to other users.", hint=f"Close it with: chmod 700 {path}")


@contextmanager
def _explained(what: str, *, hint: str = "") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        place = f" ({str(error.filename)!r})" if error.filename else ""
        raise JournalError(f"{what}: {error.strerror or error}{place}.", hint=hint) from error
