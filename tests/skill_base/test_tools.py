"""What each tool answers: the original's members, its limits, and errors that say what to do next."""

from __future__ import annotations

import base64
import hashlib
import os

import pytest
from perstack_proxy.limits import MIB


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


PNG = b"\x89PNG\r\n\x1a\n" + bytes(32)


def test_a_text_is_written_appended_and_read_back(server, workspace, canary):
    assert server.ok("writeTextFile", path="a.txt", text=f"{canary}\nzwei ü\n").data == {
        "path": "a.txt",
        "text": f"{canary}\nzwei ü\n",
        "hash": digest(f"{canary}\nzwei ü\n"),
    }
    assert server.ok("appendTextFile", path="a.txt", text="three").data == {"path": "a.txt", "text": "three"}
    assert server.ok("readTextFile", path="a.txt").data == {
        "path": "a.txt",
        "content": f"{canary}\nzwei ü\nthree",
        "from": 0,
        "to": 3,
        "hash": digest(f"{canary}\nzwei ü\nthree"),
    }
    assert (workspace / "a.txt").read_text() == f"{canary}\nzwei ü\nthree"


def test_W_57_missing_parents_are_made_where_the_original_documents_it(server, workspace):
    server.ok("writeTextFile", path="w/x/a.txt", text="1")
    server.ok("createDirectory", path="c/d/e")
    server.ok("moveFile", source="w/x/a.txt", destination="m/n/b.txt")
    assert (workspace / "m/n/b.txt").read_text() == "1"
    assert (workspace / "c/d/e").is_dir()


def test_lines_are_read_by_zero_based_ranges(server, workspace):
    (workspace / "a").write_text("0\n1\n2\n3\n")
    assert server.ok("readTextFile", path="a", **{"from": 1, "to": 3})["content"] == "1\n2\n"
    assert server.ok("readTextFile", path="a", **{"from": 3})["content"] == "3\n"
    assert server.ok("readTextFile", path="a", **{"from": 9})["content"] == ""
    assert server.ok("readTextFile", path="a", **{"from": 2, "to": 1})["content"] == ""


def test_AF7_a_large_file_is_read_page_by_page_to_its_end(server, workspace):
    text = "".join(f"line {number}\n" for number in range(100_000))
    (workspace / "big").write_text(text)
    pages, start = [], 0
    while True:
        page = server.ok("readTextFile", path="big", **{"from": start})
        pages.append(page["content"])
        if not page.data.get("truncated"):
            break
        start = page["to"]
        assert f"from={start}" in page["hint"]
    assert "".join(pages) == text
    assert len(pages) > 1


def test_AF7_an_endless_line_and_a_huge_sparse_file_cost_little(server, workspace):
    (workspace / "line").write_bytes(b"x" * MIB)
    assert len(server.ok("readTextFile", path="line")["content"]) == 64 * 1024
    with (workspace / "sparse").open("wb") as file:
        file.write(b"x\n")
        file.truncate(10_000 * MIB)
    assert server.refused("readTextFile", path="sparse")[0] == "NotText"
    with (workspace / "sparse").open("r+b") as file:
        file.write(b"x\n" * 8192)
    kind, message = server.refused("readTextFile", path="sparse", **{"from": 99_999})
    assert kind == "TooLarge"
    assert "Use offset" in message
    assert int(server.ok("healthCheck")["memory"]["heapTotal"].removesuffix("MB")) < 64


def test_an_image_is_returned_itself_whatever_it_is_called(server, workspace):
    (workspace / "photo.dat").write_bytes(PNG)
    result = server.ok("readImageFile", path="photo.dat")
    assert result.data == {"path": "photo.dat", "mimeType": "image/png", "size": len(PNG)}
    assert base64.b64decode(result.parts[0]["data"]) == PNG
    assert result.parts[0]["mimeType"] == "image/png"


def test_a_pdf_is_returned_itself(server, workspace):
    (workspace / "a b.pdf").write_bytes(b"%PDF-1.7\n...")
    resource = server.ok("readPdfFile", path="a b.pdf").parts[0]["resource"]
    assert resource["uri"] == "workspace:///a%20b.pdf"
    assert base64.b64decode(resource["blob"]) == b"%PDF-1.7\n..."


def test_AF8_the_content_and_not_the_name_decides_what_a_file_is(server, workspace, canary):
    (workspace / "x.png").write_text(canary)
    (workspace / "x.pdf").write_text(canary)
    (workspace / "real.pdf").write_bytes(b"%PDF-1.4")
    assert "is not supported" in server.refused("readImageFile", path="x.png")[1]
    assert "is not a PDF file" in server.refused("readPdfFile", path="x.pdf")[1]
    assert "is not supported" in server.refused("readImageFile", path="real.pdf")[1]
    server.ok("readPdfFile", path="real.pdf")


@pytest.mark.parametrize(("tool", "head", "limit"), [("readImageFile", PNG, 15), ("readPdfFile", b"%PDF-", 30)])
def test_a_file_at_the_limit_is_returned_and_one_byte_more_is_too_large(server, workspace, tool, head, limit):
    path = workspace / "file"
    path.write_bytes(head)
    os.truncate(path, limit * MIB)
    assert server.ok(tool, path="file")["size"] == limit * MIB
    os.truncate(path, limit * MIB + 1)
    assert server.refused(tool, path="file") == ("TooLarge", f"'file' is too large: more than {limit} MiB.")


