"""Bounds of the base tools, each with its reason. Those in `Bounds` can be set by the policy of a run."""

from __future__ import annotations

from typing import NamedTuple

from perstack_proxy.limits import KIB, MIB


class Bounds(NamedTuple):
    """What the policy of a run may set; in its JSON the names are in camel case.

    Attributes:
        read_bytes: Most bytes of text that one read returns; about 16,000 tokens. More is read page by page.
        scan_bytes: Most bytes that readTextFile passes over to reach a line, so that a huge sparse file ends soon.
        edit_bytes: Largest file that is edited or patched; it is held in memory a few times.
        list_entries: Most entries that one listDirectory returns.
        tree_entries: Most files and directories that one search, or one change of a whole directory, looks at.
        tree_depth: Deepest directory that they enter; real projects stay under 40.
        search_file_bytes: Larger files are not searched, and counted: it is what a search holds in memory.
        search_results: Most matches that one search returns.
        search_result_bytes: Most bytes of matched lines that one search returns; about 16,000 tokens.
        search_ms: Time of one search. A regular expression can be written to run for ever.
        file_ms: Time of one call that works on a whole tree of files.
        patch_files: Most files in one patch.
        image_pixels: Largest image that is passed on. A few bytes can claim an area that fills a decoder's memory.
        pdf_pages: Longest document that is passed on; more than providers take.
        exec_timeout_ms: Time of a command that does not ask for another. The requirement's figure.
        exec_max_timeout_ms: Longest time that a command may ask for.
        exec_stream_bytes: Bytes of each stream in a command's result: its first and last half. About 16,000 tokens.
        exec_spill_bytes: Bytes of each stream that are kept to be read afterwards.
    """

    read_bytes: int = 64 * KIB
    scan_bytes: int = 512 * MIB
    edit_bytes: int = 10 * MIB
    list_entries: int = 2_000
    tree_entries: int = 200_000
    tree_depth: int = 100
    search_file_bytes: int = 10 * MIB
    search_results: int = 500
    search_result_bytes: int = 64 * KIB
    search_ms: int = 20_000
    file_ms: int = 60_000
    patch_files: int = 100
    image_pixels: int = 50_000_000
    pdf_pages: int = 1_000
    exec_timeout_ms: int = 60_000
    exec_max_timeout_ms: int = 3_600_000
    exec_stream_bytes: int = 64 * KIB
    exec_spill_bytes: int = 16 * MIB


#: Longest path, in characters: Linux's own limit.
PATH_CHARACTERS = 4_096
#: Longest line of a match; the rest of it is left out, as minified files have lines of megabytes.
MATCH_CHARACTERS = 500
#: Longest search pattern, in characters; a longer one is a generated one.
PATTERN_CHARACTERS = 1_000
#: Most lines around a match.
CONTEXT_LINES = 10
#: Most edits in one call.
EDITS = 200

#: Time that a command's tree has between SIGTERM and SIGKILL, in milliseconds.
EXEC_GRACE_MS = 2_000
#: Most arguments and variables of a command; the kernel bounds their bytes.
EXEC_ARGUMENTS = 4_096
#: Commands whose long output is kept, oldest dropped first: 8 of 2 streams of 16 MiB fit into a small sandbox's /tmp.
KEPT_OUTPUTS = 8
#: Seconds between two progress messages of a command, and the most bytes of its output that one of them repeats.
PROGRESS_SECONDS = 0.25
PROGRESS_BYTES = 2 * KIB

#: Most tasks, and the longest task, of the todo list; all of it is sent to the model each time.
TODO_ITEMS = 500
TODO_CHARACTERS = 2_000

#: Calls that run at once; more are refused, which a client that pipelines without end needs.
CONCURRENT_CALLS = 64
