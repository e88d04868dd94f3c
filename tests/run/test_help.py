"""The help and the page on running say the same."""

from __future__ import annotations

import re

from perstack.testing.project import Project
from repository import ROOT


def test_W_51_every_option_of_run_is_explained_on_the_page_and_no_other(project: Project) -> None:
    shown = project.perstack("run", "--help")
    assert shown.exit_code == 0
    options = set(re.findall(r"^\s+(?:-\w, )?(--[a-z][a-z-]+)", shown.stdout, re.MULTILINE)) - {"--help"}
    options -= {"--interactive-tool-call-result"}  # the page uses its short form
    page = (ROOT / "docs" / "user" / "running.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"--[a-z][a-z-]+", page))
    assert options - explained == set()
    assert explained - options == set()
