"""What the documents say is there: links, anchors, commands, pages."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT, relative, tracked_files

PAGES = [path for path in tracked_files() if path.suffix == ".md"]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
MAKE = re.compile(r"\bmake ([a-z]+)\b")
TARGET = re.compile(r"^([a-z]+):", re.MULTILINE)


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as the pages' renderers make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    plain = (re.sub(r"[^\w\s-]", "", heading.lower()).strip() for heading in headings)
    return {re.sub(r"[\s]+", "-", heading) for heading in plain}


def links(path: Path) -> list[str]:
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    return [link for link in LINK.findall(re.sub(r"`[^`]*`", "", text)) if "://" not in link and "mailto:" not in link]


def broken_links(path: Path) -> list[str]:
    broken = []
    for link in links(path):
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    return broken


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One, two\n[good](page.md#one-two) [gone](gone.md) [lost](#three)\n```\n[code](code.md)\n```\n")
    assert broken_links(page) == ["gone.md", "#three"]


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_link_leads_to_a_page_and_its_heading(page: Path) -> None:
    assert broken_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_make_command_in_a_page_is_a_target(page: Path) -> None:
    targets = set(TARGET.findall((ROOT / "Makefile").read_text()))
    commands = [
        text for text in re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8")) if text.startswith("make ")
    ]
    blocks = "\n".join(FENCE.findall(page.read_text(encoding="utf-8")))
    named = {name for text in commands for name in MAKE.findall(text)} | set(
        re.findall(r"^(?:\$ )?make ([a-z]+)", blocks, re.MULTILINE)
    )
    assert named <= targets


def test_the_two_commands_of_the_readme_are_what_ci_runs() -> None:
    readme = (ROOT / "README.md").read_text()
    block = next(block for block in FENCE.findall(readme) if "make" in block)
    named = re.findall(r"^make ([a-z]+)", block, re.MULTILINE)
    lines = [line for line in (ROOT / ".ci/run").read_text().splitlines() if line and not line.startswith("#")]
    assert named == ["demo", "test"]
    assert lines[-3:] == ["make check", "make demo", "make test"]


def test_the_navigation_holds_every_page_of_the_documentation() -> None:
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    named = set(re.findall(r"([\w/-]+\.md)", (ROOT / "mkdocs.yml").read_text()))
    assert named == pages


def test_every_decision_is_listed_and_has_the_same_parts() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text()
    for path in sorted(folder.glob("*.md")):
        if path.name == "README.md":
            continue
        assert f"({path.name})" in index, path.name
        assert {"decision", "why"} <= anchors(path), path.name


TOML = re.compile(r"^```toml\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROJECTS = [
    pytest.param(block, id=f"{relative(page)}-{number}")
    for page in PAGES
    for number, block in enumerate(TOML.findall(page.read_text(encoding="utf-8")))
    if re.search(r"^\[experts\.", block, re.MULTILINE) and "\ninstruction" in block and "delegates" not in block
]


@pytest.mark.parametrize("block", PROJECTS)
def test_every_project_in_a_page_is_a_valid_one(block: str, tmp_path: Path) -> None:
    (tmp_path / "perstack.toml").write_text(block)
    check = [sys.executable, "-m", "perstack", "check", "--config", str(tmp_path / "perstack.toml")]
    done = subprocess.run(check, check=False, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
