"""The rows and attacks about files, each on every runtime, by what happens outside and what the model sees."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time

import pytest

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8) + struct.pack(">II", 8, 8) + bytes(16)
PDF = b"%PDF-1.7\n"
MIB = 1024 * 1024
PATCH = "--- a/{0}\n+++ b/{0}\n@@ -1 +1 @@\n-{1}\n+pwned\n"

#: Each tool that takes one path: arguments that would make it work on a file with the content `canary`.
TOOLS = {
    "readTextFile": {},
    "readImageFile": {},
    "readPdfFile": {},
    "writeTextFile": {"text": "pwned"},
    "appendTextFile": {"text": "pwned"},
    "editTextFile": {"oldText": "canary", "newText": "pwned"},
    "editTextFileMany": {"edits": [{"oldText": "canary", "newText": "pwned"}]},
    "listDirectory": {},
    "createDirectory": {},
    "deleteDirectory": {"recursive": True},
    "getFileInfo": {},
    "deleteFile": {},
    "searchFiles": {"pattern": "canary", "hidden": True},
    "findFiles": {"pattern": "**", "hidden": True},
}
READERS = ("readTextFile", "readImageFile", "readPdfFile")
WRITERS = ("writeTextFile", "appendTextFile", "editTextFile", "editTextFileMany")
ON_THE_ENTRY_ITSELF = ("getFileInfo", "deleteFile")


def fitting(tool):
    """A content that the tool takes."""
    return {"readImageFile": PNG, "readPdfFile": PDF}.get(tool, b"canary\n")


def own(workspace, tool):
    """A place in the workspace on which the tool works: the positive control."""
    (workspace / "own/sub").mkdir(parents=True, exist_ok=True)
    (workspace / "own/file").write_bytes(fitting(tool))
    (workspace / "own/sub/file").write_text("canary")
    return {"listDirectory": "own", "createDirectory": "own/new", "deleteDirectory": "own/sub"}.get(
        tool, "own" if tool == "findFiles" else "own/file"
    )


def works(tools, workspace):
    """Every tool does its work inside, so that a refusal says something."""
    for tool, arguments in TOOLS.items():
        tools.ok(tool, path=own(workspace, tool), **arguments)


def test_O1_O3_AF1_no_tool_follows_a_link_on_the_way(tools, workspace, outside):
    (workspace / "folder").symlink_to(outside.path)
    (workspace / "relative").symlink_to(os.path.relpath(outside.path, workspace))
    (workspace / "chain").symlink_to("folder")
    (workspace / "magic").symlink_to("/proc/self/root")
    (workspace / "inside").symlink_to("own")
    works(tools, workspace)
    through = ("folder/", "relative/", "chain/", f"magic{outside.path}/")
    for path in (*(f"{way}secret.txt" for way in through), "folder/new", "folder/d/e", "inside/file"):
        for tool, arguments in TOOLS.items():
            kind, message = tools.refused(tool, path=path, **arguments)
            assert kind == "AccessDenied", (tool, path, message)
            assert "symbolic link" in message
            assert outside.canary not in message
    patch = PATCH.format("folder/secret.txt", outside.canary)
    assert tools.call("applyPatch", patch=patch).is_error
    assert outside.untouched()


def test_O1_O3_AF1_no_tool_follows_a_final_link(tools, workspace, outside):
    picture = outside.path / "picture.png"
    picture.write_bytes(PNG + outside.canary.encode())
    (outside.path / "document.pdf").write_bytes(PDF + outside.canary.encode())
    outside.settle()
    links = {
        "a.txt": outside.file,
        "b.png": picture,
        "c.pdf": outside.path / "document.pdf",
        "d": outside.path,
        "dangling": outside.path / "new",
        "relative": os.path.relpath(outside.file, workspace),
    }
    for name, target in links.items():
        (workspace / name).symlink_to(target)
    works(tools, workspace)
    for name in links:
        for tool, arguments in TOOLS.items():
            if tool == "deleteFile":
                continue
            result = tools.call(tool, path=name, **arguments)
            assert outside.canary not in repr(result.wire)
            if tool == "getFileInfo":
                assert result["type"] == "symlink"
                assert result["size"] != outside.file.stat().st_size
            else:
                assert result.is_error, (tool, name, result)
    assert sorted(item["type"] for item in tools.ok("listDirectory", path=".")["items"] if item["name"] in links) == [
        "symlink"
    ] * len(links)
    assert outside.canary not in repr(tools.call("searchFiles", pattern="canary", hidden=True, noIgnore=True))
    for name in links:
        tools.ok("deleteFile", path=name)
    assert outside.untouched()


def test_O1_moving_and_removing_reach_nothing_through_a_link(tools, workspace, outside):
    (workspace / "own").write_text("own")
    (workspace / "folder").symlink_to(outside.path)
    (workspace / "tree/sub").mkdir(parents=True)
    (workspace / "tree/sub/link").symlink_to(outside.path)
    assert tools.refused("moveFile", source="folder/secret.txt", destination="got")[0] == "AccessDenied"
    assert tools.refused("moveFile", source="own", destination="folder/own")[0] == "AccessDenied"
    tools.ok("moveFile", source="own", destination="moved")
    tools.ok("moveFile", source="folder", destination="renamed")
    assert (workspace / "renamed").is_symlink()
    tools.ok("deleteDirectory", path="tree", recursive=True)
    assert not (workspace / "tree").exists()
    assert outside.untouched()


def test_O3_a_refusal_names_the_link_and_where_it_points(tools, workspace):
    (workspace / "real").write_text("text")
    (workspace / "link").symlink_to("real")
    assert "'link' is a symbolic link to 'real'" in tools.refused("readTextFile", path="link")[1]
    assert tools.ok("readTextFile", path="real")["content"] == "text"


LEAVING = ["..", "../outside/secret.txt", "/etc/passwd", "//etc/passwd", "a/../../outside/secret.txt", "/", "~", "~/x"]
IMPOSSIBLE = ["a\0b", "x" * 4_097, "y" * 300]


def test_O4_a_path_that_leaves_the_workspace_is_denied(tools, workspace, outside):
    works(tools, workspace)
    sibling = workspace.parent / f"{workspace.name}-evil"
    sibling.mkdir()
    (sibling / "file").write_text(outside.canary)
    for path in (*LEAVING, f"../{sibling.name}/file"):
        for tool, arguments in TOOLS.items():
            kind, message = tools.refused(tool, path=path, **arguments)
            assert kind == "AccessDenied", (tool, path, message)
            assert outside.canary not in message
    for path in IMPOSSIBLE:
        for tool, arguments in TOOLS.items():
            assert tools.refused(tool, path=path, **arguments)[0] in ("InvalidArguments", "NotFound")
    assert outside.untouched()


def test_O4_odd_spellings_of_a_path_inside_mean_the_file_inside(tools, workspace, canary):
    (workspace / "d").mkdir()
    (workspace / "d/f").write_text(canary)
    for path in ("d/f", "./d//f", "d/./f", "d/../d/f", "x/../d/f"):
        assert tools.ok("readTextFile", path=path)["content"] == canary
    for name in ("．．", "…", "..\\..\\x", "~x", "Perstack"):
        tools.ok("writeTextFile", path=name, text=canary)
        assert (workspace / name).read_text() == canary


@pytest.mark.parametrize("path", ["", ".", "./", "a/.."])
def test_AF3_the_workspace_itself_is_never_a_target(tools, workspace, path):
    (workspace / "keep").touch()
    before = sorted(workspace.iterdir())
    for tool, arguments in (
        ("deleteDirectory", {"path": path, "recursive": True}),
        ("deleteFile", {"path": path}),
        ("moveFile", {"source": path, "destination": "x"}),
        ("createDirectory", {"path": path}),
        ("writeTextFile", {"path": path, "text": ""}),
    ):
        assert tools.refused(tool, **arguments)[0] == "AccessDenied"
    assert sorted(workspace.iterdir()) == before
    assert "keep" in [item["name"] for item in tools.ok("listDirectory", path=path)["items"]]


def test_AF5_a_hard_linked_file_is_not_written(tools, workspace, outside):
    os.link(outside.file, workspace / "hard")
    outside.settle()
    for tool in WRITERS:
        (workspace / "plain").write_text("canary")
        kind, message = tools.refused(tool, path="hard", **TOOLS[tool])
        assert kind == "AccessDenied"
        assert "hard links" in message
        tools.ok(tool, path="plain", **TOOLS[tool])
    assert tools.call("applyPatch", patch=PATCH.format("hard", outside.canary)).is_error
    assert outside.untouched()


def test_AF6_a_fifo_socket_or_device_is_an_error_within_a_second(tools, workspace, monkeypatch):
    works(tools, workspace)
    os.mkfifo(workspace / "fifo")
    monkeypatch.chdir(workspace)  # a socket's path is at most 108 characters
    names = ["fifo", "socket"]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        try:
            os.mknod(workspace / "device", 0o020666, os.makedev(1, 5))
            names.append("device")
        except PermissionError:
            pass  # only root makes devices
        for name in names:
            for tool in (*READERS, *WRITERS, "searchFiles"):
                started = time.monotonic()
                (result,) = tools.together((tool, {"path": name, **TOOLS[tool]}), seconds=5)
                assert result["error"] == "NotAFile", (tool, name)
                assert time.monotonic() - started < 1
            assert tools.call("applyPatch", patch=PATCH.format(name, "x"))["error"] == "Rejected"
        assert tools.ok("searchFiles", pattern="canary", path=".")["files"]  # it passes them over


def memory(tools):
    return int(tools.ok("healthCheck")["memory"]["heapTotal"].removesuffix("MB"))


def test_AF7_huge_sparse_and_endless_files_cost_little(tools, workspace):
    (workspace / "line").write_bytes(b"x" * MIB)
    with (workspace / "sparse").open("wb") as file:
        file.write(b"x\n" * 8192)
        file.truncate(10_000 * MIB)
    page = tools.ok("readTextFile", path="line", offset=MIB - 10)
    assert (page["content"], page["size"]) == ("x" * 10, MIB)
    assert tools.refused("readTextFile", path="sparse", **{"from": 99_999})[0] == "TooLarge"
    assert tools.ok("readTextFile", path="sparse", offset=10_000 * MIB - 4)["content"] == "\0" * 4
    for tool in (*READERS[1:], *WRITERS[2:]):
        assert tools.refused(tool, path="sparse", **TOOLS[tool])[0] == "TooLarge"
    assert tools.ok("searchFiles", pattern="x", path="sparse")["skippedLarge"] == 1
    (workspace / "small").write_text("0\n1\n2\n")
    assert tools.ok("readTextFile", path="small", **{"from": 1, "to": 2})["content"] == "1\n"
    assert memory(tools) < 64


def test_AF7_a_file_that_grows_while_it_is_read_ends(tools, workspace):
    grown = workspace / "grown"
    grown.write_bytes(PNG)
    stop = threading.Event()

    def grow():
        with grown.open("ab", buffering=0) as file:
            while not stop.is_set() and file.tell() < 2_000 * MIB:
                file.write(b"x" * MIB)

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        for tool, arguments in (
            ("readImageFile", {}),
            ("readTextFile", {"offset": -MIB}),
            ("searchFiles", {"pattern": "nothing"}),
            ("editTextFile", {"oldText": "x", "newText": "y", "replaceAll": True}),
        ):
            (result,) = tools.together((tool, {"path": "grown", **arguments}), seconds=15)
            assert result.is_error or tool in ("readTextFile", "searchFiles", "readImageFile")
    finally:
        stop.set()
        thread.join()
    assert memory(tools) < 128


def test_AF7_an_edit_cannot_make_a_file_grow_without_bound(tools, workspace):
    (workspace / "many").write_bytes(b"a" * MIB)
    arguments = {"path": "many", "oldText": "a", "replaceAll": True}
    assert tools.refused("editTextFile", newText="b" * 10_000, **arguments)[0] == "TooLarge"
    assert tools.ok("editTextFile", newText="bb", **arguments)["replacements"] == MIB
    assert memory(tools) < 64


def jpeg(width, height):
    return b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x11\x08" + struct.pack(">HH", height, width) + bytes(12)


BOMBS = {
    "png": PNG[:16] + struct.pack(">II", 100_000, 100_000) + bytes(16),
    "jpeg": jpeg(60_000, 60_000),
    "gif": b"GIF89a" + struct.pack("<HH", 65_535, 65_535),
    "webp": b"RIFF\x00\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff",
}


def test_AF8_the_content_decides_the_type_and_bombs_are_not_passed_on(tools, workspace):
    (workspace / "script.png").write_text("#!/bin/sh\n")
    (workspace / "photo.txt").write_bytes(PNG)
    (workspace / "polyglot.pdf").write_bytes(PNG + PDF)
    assert tools.refused("readImageFile", path="script.png")[0] == "NotSupported"
    assert tools.ok("readImageFile", path="photo.txt")["mimeType"] == "image/png"
    assert tools.refused("readPdfFile", path="polyglot.pdf")[0] == "NotSupported"
    for name, content in BOMBS.items():
        (workspace / f"bomb.{name}").write_bytes(content)
        kind, message = tools.refused("readImageFile", path=f"bomb.{name}")
        assert kind == "TooLarge"
        assert "pixels" in message
    (workspace / "small.jpg").write_bytes(jpeg(640, 480))
    assert tools.ok("readImageFile", path="small.jpg")["mimeType"] == "image/jpeg"
    (workspace / "long.pdf").write_bytes(PDF + b"<< /Type /Pages /Count 100000 >>")
    assert "pages" in tools.refused("readPdfFile", path="long.pdf")[1]
    (workspace / "short.pdf").write_bytes(PDF + b"<< /Type /Pages /Count 3 >>")
    assert tools.ok("readPdfFile", path="short.pdf")["mimeType"] == "application/pdf"


CONTROL = [
    "perstack.lock",
    "sub/PerStack.TOML",
    ".env",
    ".env.local",
    ".git/hooks/pre-commit",
    ".git/config",
    "sub/.GIT/config",
    ".github/workflows/ci.yml",
    ".gitlab-ci.yml",
    ".vscode/tasks.json",
    ".npmrc",
]


def test_AF9_control_files_are_not_written_moved_or_deleted(tools, workspace):
    for path in CONTROL:
        (workspace / path).parent.mkdir(parents=True, exist_ok=True)
        (workspace / path).write_text("A=canary")
    before = {path: (workspace / path).read_bytes() for path in CONTROL}
    for path in CONTROL:
        writers = [(tool, {"path": path, **TOOLS[tool]}) for tool in (*WRITERS, "deleteFile")]
        writers.append(("moveFile", {"source": path, "destination": "away"}))
        writers.append(("moveFile", {"source": "own", "destination": path}))
        writers.append(("applyPatch", {"patch": PATCH.format(path, "A=canary")}))
        for tool, arguments in writers:
            (workspace / "own").write_text("canary")
            result = tools.call(tool, **arguments)
            assert result.is_error, (tool, path)
            assert result["error"] in ("AccessDenied", "Rejected"), (tool, path, result)
    # Neither a directory above nor a prepared one leads around.
    (workspace / "prepared/hooks").mkdir(parents=True)
    (workspace / "prepared/perstack.toml").touch()
    assert tools.refused("moveFile", source="prepared", destination=".git")[0] == "AccessDenied"
    assert tools.refused("moveFile", source="prepared", destination="other")[0] == "AccessDenied"
    assert tools.refused("moveFile", source=".git", destination="away")[0] == "AccessDenied"
    assert tools.refused("deleteDirectory", path="sub", recursive=True)[0] == "AccessDenied"
    assert tools.refused("createDirectory", path="fresh/.git")[0] == "AccessDenied"
    assert {path: (workspace / path).read_bytes() for path in CONTROL} == before
    tools.ok("writeTextFile", path="gitconfig", text="the control: an ordinary file")


def test_AF9_control_files_that_the_configuration_opens_are_written(open_tools, workspace):
    tools = open_tools(policy={"writable": [".github/**"]})
    assert tools.refused("writeTextFile", path=".gitlab-ci.yml", text="x")[0] == "AccessDenied", "the control"
    tools.ok("writeTextFile", path=".github/workflows/ci.yml", text="allowed")
    assert (workspace / ".github/workflows/ci.yml").read_text() == "allowed"


def test_AF9_nothing_in_a_configuration_opens_what_says_what_skills_may_do(open_tools, workspace):
    tools = open_tools(policy={"writable": ["**", "perstack.toml", "perstack.lock", "sub/**"]})
    for path in ("perstack.toml", "sub/Perstack.lock", "perstack.toml/x"):
        code, message = tools.refused("writeTextFile", path=path, text="x")
        assert (code, "files.writable" in message) == ("AccessDenied", False), path
    tools.ok("writeTextFile", path="sub/.npmrc", text="the control: another control file")
    assert [path.name for path in (workspace / "sub").iterdir()] == [".npmrc"]


SECRET = [".env", ".env.production", ".NPMRC", "deep/.aws/credentials", "id_ed25519", "server.key", ".netrc"]


def test_AF10_secret_files_are_not_read_by_any_tool(tools, workspace, canary):
    for path in (*SECRET, ".env.example", "open.txt"):
        (workspace / path).parent.mkdir(parents=True, exist_ok=True)
        (workspace / path).write_text(f"A={canary}\n")
    for path in SECRET:
        for tool, arguments in (
            ("readTextFile", {"path": path}),
            ("readImageFile", {"path": path}),
            ("searchFiles", {"path": path, "pattern": "canary"}),
            ("editTextFile", {"path": path, "oldText": canary, "newText": ""}),
            ("moveFile", {"source": path, "destination": "open2.txt"}),
            ("writeTextFile", {"path": path, "text": "", "expectedHash": "absent"}),
            ("applyPatch", {"patch": PATCH.format(path, "guess")}),
        ):
            result = tools.call(tool, **arguments)
            assert result.is_error, (tool, path)
            assert canary not in repr(result.wire)
    found = tools.ok("searchFiles", pattern=canary, hidden=True, noIgnore=True)
    paths = {file["path"] for file in found["files"]}
    assert paths == {".env.example", "open.txt"}
    assert found["skippedSecret"] >= len(SECRET)


def test_AF10_secret_files_that_the_configuration_opens_are_read(open_tools, workspace, canary):
    for path in ("allowed/.pypirc", "other/.pypirc"):
        (workspace / path).parent.mkdir(parents=True)
        (workspace / path).write_text(canary)
    tools = open_tools(policy={"readable": ["allowed/**"]})
    assert tools.refused("readTextFile", path="other/.pypirc")[0] == "AccessDenied", "the control"
    assert canary in tools.ok("readTextFile", path="allowed/.pypirc")["content"]


def test_AF13_names_with_control_bidi_or_invalid_characters_are_shown_escaped(tools, workspace):
    raw = os.fsencode(workspace)
    names = (b"a\x1b[31mred", "b\u202egnp.exe".encode(), b"c\xff", b"d\nline", "e\u200b".encode(), b"f" * 255)
    for name in names:
        with open(raw + b"/" + name, "wb") as file:
            file.write(b"needle")
    (workspace / "grün.txt").write_text("needle")
    shown = [r"a\x1b[31mred", r"b\u202egnp.exe", r"c\udcff", r"d\nline", r"e\u200b", "f" * 255, "grün.txt"]
    for listed in (
        [item["name"] for item in tools.ok("listDirectory", path=".")["items"]],
        tools.ok("findFiles", pattern="*")["files"],
        [file["path"] for file in tools.ok("searchFiles", pattern="needle")["files"]],
    ):
        assert [name for name in listed if name != "perstack.toml"] == shown
    assert tools.refused("writeTextFile", path="g\x1b[2J", text="")[0] == "InvalidArguments"
    tools.ok("readTextFile", path="a\x1b[31mred")


def test_AF14_replacement_patterns_and_line_endings_are_kept_as_they_are(tools, workspace):
    (workspace / "a").write_bytes(b"one\r\ntwo\r\nthree\n")
    tools.ok("editTextFile", path="a", oldText="two", newText=r"$& $' $$ \1 \g<0>")
    assert (workspace / "a").read_bytes() == b"one\r\n$& $' $$ \\1 \\g<0>\r\nthree\n"
    (workspace / "b").write_text("x x")
    assert tools.refused("editTextFile", path="b", oldText="x", newText="y")[0] == "NotUnique"
    assert (workspace / "b").read_text() == "x x"


def test_AF14_a_lost_update_is_an_error(tools, workspace):
    (workspace / "a").write_text("first canary")
    read = tools.ok("readTextFile", path="a")["hash"]
    (workspace / "a").write_text("someone else's canary")
    for tool in WRITERS:
        kind, message = tools.refused(tool, path="a", expectedHash=read, **TOOLS[tool])
        assert kind == "Conflict"
        assert "Read it again" in message
    assert tools.refused("writeTextFile", path="a", text="", expectedHash="absent")[0] == "Conflict"
    assert (workspace / "a").read_text() == "someone else's canary"
    current = tools.ok("readTextFile", path="a")["hash"]
    written = tools.ok("editTextFile", path="a", oldText="canary", newText="text", expectedHash=current)
    tools.ok("writeTextFile", path="a", text="mine", expectedHash=written["hash"])
    tools.ok("writeTextFile", path="new", text="mine", expectedHash="absent")
    assert (workspace / "a").read_text() == "mine"
