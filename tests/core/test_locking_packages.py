"""Archives of packages become plain files below one directory, and are what they were when they are used."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import time
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from package_registry import npm_archive, wheel
from perstack.errors import PolicyError, SkillError
from perstack.locking import npm, pypi, unpacking
from perstack.locking.commands import with_packages
from perstack.locking.filling import wheel_for
from perstack.locking.lockfile import NpmPackage, PackageSet, PypiPackage
from perstack.locking.store import Store, set_key
from perstack.locking.unpacking import unpack_npm, unpack_wheel
from perstack.skill_policy import BUILT_IN, SkillPolicy
from perstack_proxy.limits import MIB
from projects import runtime

CONTAINERS = replace(runtime(), packages_at=lambda _: "/opt/packages")
SHA512 = f"sha512-{'A' * 86}=="


def files(root) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def tar_with(*members: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return buffer.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode = kind, link, mode
    made.size = 1 if kind == tarfile.REGTYPE else 0
    return made


def test_a_package_is_unpacked_without_its_outermost_folder(tmp_path) -> None:
    unpack_npm("p", npm_archive("p", "1", {"dist/index.js": "run"}), tmp_path)
    assert files(tmp_path)["dist/index.js"] == "run"
    assert set(files(tmp_path)) == {"dist/index.js", "package.json"}


@pytest.mark.parametrize(
    "name", ["package/../../evil", "package/a/../../../evil", "package/..\\evil", "package//../evil", "package/C:evil"]
)
def test_AC2_no_file_of_a_package_leaves_its_directory(tmp_path, name) -> None:
    inside = tmp_path / "inside"
    unpack_npm("p", tar_with(member("package/good")), inside)  # the control
    with pytest.raises(SkillError, match="not allowed"):
        unpack_npm("p", tar_with(member(name)), inside)
    assert set(files(tmp_path)) == {"inside/good"}


def test_AC2_links_and_devices_of_a_package_are_not_made_and_no_mode_but_being_a_program_is_kept(tmp_path) -> None:
    unpack_npm(
        "p",
        tar_with(
            member("package/link", tarfile.SYMTYPE, "/etc/passwd"),
            member("package/hard", tarfile.LNKTYPE, "/etc/passwd"),
            member("package/pipe", tarfile.FIFOTYPE),
            member("package/device", tarfile.CHRTYPE),
            member("package/setuid", mode=0o6777),
            member("package/plain", mode=0o600),
        ),
        tmp_path,
    )
    modes = {path.name: oct(path.lstat().st_mode & 0o7777) for path in tmp_path.iterdir()}
    assert modes == {"setuid": "0o755", "plain": "0o644"}


def test_a_file_that_stands_twice_in_an_archive_is_refused(tmp_path) -> None:
    with pytest.raises(SkillError, match="cannot be unpacked"):
        unpack_npm("p", tar_with(member("package/a"), member("package/a")), tmp_path)


@given(st.binary(max_size=300))
def test_what_is_no_archive_is_refused_and_never_crashes(tmp_path_factory, data) -> None:
    folder = tmp_path_factory.mktemp("any")
    for unpack in (unpack_npm, unpack_wheel):
        with pytest.raises(SkillError):
            unpack("p", data, folder)


def tar_saying(kind: bytes, size: int) -> bytes:
    """A small archive that says something very long before its only file."""
    said = tarfile.TarInfo("said")
    said.type, said.size = kind, size
    plain = said.tobuf(tarfile.USTAR_FORMAT) + b"a" * size + gzip.decompress(tar_with(member("package/good")))
    return gzip.compress(plain, 1)


def wheel_saying(size: int) -> bytes:
    """A small wheel with a very long list of commands."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("p-1.dist-info/entry_points.txt", b"[console_scripts]\ngood = a:b\n" + b"#" * size)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE], ids=repr)
def test_AC2_a_small_archive_cannot_fill_the_memory(tmp_path, kind) -> None:
    small, long = tar_saying(kind, 64 * MIB), "a" * 200
    unpack_npm("p", tar_with(member(f"package/{long}")), tmp_path)
    assert set(files(tmp_path)) == {long}, "the control: names of an honest length need the same words"
    with at_most(8 * MIB), pytest.raises(SkillError, match="longer than it may be"):
        unpack_npm("p", small, tmp_path)


