"""The variables that lead ordinary clients to the forwarder: curl, Python, git, npm, pip, and Node's fetch."""

from __future__ import annotations

import os

#: Gives fetch of Node before 24, which knows no proxy variables, the way to the forwarder.
NODE_PRELOAD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "node_proxy.cjs")


def proxy_variables(url: str, *, node_preload: str = NODE_PRELOAD) -> dict[str, str]:
    """Environment variables for a skill that reaches the outside by the forwarder at `url`.

    They hold plain HTTP too: it is denied at the gate with a reason, instead of failing to find a host.

    Args:
        url: Such as `http://127.0.0.1:3128`.
        node_preload: Where `node_proxy.cjs` is, as the skill sees it; empty leaves it out.
    """
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    found = {spelling: url for name in names for spelling in (name, name.lower())}
    found |= {"NO_PROXY": "", "no_proxy": "", "NODE_USE_ENV_PROXY": "1"}
    if node_preload:
        found["NODE_OPTIONS"] = f'--require="{node_preload}"'
    return found
