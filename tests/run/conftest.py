"""Whole runs: perstack as a process, a model that follows a script over real HTTP, skills as real processes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from perstack.testing.project import Project

FAKE_SKILL = f'type = "mcpStdioSkill"\ncommand = "{sys.executable}"\nargs = ["-m", "perstack.testing.fake_skill"]\n'


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with one Expert, ``demo``, that has the base skill alone."""
    return Project(tmp_path, '[experts.demo]\ninstruction = "You are the demo Expert."\n')
