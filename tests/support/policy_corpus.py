"""Configurations of one skill: what every runtime refuses for the same reason, and what every runtime has to hold.

No runtime takes any of `REFUSED`. Each takes all of `HELD`, and holds of it what it claims.
"""

from __future__ import annotations

from dataclasses import dataclass

PROTECTED = (
    *("PATH", "HOME", "SHELL", "NODE_PATH", "LD_PRELOAD", "LD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES"),
    *("DYLD_LIBRARY_PATH", "NODE_OPTIONS", "PYTHONPATH", "PERL5LIB", "RUBYLIB", "ld_preload", "Path", "BASH_ENV"),
    *("LD_AUDIT", "PYTHONSTARTUP", "GIT_SSH_COMMAND"),
)
DOMAINS = (
    *("*.com", "com", "localhost", "169.254.169.254", "[::1]", "2130706433", "a.*.example.com", "*", "host..example"),
    *(
        "http://api.example.com",
        "api.example.com:443",
        "api.example.com/path",
        "-api.example.com",
        "api.example.com\\n",
    ),
)
IMAGES = ("-v", "image name", "--privileged", "image\\nUSER 0")
LIMITS = ('memory = "4GiB"', "cpus = 64", "pids = 100000", 'memory = "-1MiB"', "cpus = 0", "pids = -1", "swap = 1")
ODD_KEYS = ('network = "host"', "privileged = true", 'user = "root"', 'mounts = ["/:/host"]', 'capAdd = ["ALL"]')


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A skill's table. `top` stands before the Expert."""

    name: str
    body: str = ""
    top: str = ""


def _asking(*names: str) -> str:
    return f"requiredEnv = [{', '.join(names)}]"


REFUSED = (
    *(Configuration(name=f"protected {name}", body=_asking(f'"{name}"')) for name in PROTECTED),
    Configuration(name="the model's key", body=_asking('"OPENAI_API_KEY"')),
    Configuration(name="the model's key by another name", body=_asking('{ name = "X", from = "ANTHROPIC_API_KEY" }')),
    *(Configuration(name=f"name {name!r}", body=_asking(f'"{name}"')) for name in ("A B", "A=B", "A\\nB", "", "1A")),
    *(Configuration(name=f"domain {name!r}", body=f'allowedDomains = ["{name}"]') for name in DOMAINS),
    *(Configuration(name=f"image {name!r}", body=f'image = "{name}"') for name in IMAGES),
    *(Configuration(name=f"limits {text}", body=f"limits = {{ {text} }}") for text in LIMITS),
    *(Configuration(name=f"key {text}", body=text) for text in ODD_KEYS),
    Configuration(name="an unknown mode", body='workspaceMode = "everything"'),
    Configuration(name="an unknown control", top='policy = { require = ["gravity"] }\n'),
    Configuration(name="a control that nobody claims", top='policy = { require = ["limits.disk"] }\n'),
    Configuration(name="a relaxed control", top='policy = { relax = ["network"] }\n'),
    Configuration(name="higher limits for itself", top='policy = { limits = { memory = "64GiB" } }\n'),
)

HELD = (
    Configuration(name="nothing"),
    Configuration(name="one-variable", body=_asking('"WANTED"')),
    Configuration(name="three-variables", body=_asking('"WANTED"', '"OTHER"', '"THIRD"')),
    Configuration(name="a-renamed-variable", body=_asking('{ name = "TOKEN", from = "WANTED" }')),
    Configuration(name="an-odd-value", body=_asking('"ODD"')),
    Configuration(name="a-described-variable", body=_asking('{ name = "WANTED", description = "To sign in." }')),
    *(
        Configuration(name=f"memory-{size}", body=f'limits = {{ memory = "{size}MiB" }}')
        for size in (64, 128, 512, 2048)
    ),
    *(Configuration(name=f"processes-{most}", body=f"limits = {{ pids = {most} }}") for most in (16, 32, 100, 256)),
    *(
        Configuration(name=f"processors-{str(most).replace('.', '-')}", body=f"limits = {{ cpus = {most} }}")
        for most in (0.5, 1, 1.5, 2)
    ),
    Configuration(name="all-limits", body='limits = { memory = "96MiB", pids = 24, cpus = 0.75 }'),
    Configuration(name="limits-and-variables", body=_asking('"WANTED"') + '\nlimits = { memory = "64MiB", pids = 20 }'),
    Configuration(name="lazy", body="lazyInit = true"),
    Configuration(name="lazy-and-limited", body='lazyInit = true\nlimits = { memory = "64MiB" }'),
    Configuration(name="a-long-timeout", body="timeout = 600000"),
    Configuration(name="asks-the-model", body="allowSampling = true"),
    Configuration(name="asks-the-person", body="allowElicitation = true"),
    Configuration(name="read-write", body='workspaceMode = "rw"'),
)
"""Held by every runtime, for the controls that it claims."""

HELD_IN_CONTAINERS = (
    Configuration(name="read-only", body='workspaceMode = "ro"'),
    Configuration(name="read-only-and-limited", body='workspaceMode = "ro"\nlimits = { pids = 24 }'),
    Configuration(name="read-only-with-a-variable", body='workspaceMode = "ro"\n' + _asking('"OTHER"')),
    Configuration(name="a-copy", body='workspaceMode = "overlay"'),
    Configuration(name="a-copy-and-a-variable", body='workspaceMode = "overlay"\n' + _asking('"THIRD"')),
    Configuration(name="one-domain", body='allowedDomains = ["api.example.com"]'),
    Configuration(name="two-domains", body='allowedDomains = ["api.example.com", "api.example.org"]'),
    Configuration(name="a-wildcard", body='allowedDomains = ["*.wide.example.com"]'),
    Configuration(name="a-wildcard-and-its-apex", body='allowedDomains = ["*.example.net", "example.net"]'),
    Configuration(name="a-domain-in-capitals", body='allowedDomains = ["API.Example.COM"]'),
    Configuration(name="a-domain-and-limits", body='allowedDomains = ["api.example.com"]\nlimits = { pids = 48 }'),
    Configuration(name="a-domain-and-a-variable", body='allowedDomains = ["api.example.com"]\n' + _asking('"WANTED"')),
    Configuration(name="a-domain-read-only", body='allowedDomains = ["example.org"]\nworkspaceMode = "ro"'),
)
"""Held by runtimes with a boundary. The local one takes those with domains, and enforces none of them."""
