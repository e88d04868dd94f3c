"""Protections of the base tools, and code that takes each of them away, to show that a test would notice.

The code runs in a server that only the tests start; nothing of it is in what is shipped.
"""

from __future__ import annotations

from typing import NamedTuple

VARIABLE = "PERSTACK_TEST_MUTATION"
_FILES = "tests/skill_base/test_rows_files.py::"
_EXEC = "tests/skill_base/test_rows_exec.py::"


class Mutation(NamedTuple):
    """One protection.

    Attributes:
        row: The requirement's row or the attack that it stops.
        test: The test that must fail without it.
        code: Python that takes it away, run before the server starts.
    """

    row: str
    test: str
    code: str


MUTATIONS = {
    "links on the way are not followed": Mutation(
        "O1",
        f"{_FILES}test_O1_O3_AF1_no_tool_follows_a_link_on_the_way[process]",
        "import os\n"
        "from perstack_skill_base import beneath, paths\n"
        "follow = lambda root, parts: os.open('/'.join(parts) or '.', os.O_RDONLY | os.O_DIRECTORY, dir_fd=root)\n"
        "beneath.open_directory = paths.open_directory = follow\n"
        "paths.open_by_walk = lambda root, parts, create=False: follow(root, parts)\n",
    ),
    "a final link is not followed": Mutation(
        "AF1",
        f"{_FILES}test_O1_O3_AF1_no_tool_follows_a_final_link[process]",
        "import os\n"
        "from perstack_skill_base import paths\n"
        "paths.FILE_FLAGS &= ~os.O_NOFOLLOW\n"
        "paths.refuse_special = lambda entry, state: None\n",
    ),
    "paths stay in the workspace": Mutation(
        "O4",
        f"{_FILES}test_O4_a_path_that_leaves_the_workspace_is_denied[process]",
        "from perstack_skill_base import paths\n"
        "paths.Workspace.locate = lambda self, path: paths.Place(tuple(path.split('/')))\n"
        "import os\n"
        "paths.open_directory = lambda root, parts: os.open('/'.join(parts) or '.', os.O_RDONLY, dir_fd=root)\n",
    ),
    "hard-linked files are not written": Mutation(
        "AF5",
        f"{_FILES}test_AF5_a_hard_linked_file_is_not_written[process]",
        "from perstack_skill_base import files, paths\n"
        "from perstack_skill_base.tools import write\n"
        "files.refuse_unwritable = write.refuse_unwritable = lambda entry, state: None\n",
    ),
    "only regular files are opened": Mutation(
        "AF6",
        f"{_FILES}test_AF6_a_fifo_socket_or_device_is_an_error_within_a_second[process]",
        "import os\n"
        "from perstack_skill_base import paths\n"
        "paths.FILE_FLAGS &= ~os.O_NONBLOCK\n"
        "paths.refuse_special = lambda entry, state: None\n",
    ),
    "control files are not written": Mutation(
        "AF9",
        f"{_FILES}test_AF9_control_files_are_not_written_moved_or_deleted[process]",
        "from perstack_proxy.file_policy import FilePolicy\nFilePolicy.control = lambda self, parts: None\n",
    ),
    "secret files are not read": Mutation(
        "AF10",
        f"{_FILES}test_AF10_secret_files_are_not_read_by_any_tool[process]",
        "from perstack_proxy.file_policy import FilePolicy\nFilePolicy.secret = lambda self, parts: False\n",
    ),
    "lost updates are errors": Mutation(
        "AF14",
        f"{_FILES}test_AF14_a_lost_update_is_an_error[process]",
        "from perstack_skill_base import files\n"
        "from perstack_skill_base.tools import edit, write\n"
        "write.check_expected = edit.check_expected = lambda *arguments: None\n",
    ),
    "protected names are dropped": Mutation(
        "V3",
        f"{_EXEC}test_V3_X3_protected_names_are_dropped_in_any_case[process]",
        "from perstack_skill_base.tools import execute\nexecute.is_protected = lambda name: False\n",
    ),
    "nothing of a command survives": Mutation(
        "AX2",
        f"{_EXEC}test_AX2_nothing_survives_a_call[process-new session]",
        "from perstack_skill_base import children\n"
        "children.end_tree = lambda *arguments, **options: []\n"
        "children._START = children._START.replace(\n"
        "    'from {module} import main; main()',\n"
        "    'import {module} as m; m.end_tree = lambda *a, **o: []; m.main()')\n",
    ),
    "a timeout is within its bounds": Mutation(
        "AX3",
        f"{_EXEC}test_AX3_only_whole_milliseconds_up_to_the_maximum_are_a_timeout[process]",
        "from perstack_skill_base import server\nserver.check = lambda *arguments: None\n",
    ),
    "the working directory is in the workspace": Mutation(
        "X5",
        f"{_EXEC}test_X5_AF2_a_working_directory_outside_is_refused[process]",
        "import os\n"
        "from perstack_skill_base import beneath, paths\n"
        "paths.open_directory = lambda root, parts: os.open('/'.join(parts) or '.', os.O_RDONLY, dir_fd=root)\n",
    ),
}


NONE = "none"
"""Takes nothing away: the control."""


def program(name: str) -> str:
    """The server's program without one protection."""
    code = "" if name == NONE else MUTATIONS[name].code
    return f"{code}\nfrom perstack_skill_base.server import main\nraise SystemExit(main())"
