"""A copy that went to an engine as an archive, and what of the archive that comes back is taken."""

from __future__ import annotations

import io
import os
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from perstack.errors import StagingError
from perstack.staging import archive
from perstack.staging.archive import fetch, pack
from perstack.staging.copying import Owner

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sandboxes with copies are POSIX")

ROOT = "content"
ME = Owner(os.getuid(), os.getgid())
AWAY = Owner(4321, 4321)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    made = tmp_path / "copy"
    (made / "directory").mkdir(parents=True)
    (made / "directory/file").write_text("as it was")
    (made / "gone").write_text("as it was")
    (made / "program").write_text("#!")
    (made / "program").chmod(0o755)
    (made / "link").symlink_to("directory/file")
    (made / os.fsdecode(b"odd\xff\nname")).write_text("odd")
    return made


def packed(directory: Path) -> bytes:
    written = bytearray()
    pack(directory, written.extend, root=ROOT, owner=AWAY)
    return bytes(written)


def taken(data: bytes, copy: Path) -> None:
    fetch(io.BytesIO(data), copy, root=ROOT, place=copy.with_name("arrived"))
    assert not copy.with_name("arrived").exists()


def tree(directory: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in sorted(directory.rglob("*")):
        mode = path.lstat().st_mode & 0o7777
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(directory))] = (0 if path.is_symlink() else mode, content)
    return found


def member(name: str, kind: bytes = tarfile.REGTYPE, *, content: bytes = b"", link: str = "", mode: int = 0o644):
    """What adds one entry to an archive."""

    def add(made: tarfile.TarFile) -> None:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname, entry.mode, entry.size = kind, link, mode, len(content)
        made.addfile(entry, io.BytesIO(content))

    return add


def archived(*members: Callable[[tarfile.TarFile], None], format: int = tarfile.PAX_FORMAT) -> bytes:
    return alone(member(ROOT, tarfile.DIRTYPE, mode=0o755), *members, format=format)


def alone(*members: Callable[[tarfile.TarFile], None], format: int = tarfile.PAX_FORMAT) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=format) as made:
        for add in members:
            add(made)
    return written.getvalue()


def test_what_went_away_and_came_back_unchanged_is_the_same_files(copy) -> None:
    before, numbers = tree(copy), {path: path.lstat().st_ino for path in copy.rglob("*")}
    data = packed(copy)
    with tarfile.open(fileobj=io.BytesIO(data)) as made:
        assert {(one.uid, one.gid) for one in made} == {AWAY}
    taken(data, copy)
    assert tree(copy) == before
    assert {path: path.lstat().st_ino for path in copy.rglob("*")} == numbers, "so no change is seen that was none"


def test_what_skills_changed_is_in_the_copy_and_belongs_to_whom_the_copy_does(copy) -> None:
    data = archived(
        member(f"{ROOT}/directory", content=b"a file by now"),
        member(f"{ROOT}/program", content=b"#!", mode=0o6644),
        member(f"{ROOT}/link", tarfile.SYMTYPE, link="/etc/passwd"),
        member(f"{ROOT}/new", tarfile.DIRTYPE, mode=0),
        member(f"{ROOT}/new/closed", content=b"x" * 3_000_000, mode=0),
        member(f"{ROOT}/second-name", tarfile.LNKTYPE, link=f"{ROOT}/new/closed"),
        member(f"{ROOT}/device", tarfile.CHRTYPE),
        member(f"{ROOT}/pipe", tarfile.FIFOTYPE),
        member(f"{ROOT}/{'long' * 60}", content=b"long"),
    )
    taken(data, copy)
    assert tree(copy) == {
        "directory": (0o644, b"a file by now"),
        "program": (0o644, b"#!"),
        "link": (0, "/etc/passwd"),
        "new": (0o700, None),
        "new/closed": (0o400, b"x" * 3_000_000),
        "second-name": (0o644, b"x" * 3_000_000),
        "long" * 60: (0o644, b"long"),
    }
    assert (copy / "second-name").stat().st_nlink == 1
    assert {(path.lstat().st_uid, path.lstat().st_gid) for path in copy.rglob("*")} == {ME}


