"""No tool reads, changes, creates, removes or looks at anything outside the workspace, whatever the path looks like."""

from __future__ import annotations

import os
import socket
import sys

import pytest

IMAGE = b"\x89PNG\r\n\x1a\n"

#: Each tool with a path in it, and arguments that make it work on a file or a directory.
FILE_TOOLS = {
    "readTextFile": {},
    "readImageFile": {},
    "readPdfFile": {},
    "writeTextFile": {"text": "pwned"},
    "appendTextFile": {"text": "pwned"},
    "editTextFile": {"oldText": "canary", "newText": "pwned"},
    "listDirectory": {},
    "createDirectory": {},
    "deleteDirectory": {"recursive": True},
    "getFileInfo": {},
    "deleteFile": {},
}
#: These work on a link itself, so a final link is no escape for them.
ON_THE_LINK_ITSELF = {"getFileInfo", "deleteFile"}


@pytest.fixture
def server(either_way):
    return either_way


@pytest.fixture
def links(workspace, outside):
    """One link of each kind, by the path that leads through it to the canary or its folder."""
    made = {
        "final": ("final.png", outside.file),
        "relative": ("relative.txt", os.path.relpath(outside.file, workspace)),
        "folder": ("folder", outside.path),
        "dangling": ("dangling", outside.path / "new.txt"),
        "magic": ("magic", "/proc/self/root"),
        "cwd": ("cwd", "/proc/self/cwd"),
        "chain": ("chain", "folder"),
    }
    for name, target in made.values():
        (workspace / name).symlink_to(target)
    return [
        "final.png",
        "relative.txt",
        "folder",
        "dangling",
        "folder/secret.txt",
        "folder/new.txt",
        "chain/secret.txt",
        f"magic{outside.file}",
        "cwd/new.txt",
    ]


@pytest.mark.parametrize("tool", FILE_TOOLS)
def test_O1_O3_AF1_W_19_no_tool_follows_a_link(server, workspace, outside, links, tool):
    for path in links:
        final = "/" not in path
        result = server.call(tool, path=path, **FILE_TOOLS[tool])
        if final and tool in ON_THE_LINK_ITSELF:
            assert not result.is_error
            if tool == "getFileInfo":
                assert result["type"] == "symlink"
        elif final and tool == "createDirectory":
            assert result["error"] == "AlreadyExists"
        elif final and tool == "deleteDirectory":
            assert result["error"] == "NotADirectory"
        else:
            assert result["error"] in ("AccessDenied", "NotFound"), (path, result)
        assert outside.canary not in repr(result.wire)
        assert outside.untouched(), path


@pytest.mark.parametrize("tool", FILE_TOOLS)
def test_O1_the_same_call_without_a_link_works(server, workspace, canary, tool):
    (workspace / "d").mkdir()
    (workspace / "d/file").write_bytes({"readImageFile": IMAGE, "readPdfFile": b"%PDF-"}.get(tool, b"canary\n"))
    path = {"listDirectory": "d", "createDirectory": "d/new", "deleteDirectory": "d"}.get(tool, "d/file")
    server.ok(tool, path=path, **FILE_TOOLS[tool])


def test_O1_moving_reaches_nothing_through_a_link(server, workspace, outside):
    (workspace / "own").write_text("own")
    (workspace / "folder").symlink_to(outside.path)
    assert server.refused("moveFile", source="folder/secret.txt", destination="got")[0] == "AccessDenied"
    assert server.refused("moveFile", source="own", destination="folder/own")[0] == "AccessDenied"
    assert server.refused("moveFile", source="own", destination="folder")[0] == "AlreadyExists"
    server.ok("moveFile", source="folder", destination="renamed")
    assert (workspace / "renamed").is_symlink()
    server.ok("moveFile", source="own", destination="moved")
    assert outside.untouched()


def test_O3_a_refusal_names_the_link_and_where_it_points(server, workspace):
    (workspace / "real").write_text("text")
    (workspace / "link").symlink_to("real")
    (workspace / "folder").mkdir()
    (workspace / "folder/inner").symlink_to("../real")
    assert "'link' is a symbolic link to 'real'" in server.refused("readTextFile", path="link")[1]
    assert "'folder/inner' is a symbolic link" in server.refused("writeTextFile", path="folder/inner", text="")[1]
    assert server.ok("readTextFile", path="real")["content"] == "text"


def test_O1_removing_a_tree_removes_its_links_and_not_their_targets(server, workspace, outside):
    (workspace / "tree/sub").mkdir(parents=True)
    (workspace / "tree/link").symlink_to(outside.path)
    (workspace / "tree/sub/link").symlink_to(outside.file)
    server.ok("deleteDirectory", path="tree", recursive=True)
    assert not (workspace / "tree").exists()
    assert outside.untouched()


def test_one_dangling_or_escaping_link_does_not_spoil_a_list(server, workspace, outside):
    (workspace / "dangling").symlink_to("nowhere")
    (workspace / "escaping").symlink_to(outside.file)
    (workspace / "file").touch()
    types = {item["name"]: item["type"] for item in server.ok("listDirectory", path=".")["items"]}
    assert types == {"dangling": "symlink", "escaping": "symlink", "file": "file"}


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "../outside/secret.txt",
        "/etc/passwd",
        "//etc/passwd",
        "a/../../outside/secret.txt",
        "/",
        "~",
        "~/x",
        "~/../x",
    ],
)
def test_O4_a_path_that_leaves_the_workspace_is_denied(server, outside, path):
    for tool in ("readTextFile", "listDirectory", "getFileInfo"):
        kind, message = server.refused(tool, path=path)
        assert kind == "AccessDenied"
        assert "outside the workspace" in message
    assert server.refused("writeTextFile", path=path, text="pwned")[0] == "AccessDenied"
    assert outside.untouched()


