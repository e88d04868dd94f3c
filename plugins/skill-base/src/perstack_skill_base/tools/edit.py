"""editTextFile, editTextFileMany: literal replacements, all of them or none."""

from __future__ import annotations

from collections.abc import Iterator

from perstack_skill_base.calls import Call, ToolResult
from perstack_skill_base.errors import ToolError, invalid
from perstack_skill_base.files import bytes_of, check_expected, hash_of, read_writable, replace_unchanged


def edit_text_file(call: Call) -> ToolResult:
    """`oldText` stands once in the file and is now `newText`; every other byte and the mode are as before."""
    path = call.arguments.text("path")
    old, new = call.arguments.text("oldText"), call.arguments.text("newText")
    counts, digest = _change(call, path, [(old, new, call.arguments.flag("replaceAll"))])
    result: dict[str, object] = {"path": path, "newText": new, "oldText": old, "hash": digest}
    return ToolResult(result if counts == [1] else {**result, "replacements": counts[0]})


def edit_text_file_many(call: Call) -> ToolResult:
    """Each edit was made to what the one before it left; if one does not fit, none was made."""
    path = call.arguments.text("path")
    edits = [
        (edit.text("oldText"), edit.text("newText"), edit.flag("replaceAll"))
        for edit in call.arguments.objects("edits")
    ]
    if not edits:
        raise invalid("edits is empty.")
    counts, digest = _change(call, path, edits)
    return ToolResult({"path": path, "replacements": counts, "hash": digest})


def _change(call: Call, path: str, edits: list[tuple[str, str, bool]]) -> tuple[list[int], str]:
    with call.workspace.entry(path, reads=True, writes=True) as entry, call.workspace.writing:
        content = read_writable(call, entry)
        check_expected(call, entry, call.arguments)
        data, counts = content.data, []
        for number, (old, new, everywhere) in enumerate(edits, start=1):
            try:
                data, count = _edit(call, entry.shown, data, (old, new), everywhere=everywhere)
            except ToolError as error:
                if len(edits) == 1:
                    raise
                message = f"Edit {number} of {len(edits)}: {error.message} No edit was made."
                raise ToolError(error.kind, message) from None
            counts.append(count)
        replace_unchanged(entry, data, content.state)
    return counts, hash_of(data)


def _edit(call: Call, shown: str, content: bytes, texts: tuple[str, str], *, everywhere: bool) -> tuple[bytes, int]:
    """The content after one edit, `texts` being the old and the new one, and how many places it changed."""
    before, after = map(bytes_of, texts)
    if not before:
        raise invalid("oldText is empty. Give the text to replace, or use writeTextFile or appendTextFile.")
    missed = before not in content and b"\r\n" in content
    if missed or (b"\r" not in before + after and _has_only_crlf(content)):
        # The file has Windows line endings, and the model wrote the lines of its texts with others.
        before, after = _with_crlf(before), _with_crlf(after)
    starts = list(_occurrences(content, before, most=11))
    if not starts:
        raise ToolError("NotFound", f"oldText was not found in {shown!r}. Read the file and copy the text exactly.")
    if len(starts) > 1 and not everywhere:
        lines = [content.count(b"\n", 0, start) + 1 for start in starts]
        where = ", ".join(map(str, lines[:10])) + (", …" if len(lines) > 10 else "")
        raise ToolError(
            "NotUnique",
            f"oldText was found {len(lines) if len(lines) <= 10 else 'more than 10'} times in {shown!r}, "
            f"at lines {where}. Add surrounding text until it is unique, or set replaceAll.",
        )
    count = content.count(before)
    # Before it is made: a long text in place of each of many short ones would fill the memory.
    if len(content) + count * (len(after) - len(before)) > call.bounds.edit_bytes:
        raise ToolError("TooLarge", f"{shown!r} would be larger than {call.bounds.edit_bytes} bytes.")
    return content.replace(before, after), count


def _occurrences(content: bytes, wanted: bytes, *, most: int) -> Iterator[int]:
    """Where the text starts, overlaps included: they make a place ambiguous too."""
    start = content.find(wanted)
    while start >= 0 and most > 0:
        yield start
        most -= 1
        start = content.find(wanted, start + 1)


def _has_only_crlf(content: bytes) -> bool:
    return 0 < content.count(b"\n") == content.count(b"\r\n")


def _with_crlf(text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