def test_what_is_unchanged_is_looked_for_in_the_copy_and_never_through_its_links(copy) -> None:
    (copy.parent / "outside").mkdir()
    (copy.parent / "outside/file").write_text("as it was")
    (copy / "out").symlink_to("../outside")
    data = archived(
        member(f"{ROOT}/out", tarfile.DIRTYPE, mode=0o755),
        member(f"{ROOT}/out/file", content=b"as it was"),
        member(f"{ROOT}/gone", content=b"as it was"),
        member(f"{ROOT}/second-name", tarfile.LNKTYPE, link=f"{ROOT}/gone"),
    )
    number = (copy / "gone").stat().st_ino
    taken(data, copy)
    assert tree(copy) == {
        "out": (0o755, None),
        "out/file": (0o644, b"as it was"),
        "gone": (0o644, b"as it was"),
        "second-name": (0o644, b"as it was"),
    }
    assert (copy / "gone").stat().st_ino == number, "the control: what is unchanged there is not written again"


def sparse(made: tarfile.TarFile) -> None:
    """A file of a terabyte in a hundred bytes."""
    entry = tarfile.TarInfo(f"{ROOT}/sparse")
    entry.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.map": "0,1", "GNU.sparse.size": str(1024**4)}
    entry.size = 1
    made.addfile(entry, io.BytesIO(b"x"))


HOSTILE = {
    "a path from the root": archived(member("/etc/owned")),
    "a path upwards": archived(member(f"{ROOT}/../../owned")),
    "another top": archived(member("owned")),
    "a path that only begins like ours": archived(member(f"{ROOT}2/owned")),
    "a name twice": archived(member(f"{ROOT}/a"), member(f"{ROOT}/a")),
    "a directory twice": archived(member(f"{ROOT}/a", tarfile.DIRTYPE), member(f"{ROOT}/a", tarfile.DIRTYPE)),
    "through a link": archived(
        member(f"{ROOT}/out", tarfile.SYMTYPE, link="../.."), member(f"{ROOT}/out/owned", content=b"owned")
    ),
    "below a file": archived(member(f"{ROOT}/a"), member(f"{ROOT}/a/b")),
    "below nothing": archived(member(f"{ROOT}/a/b")),
    "a file in the place of everything": alone(member(ROOT, content=b"x")),
    "nothing at all": alone(),
    "too deep": archived(*(member(ROOT + "/d" * depth, tarfile.DIRTYPE) for depth in range(1, 103))),
    "a name that fills the memory": archived(member(f"{ROOT}/{'n' * 70_000}")),
    "the same in the words of GNU": archived(member(f"{ROOT}/{'n' * 70_000}"), format=tarfile.GNU_FORMAT),
    "a path that no system takes": archived(member(f"{ROOT}/{'n' * 5_000}")),
    "headers of headers": (b"".join(archived(member(f"{ROOT}/{'n' * 200}"))[512:1536] for _ in range(2000))),
    "cut off within a file": archived(member(f"{ROOT}/a", content=b"x" * 10_000))[:5_000],
    "cut off between two files": archived(member(f"{ROOT}/a"), member(f"{ROOT}/b"))[: 3 * 512],
    "cut off before anything": b"",
    "garbage after a file": archived(member(f"{ROOT}/a"))[: 2 * 512] + b"garbage" * 1_000,
    "no archive": b"no archive" * 1_000,
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_AF9_an_archive_that_is_not_whole_or_names_other_places_changes_nothing_at_all(copy, data) -> None:
    around, before = set(copy.parent.iterdir()), tree(copy)
    with pytest.raises(StagingError):
        taken(data, copy)
    assert tree(copy) == before
    assert set(copy.parent.iterdir()) == around, "nothing is left beside it, and nothing was written there"
    assert not Path("/etc/owned").exists()
    taken(archived(member(f"{ROOT}/a", content=b"honest")), copy)
    assert tree(copy) == {"a": (0o644, b"honest")}, "the control: an honest archive is taken"


def test_AX6_an_archive_of_too_many_bytes_or_entries_changes_nothing(copy, monkeypatch) -> None:
    before = tree(copy)
    many = archived(*(member(f"{ROOT}/{number}") for number in range(20)))
    large = archived(member(f"{ROOT}/a", content=b"x" * 1000), member(f"{ROOT}/b", content=b"x" * 1001))
    for name, most, data in (("MAX_ENTRIES", 19, many), ("MAX_BYTES", 2000, large)):
        with monkeypatch.context() as patch:
            patch.setattr(archive, name, most)
            with pytest.raises(StagingError, match="holds more than"):
                taken(data, copy)
            assert tree(copy) == before
            patch.setattr(archive, name, most + 1)
            taken(data, copy)
            assert tree(copy) != before, "the control: one less is taken"
        before = tree(copy)


def test_AX6_a_file_that_says_to_be_larger_than_it_is_is_left_out(copy) -> None:
    taken(archived(sparse, member(f"{ROOT}/a")), copy)
    assert tree(copy) == {"a": (0o644, b"")}, "the control: what is what it says is taken"