def test_O4_a_sibling_whose_name_begins_like_the_workspace_is_outside(server, workspace, canary):
    sibling = workspace.parent / f"{workspace.name}-evil"
    sibling.mkdir()
    (sibling / "file").write_text(canary)
    for path in (f"{sibling}/file", f"../{sibling.name}/file", f"{workspace}/../{sibling.name}/file"):
        assert server.refused("readTextFile", path=path)[0] == "AccessDenied"
    (workspace / "file").write_text("own")
    assert server.ok("readTextFile", path=f"{workspace}/file")["content"] == "own"


@pytest.mark.parametrize("path", ["a\0b", "x" * 4_097, "y" * 300, "\ud800"])
def test_O4_an_impossible_path_is_an_error(server, path):
    assert server.refused("readTextFile", path=path)[0] in ("InvalidArguments", "NotFound")
    assert server.refused("writeTextFile", path=path, text="")[0] == "InvalidArguments"


def test_O4_odd_spellings_of_a_path_inside_mean_the_file_inside(server, workspace, canary):
    (workspace / "d").mkdir()
    (workspace / "d/f").write_text(canary)
    for path in ("d/f", "./d//f", "d/./f", "d/../d/f", "x/../d/f", f"{workspace}//d/f", f"/{workspace}/d/f"):
        assert server.ok("readTextFile", path=path)["content"] == canary
    for name in ("．．", "…", "..\\..\\x", "~x"):
        server.ok("writeTextFile", path=name, text=canary)
        assert (workspace / name).read_text() == canary


def test_O4_the_workspace_may_be_given_by_a_link_and_named_either_way(launch, tmp_path, canary):
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    (real / "f").write_text(canary)
    link.symlink_to(real)
    server = launch(tmp_path, command=[sys.executable, "-m", "perstack_skill_base", "--workspace", str(link)])
    for path in ("f", f"{real}/f", f"{link}/f"):
        assert server.ok("readTextFile", path=path)["content"] == canary


@pytest.mark.parametrize("path", ["", ".", "./", "a/.."])
def test_AF3_the_workspace_itself_is_never_a_target(server, workspace, path):
    (workspace / "keep").touch()
    for tool, arguments in (
        ("deleteDirectory", {"path": path, "recursive": True}),
        ("deleteFile", {"path": path}),
        ("moveFile", {"source": path, "destination": "x"}),
        ("createDirectory", {"path": path}),
        ("writeTextFile", {"path": path, "text": ""}),
    ):
        assert server.refused(tool, **arguments)[0] == "AccessDenied"
    assert [entry.name for entry in workspace.iterdir()] == ["keep"]
    assert [item["name"] for item in server.ok("listDirectory", path=path)["items"]] == ["keep"]


def test_AF5_a_hard_linked_file_is_not_written(server, workspace, outside):
    os.link(outside.file, workspace / "hard")
    for tool in ("writeTextFile", "appendTextFile", "editTextFile"):
        (workspace / "plain").write_text(outside.canary)
        kind, message = server.refused(tool, path="hard", **FILE_TOOLS[tool])
        assert kind == "AccessDenied"
        assert "hard links" in message
        server.ok(tool, path="plain", **FILE_TOOLS[tool])
    assert outside.file.read_text() == outside.canary


@pytest.mark.parametrize(
    "tool", ["readTextFile", "readImageFile", "readPdfFile", "writeTextFile", "appendTextFile", "editTextFile"]
)
def test_AF6_a_fifo_socket_or_device_is_an_error_at_once(server, workspace, tool, monkeypatch):
    os.mkfifo(workspace / "fifo")
    monkeypatch.chdir(workspace)  # a socket's path is at most 108 characters
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        names = ["fifo", "socket"]
        try:
            os.mknod(workspace / "device", 0o020666, os.makedev(1, 5))
            names.append("device")
        except PermissionError:
            pass  # only root makes devices
        for name in names:
            ident = server.begin(tool, path=name, **FILE_TOOLS[tool])
            assert server.finish(ident, seconds=1)["error"] == "NotAFile"
    (workspace / "file").write_bytes({"readImageFile": IMAGE, "readPdfFile": b"%PDF-"}.get(tool, b"canary"))
    server.ok(tool, path="file", **FILE_TOOLS[tool])


def test_AF13_names_with_control_bidi_or_invalid_characters_are_shown_escaped(server, workspace):
    raw = os.fsencode(workspace)
    for name in (b"a\x1b[31mred", "b\u202egnp.exe".encode(), b"c\xff", b"d\nline", "e\u200b".encode(), b"f" * 255):
        with open(raw + b"/" + name, "wb"):
            pass
    (workspace / "grün.txt").touch()
    items = server.ok("listDirectory", path=".")["items"]
    assert [item["name"] for item in items] == [
        r"a\x1b[31mred",
        r"b\u202egnp.exe",
        r"c\udcff",
        r"d\nline",
        r"e\u200b",
        "f" * 255,
        "grün.txt",
    ]
    assert [item.get("escaped", False) for item in items] == [True] * 5 + [False] * 2
    assert server.refused("writeTextFile", path="g\x1b[2J", text="")[0] == "InvalidArguments"
    server.ok("readTextFile", path="a\x1b[31mred")
