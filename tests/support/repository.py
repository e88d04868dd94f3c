"""What the repository holds, for the tests that check the repository itself."""

from __future__ import annotations

import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True, slots=True)
class Distribution:
    """One member of the workspace: its folder and what its pyproject.toml says."""

    folder: Path
    project: dict[str, object]
    tool: dict[str, object]

    @property
    def name(self) -> str:
        return str(self.project["name"])

    @property
    def short_name(self) -> str:
        return self.name.removeprefix("perstack-")

    @property
    def package(self) -> str:
        """The import name: the distribution's with underscores, but for core, which is `perstack` itself."""
        return "perstack" if self.name == "perstack-core" else self.name.replace("-", "_")

    @property
    def source(self) -> Path:
        return self.folder / "src" / self.package

    @property
    def dependencies(self) -> list[str]:
        return [str(item) for item in self.project.get("dependencies", [])]  # type: ignore[attr-defined]

    def modules(self) -> list[Path]:
        return sorted(self.source.rglob("*.py"))


def read_toml(path: Path) -> dict[str, object]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def distributions() -> list[Distribution]:
    """Every member of the workspace, as the root's patterns find them."""
    patterns = read_toml(ROOT / "pyproject.toml")["tool"]["uv"]["workspace"]["members"]  # type: ignore[index]
    folders = [path.parent for pattern in patterns for path in sorted(ROOT.glob(f"{pattern}/pyproject.toml"))]
    read = [(folder, read_toml(folder / "pyproject.toml")) for folder in folders]
    return [Distribution(folder=folder, project=toml["project"], tool=toml["tool"]) for folder, toml in read]  # type: ignore[arg-type]


def tracked_files() -> list[Path]:
    """Every file that git keeps and that is there."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    paths = (ROOT / name for name in listing.stdout.split("\0") if name)
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()