def test_AC2_files_that_are_left_out_count_too(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(unpacking, "BYTES", MIB)

    def beside(count: int) -> bytes:
        members = [member(f"beside-{number}") for number in range(count)]
        for one in members:
            one.size = 600_000
        return tar_with(*members)

    unpack_npm("p", beside(3), tmp_path)  # the control
    with pytest.raises(SkillError, match="longer than it may be"):
        unpack_npm("p", beside(4), tmp_path)
    assert files(tmp_path) == {}


def test_AC2_a_small_wheel_cannot_fill_the_memory(tmp_path) -> None:
    small = wheel_saying(64 * MIB)
    with at_most(16 * MIB):
        unpack_wheel("p", small, tmp_path)
    assert (tmp_path / "bin/good").is_file(), "the control"


@contextmanager
def at_most(memory: int) -> Iterator[None]:
    """The block needs no more bytes at once."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < memory
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_wheel_that_is_damaged_in_any_compression_is_refused_in_words(tmp_path, method) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("p/x.py", "hello" * 1000)
    unpack_wheel("p", buffer.getvalue(), tmp_path / "whole")  # the control
    damaged = bytearray(buffer.getvalue())
    damaged[40:60] = bytes(255 - byte for byte in damaged[40:60])
    with pytest.raises(SkillError, match="cannot be read"):
        unpack_wheel("p", bytes(damaged), tmp_path / "damaged")


def test_a_wheel_has_its_modules_and_its_commands(tmp_path) -> None:
    made = wheel(
        "my_server", "1.0", {"my_server/__init__.py": "def main(): print('ran')"}, scripts="serve = my_server:main"
    )
    unpack_wheel("my-server", made, tmp_path)
    assert "site/my_server/__init__.py" in files(tmp_path)
    assert os.access(tmp_path / "bin/serve", os.X_OK)


@pytest.mark.parametrize("entry", ["os:system('x')", "os; import x:y", "a b:c", "os:", ":main", "os"])
def test_AC1_a_hostile_entry_point_becomes_no_program(tmp_path, entry) -> None:
    unpack_wheel("p", wheel("p", "1", {}, scripts=f"run = {entry}\ngood = a.b:c.d"), tmp_path)
    assert [name for name in files(tmp_path) if name.startswith("bin/")] == ["bin/good"]


def test_no_file_of_a_wheel_leaves_its_directory(tmp_path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("p-1.data/scripts/tool", "x")
        archive.writestr("p-1.data/purelib/../../evil.py", "x")
    with pytest.raises(SkillError, match="not allowed"):
        unpack_wheel("p", buffer.getvalue(), tmp_path / "inside")
    assert set(files(tmp_path)) == {"inside/bin/tool"}


def test_the_store_tells_every_way_in_which_files_differ_from_what_was_put_there(tmp_path) -> None:
    store = Store(tmp_path / "store")
    with store.adding("k", title="npm p") as made:
        (made / "sub").mkdir()
        for name in ("same", "changed", "gone", "program", "sub/link"):
            (made / name).write_text(name)
    assert store.changes("k") == ()
    tree = store.find("k")
    (tree / "changed").write_text("other")
    (tree / "gone").unlink()
    (tree / "program").chmod(0o755)
    (tree / "added").write_text("")
    (tree / "sub/link").unlink()
    (tree / "sub/link").symlink_to(tree / "same")
    assert store.changes("k") == (
        "added was added",
        "changed was changed",
        "gone is gone",
        "program was changed",
        "sub/link was changed",
    )


def test_a_set_that_was_not_finished_is_not_there(tmp_path) -> None:
    store = Store(tmp_path)

    def broken() -> None:
        with store.adding("k", title="") as made:
            (made / "half").write_text("")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert store.find("k") is None
    assert list(tmp_path.iterdir()) == []


def test_AH2_what_a_killed_installation_began_is_gone_with_one_of_the_next_day(tmp_path) -> None:
    store = Store(tmp_path / "store")
    for name, age in (("yesterday", 2 * 86400), ("now", 0)):
        begun = store.directory / f".k.{name}"
        begun.mkdir(parents=True)
        (begun / "file").write_text("half")
        os.utime(begun, (time.time() - age,) * 2)
    with store.adding("other", title="npm other") as made:
        (made / "file").write_text("whole")
    assert sorted(path.name for path in store.directory.iterdir()) == [".k.now", "other", "other.json"]


def test_sets_that_were_not_used_for_long_are_listed_and_removed(tmp_path) -> None:
    store = Store(tmp_path)
    for key in ("old", "new"):
        with store.adding(key, title=f"npm {key}") as made:
            (made / "file").write_text("")
    os.utime(tmp_path / "old.json", (0, 0))
    assert [one.title for one in store.kept()] == ["npm new", "npm old"]
    assert [one.key for one in store.unused(30)] == ["old"]
    store.remove("old")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "new.json"]


def test_a_set_is_named_by_everything_that_decides_its_content() -> None:
    def named(version: str = "1", machine: str = "x86_64") -> str:
        package = NpmPackage(path="node_modules/p", name="p", version=version, integrity=SHA512)
        return set_key(PackageSet(npm=(package,)), machine)

    assert named() == named()
    assert len({named(), named("2"), named(machine="aarch64")}) == 3


def resolution(**entries: object) -> dict:
    return {"packages": {"": {}, **entries}}


ENTRY = {"version": "1.0.0", "integrity": SHA512, "resolved": "https://h.example/p.tgz"}


def test_npms_resolution_becomes_packages_and_the_file_that_is_started() -> None:
    found = resolution(
        **{
            "node_modules/@s/p": {**ENTRY, "bin": {"p": "./dist/i.js", "other": "o.js"}, "hasInstallScript": True},
            "node_modules/a/node_modules/b": {**ENTRY, "optional": True, "os": ["darwin"], "cpu": ["!arm64"]},
            "node_modules/inner": {**ENTRY, "inBundle": True},
        }
    )
    packages = npm.packages_of(found)
    assert [package.path for package in packages] == ["node_modules/@s/p", "node_modules/a/node_modules/b"]
    assert [package.name for package in packages] == ["@s/p", "b"]
    assert [npm.needed(package, "x86_64") for package in packages] == [True, False]
    assert npm.with_scripts(found) == ("@s/p",)
    assert npm.program(found, ["@s/p@latest"], "") == "node_modules/@s/p/dist/i.js"
    assert npm.program(found, ["@s/p"], "other") == "node_modules/@s/p/o.js"
    with pytest.raises(SkillError, match="no command 'none'"):
        npm.program(found, ["@s/p"], "none")


@pytest.mark.parametrize(
    ("path", "entry", "why"),
    [
        ("node_modules/p", {**ENTRY, "integrity": "sha1-x"}, "no sha512 hash"),
        ("node_modules/p", {"version": "1", "resolved": "git+ssh://h/p"}, "no sha512 hash"),
        ("node_modules/p", {"link": True}, "link"),
        ("../p", ENTRY, "no lock can hold"),
        ("node_modules/../../p", ENTRY, "no lock can hold"),
        ("node_modules/p", {**ENTRY, "version": "1/../2"}, "no lock can hold"),
    ],
)
def test_AC2_what_npm_resolves_to_is_locked_with_a_strong_hash_or_not_at_all(path, entry, why) -> None:
    with pytest.raises(SkillError, match=why):
        npm.packages_of(resolution(**{path: entry}))


@pytest.mark.parametrize("bin_path", ["../../x", "/bin/sh", "a/../../x"])
def test_a_package_cannot_name_a_program_outside_of_itself(bin_path) -> None:
    found = resolution(**{"node_modules/p": {**ENTRY, "bin": bin_path}})
    with pytest.raises(SkillError, match="no command"):
        npm.program(found, ["p"], "")


def index_file(name: str) -> pypi.IndexFile:
    return pypi.IndexFile(name=name, url="", sha256="")


def test_the_best_wheel_is_chosen_for_each_kind_of_machine() -> None:
    names = [
        "p-1.0-py3-none-any.whl",
        "p-1.0-cp311-cp311-manylinux_2_17_x86_64.whl",
        "p-1.0-cp311-cp311-manylinux_2_99_x86_64.whl",
        "p-1.0-cp312-cp312-manylinux_2_17_x86_64.whl",
        "p-1.0-cp311-cp311-musllinux_1_2_x86_64.whl",
        "p-1.0-cp311-cp311-macosx_11_0_arm64.whl",
        "p-2.0-py3-none-any.whl",
        "not a wheel.whl",
    ]
    best = pypi.chosen(map(index_file, names), "1.0", python="3.11", libc="2.36", machines=pypi.MACHINES)
    assert {machine: file.name for machine, file in best.items()} == {"x86_64": names[1], "aarch64": names[0]}
    musl = pypi.chosen(map(index_file, names), "1.0", python="3.11", libc="", machines=["x86_64"])
    assert musl["x86_64"].name == names[4]
    package = PypiPackage(name="p", version="1.0", wheels={file.name: "d" for file in best.values()})
    assert [wheel_for(package, machine)[0] for machine in pypi.MACHINES] == [names[1], names[0]]


def test_uvs_answer_is_versions_or_it_is_refused() -> None:
    assert pypi.pins(["A_b==1.0", "c[x]==2.0rc1"]) == {"a-b": "1.0", "c": "2.0rc1"}
    for line in ("p @ https://h.example/p.whl", "-e .", "p>=1", "p==1 ; python_version<'3'", "p==../1"):
        with pytest.raises(SkillError, match="no version"):
            pypi.pins([line])


def test_a_program_of_machine_code_needs_no_interpreter(tmp_path) -> None:
    (tmp_path / "native").write_bytes(b"\x7fELF\x02")
    (tmp_path / "script").write_bytes(b"#!/usr/bin/env node\n")
    policy = SkillPolicy(
        expert="e", skill="s", kind="mcpStdioSkill", origin=BUILT_IN, argv=("uvx", "p", "--flag"), image=None
    )
    packages = PackageSet(python="3.11", pypi=(PypiPackage(name="p", version="1", wheels={}),))
    started = {file: with_packages(policy, packages, tmp_path, file, CONTAINERS).argv for file in ("native", "script")}
    assert started == {
        "native": ("/opt/packages/native", "--flag"),
        "script": ("python3.11", "-I", "/opt/packages/script", "--flag"),
    }


def test_a_runtime_that_takes_no_packages_is_not_given_any(tmp_path) -> None:
    policy = SkillPolicy(expert="e", skill="s", kind="mcpStdioSkill", origin=BUILT_IN, argv=("npx", "p"))
    with pytest.raises(PolicyError, match="takes no locked packages"):
        with_packages(policy, PackageSet(), tmp_path, "f", replace(CONTAINERS, packages_at=None))