def test_file_info_has_the_members_of_the_original(server, workspace):
    (workspace / "a.json").write_text("{}")
    info = server.ok("getFileInfo", path="a.json")
    assert {name: info[name] for name in ("exists", "path", "name", "extension", "type", "mimeType", "size")} == {
        "exists": True,
        "path": "a.json",
        "name": "a.json",
        "extension": ".json",
        "type": "file",
        "mimeType": "application/json",
        "size": 2,
    }
    assert info["absolutePath"] == str(workspace / "a.json")
    assert info["sizeFormatted"] == "2 B"
    assert info["permissions"] == {"readable": True, "writable": True, "executable": False}
    assert info["modified"].endswith("Z")
    folder = server.ok("getFileInfo", path=".")
    assert (folder["type"], folder["mimeType"], folder["absolutePath"]) == ("directory", None, str(workspace))


def test_a_directory_is_listed_by_name_with_types(server, workspace):
    (workspace / "b").mkdir()
    (workspace / "a.txt").write_text("123")
    items = server.ok("listDirectory", path="")["items"]
    assert [(item["name"], item["path"], item["type"]) for item in items] == [
        ("a.txt", "a.txt", "file"),
        ("b", "b", "directory"),
    ]
    assert items[0]["size"] == 3


def test_a_list_over_the_limit_says_so(server, workspace):
    for number in range(2_001):
        (workspace / f"{number:05}").touch()
    listing = server.ok("listDirectory", path=".")
    assert (len(listing["items"]), listing["truncated"], listing["total"]) == (2_000, True, 2_001)


def test_what_exists_is_not_overwritten_by_move_or_create(server, workspace):
    (workspace / "a").write_text("a")
    (workspace / "b").write_text("b")
    assert server.refused("moveFile", source="a", destination="b")[0] == "AlreadyExists"
    assert server.refused("createDirectory", path="b")[0] == "AlreadyExists"
    assert (workspace / "b").read_text() == "b"
    server.ok("moveFile", source="a", destination="c")


def test_a_directory_is_not_moved_into_itself_and_nothing_is_made_on_the_way(server, workspace):
    (workspace / "a" / "b").mkdir(parents=True)
    kind, message = server.refused("moveFile", source="a", destination="a/new/place")
    assert (kind, "into itself" in message) == ("InvalidArguments", True)
    assert [entry.name for entry in (workspace / "a").iterdir()] == ["b"]
    server.ok("moveFile", source="a", destination="ab/new")
    assert (workspace / "ab" / "new" / "b").is_dir()


def test_delete_tools_say_which_one_is_right(server, workspace):
    (workspace / "d/e/f").mkdir(parents=True)
    (workspace / "d/e/file").touch()
    assert "Use deleteDirectory" in server.refused("deleteFile", path="d")[1]
    assert "Use deleteFile" in server.refused("deleteDirectory", path="d/e/file")[1]
    assert "Set recursive" in server.refused("deleteDirectory", path="d")[1]
    server.ok("deleteFile", path="d/e/file")
    server.ok("deleteDirectory", path="d", recursive=True)
    assert not (workspace / "d").exists()


def _make_deep(workspace, depth):
    handle = os.open(workspace, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("deep", dir_fd=handle)
        below = os.open("deep", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = below
    os.close(handle)


def test_a_tree_as_deep_as_the_bound_is_removed(server, workspace):
    _make_deep(workspace, 100)
    server.ok("deleteDirectory", path="deep", recursive=True)
    assert list(workspace.iterdir()) == []


@pytest.mark.parametrize("depth", [102, 1_000])
def test_a_tree_deeper_than_the_bound_is_refused_with_a_way_out(server, workspace, depth):
    _make_deep(workspace, depth)
    kind, message = server.refused("deleteDirectory", path="deep", recursive=True)
    assert kind == "TooLarge"
    assert "'rm'" in message
    server.ok("exec", command="rm", args=["-r", "deep"])
    assert list(workspace.iterdir()) == []


def test_a_read_only_file_is_not_changed(server, workspace):
    file = workspace / "a"
    file.write_text("keep")
    file.chmod(0o444)
    for tool, arguments in (
        ("writeTextFile", {"path": "a", "text": ""}),
        ("appendTextFile", {"path": "a", "text": "x"}),
        ("editTextFile", {"path": "a", "oldText": "keep", "newText": ""}),
        ("moveFile", {"source": "a", "destination": "b"}),
        ("deleteFile", {"path": "a"}),
    ):
        assert server.refused(tool, **arguments)[0] == "NotWritable"
    assert file.read_text() == "keep"
    file.chmod(0o644)
    server.ok("deleteFile", path="a")


def test_AM11_the_todo_list_belongs_to_its_server_process(launch, workspace):
    one, other = launch(workspace), launch(workspace)
    assert one.ok("todo", newTodos=["a", "b"], completedTodos=[0, 9]).data == {
        "todos": [{"id": 0, "title": "a", "completed": True}, {"id": 1, "title": "b", "completed": False}],
        "unknownIds": [9],
    }
    assert other.ok("attemptCompletion").data == {}
    assert one.ok("attemptCompletion", result="done").data == {
        "remainingTodos": [{"id": 1, "title": "b", "completed": False}]
    }
    assert one.ok("clearTodo").data == {"todos": []}
    assert one.ok("todo", newTodos=["c"])["todos"][0]["id"] == 0
    assert one.ok("todo", completedTodos=[0])["todos"][0]["completed"]
    assert one.ok("attemptCompletion").data == {}


def test_the_todo_list_is_bounded(server):
    server.ok("todo", newTodos=["x"] * 500)
    assert server.refused("todo", newTodos=["y"])[0] == "InvalidArguments"


def test_health_names_the_workspace(server, workspace):
    health = server.ok("healthCheck")
    assert (health["status"], health["workspace"], health["pid"]) == ("ok", str(workspace), server.pid)
    assert health["uptime"].endswith("s")
