"""Plugins as an installer leaves them: a module, and a dist-info folder that names it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

HOOK = "from perstack.hookspecs import hookimpl\nfrom perstack.specs import *\n"
"""What most plugins begin with."""


@dataclass(frozen=True, kw_only=True)
class FakePlugin:
    """An installed plugin, and the file that exists once its module was imported."""

    name: str
    module: str
    imported: Path

    @property
    def was_imported(self) -> bool:
        return self.imported.exists()


def install(
    site: Path,
    name: str,
    source: str = "",
    *,
    distribution: str = "",
    version: str = "1.0",
    requires: tuple[str, ...] = ("perstack-core>=0.1,<0.2",),
    summary: str = "A plugin of the tests",
) -> FakePlugin:
    """Put a plugin called `name` into the directory `site`; importing its module leaves a mark."""
    distribution = distribution or f"perstack-{name}"
    module = f"fake_{uuid.uuid4().hex}"
    mark = site / f"{module}.imported"
    head = f"from pathlib import Path as _Path\n_Path({str(mark)!r}).touch()\n"
    (site / f"{module}.py").write_text(head + HOOK + source, encoding="utf-8")
    info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    lines = ["Metadata-Version: 2.4", f"Name: {distribution}", f"Version: {version}", f"Summary: {summary}"]
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    (info / "METADATA").write_text("\n".join([*lines, "", "Name: not a field but the description", ""]))
    (info / "entry_points.txt").write_text(
        f"[console_scripts]\nother = other:main\n\n[perstack]\n# a comment\n{name} = {module}\n"
    )
    return FakePlugin(name=name, module=module, imported=mark)


RUNTIME = """
@hookimpl
def perstack_register_runtimes():
    return [RuntimeSpec(name={name!r}, summary="A runtime", factory=dict, claims=frozenset(), aliases={aliases!r})]
"""


def runtime(name: str, *aliases: str) -> str:
    """The source of a plugin that offers a runtime."""
    return RUNTIME.format(name=name, aliases=aliases)
