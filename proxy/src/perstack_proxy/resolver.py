"""Finds out, inside a sandbox, which packages a skill needs. Its registry is whoever answers on its standard streams.

Run as ``python3 -I -c SOURCE``, so that it needs no place in an image. npm and uv talk to an HTTP server on the
sandbox's own loopback; each of their requests becomes a line of JSON, and each answer comes back as one:

    → {"do": "npm" or "pypi", "specs": […]}             which packages do these need?
    → {"do": "registry", "of": "npm" or "pypi"}         which registry does the tool use when nobody configures one?
    → {"do": "compile", "root": DIRECTORY}              compile every Python file below it
    ← {"get": N, "path": PATH, "accept": TYPES}
    → {"got": N, "status": STATUS, "type": TYPE, "body": BASE64}
    ← {"compiled": PATH, "tag": PYTHON, "body": BASE64}
    ← {"done": {…}} or {"failed": WORDS}                the last line

Nothing is installed and nothing of a package is run: npm and uv read metadata alone.
"""

from __future__ import annotations

import base64
import json
import os
import platform
import py_compile
import re
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue

SECONDS = 300
LAST_CHARACTERS = 2000
UNCHECKED = py_compile.PycInvalidationMode.UNCHECKED_HASH

Json = dict[str, object]


class Wire:
    """Standard input and output, shared by every thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[int, Queue[Json]] = {}
        self._count = 0

    def tell(self, message: Json) -> None:
        """Write one line."""
        data = json.dumps(message).encode() + b"\n"
        with self._lock:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    def get(self, path: str, accept: str) -> Json:
        """The answer to one request."""
        answer: Queue[Json] = Queue()
        with self._lock:
            self._count += 1
            number = self._count
            self._waiting[number] = answer
        self.tell({"get": number, "path": path, "accept": accept})
        return answer.get()

    def listen(self) -> None:
        """Hand out answers until there are no more; then nobody is there to work for."""
        for line in sys.stdin.buffer:
            message = json.loads(line)
            waiting = self._waiting.pop(message.get("got"), None)
            if waiting is not None:
                waiting.put(message)
        os._exit(1)


def serve(wire: Wire) -> str:
    """The address of a registry that asks over the wire."""

    class Handler(BaseHTTPRequestHandler):
        """Answers what is asked over the wire."""

        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Pass the request on."""
            answer = wire.get(self.path, self.headers.get("Accept", ""))
            body = base64.b64decode(str(answer.get("body", "")))
            status = answer.get("status")
            self.send_response(status if isinstance(status, int) else 502)
            self.send_header("Content-Type", str(answer.get("type", "")))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Standard error is for what went wrong."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"


def run(command: list[str], folder: str, **env: str) -> str:
    """What the command printed.

    Raises:
        RuntimeError: It failed; carries its last words.
    """
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**kept, "TMPDIR": folder, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise RuntimeError(f"there is no {command[0]} here") from None
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{command[0]} took longer than {SECONDS} s") from None
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or done.stdout.strip())[-LAST_CHARACTERS:])
    return done.stdout


def npm_quiet(folder: str) -> dict[str, str]:
    """Variables under which npm reads nobody's settings."""
    nobody = {f"NPM_CONFIG_{name}CONFIG": f"{folder}/no-{name}" for name in ("USER", "GLOBAL")}
    return {**nobody, "NPM_CONFIG_CACHE": f"{folder}/cache"}


def uv_quiet(folder: str) -> dict[str, str]:
    """Variables under which uv reads nobody's settings."""
    return {"UV_NO_CONFIG": "1", "UV_CACHE_DIR": f"{folder}/cache", "UV_PYTHON_DOWNLOADS": "never"}


def registry(of: str, folder: str) -> Json:
    """The registry that npm or uv uses by itself, in its own words."""
    if of == "npm":
        return {"url": run(["npm", "config", "get", "registry"], folder, **npm_quiet(folder)).strip()}
    said = run(["uv", "pip", "compile", "--help"], folder, **uv_quiet(folder))
    found = re.search(r"default package index \(by\s+default:\s+<([^>\s]+)>\)", said)
    return {"url": found[1] if found else ""}


def npm(wire: Wire, specs: list[str], folder: str) -> Json:
    """The lock file that npm writes for these packages."""
    Path(folder, "package.json").write_text('{"private": true}\n', encoding="ascii")
    options = ["--package-lock-only", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    ours = f"--registry={serve(wire)}/npm/"
    run(["npm", "install", *options, ours, "--", *specs], folder, **npm_quiet(folder))
    return {"lock": json.loads(Path(folder, "package-lock.json").read_text(encoding="utf-8"))}


def pypi(wire: Wire, specs: list[str], folder: str) -> Json:
    """The requirements that uv finds for these packages: a version of each."""
    wanted = Path(folder, "wanted.in")
    wanted.write_text("".join(f"{spec}\n" for spec in specs), encoding="utf-8")
    options = ["--only-binary=:all:", "--no-header", "--no-annotate", "--no-progress", f"--python={sys.executable}"]
    index = f"--default-index={serve(wire)}/pypi/"
    text = run(["uv", "pip", "compile", *options, index, str(wanted)], folder, **uv_quiet(folder))
    return {"requirements": text.splitlines()}


def compile_below(wire: Wire, root: str, folder: str) -> Json:
    """Every Python file below `root` was compiled and told; one that does not compile is left as it is."""
    count = 0
    for path in sorted(Path(root).rglob("*.py")):
        made = os.path.join(folder, "made.pyc")
        with suppress(py_compile.PyCompileError, OSError, ValueError, RecursionError):
            # Neither a time nor the source is looked at later, so the same source makes the same bytes.
            py_compile.compile(str(path), made, doraise=True, invalidation_mode=UNCHECKED, quiet=1)
            data = Path(made).read_bytes()
            body = base64.b64encode(data).decode()
            wire.tell({"compiled": str(path.relative_to(root)), "tag": sys.implementation.cache_tag, "body": body})
            count += 1
    return {"count": count}


def facts() -> Json:
    """What decides which files of a package fit here."""
    return {
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "system": platform.system(),
        "machine": platform.machine(),
        "libc": list(platform.libc_ver()),
    }


def main() -> None:
    """One order was carried out, or its failure told."""
    wire = Wire()
    order = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=wire.listen, daemon=True).start()
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            if order["do"] == "compile":
                found = compile_below(wire, order["root"], folder)
            elif order["do"] == "registry":
                found = registry(order["of"], folder)
            else:
                found = (npm if order["do"] == "npm" else pypi)(wire, order["specs"], folder)
        wire.tell({"done": {**found, "facts": facts()}})
    except (RuntimeError, OSError, ValueError) as error:
        wire.tell({"failed": str(error)})
    os._exit(0)


if __name__ == "__main__":
    main()
