"""What the resolver in the sandbox says is untrusted: it is answered about packages alone, and it ends in time."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import anyio
import pytest
from perstack.errors import SkillError
from perstack.locking import resolving
from perstack.locking.fetching import Answer
from perstack.locking.filling import compiled_into
from perstack.locking.npm import NpmRegistry
from perstack.locking.pypi import PythonIndex
from perstack.locking.registries import Registries, Registry
from perstack.locking.resolving import NOT_HERE, NpmAnswers, PythonAnswers, consult


class Resolver:
    """A process that says these lines, and keeps what it is told."""

    def __init__(self, *said: object) -> None:
        self._said = [one if isinstance(one, bytes) else json.dumps(one).encode() + b"\n" for one in said]
        self.told: list[dict] = []

    async def send(self, data: bytes) -> None:
        self.told.append(json.loads(data))

    async def receive(self, max_bytes: int = 65536) -> bytes:
        return self._said.pop(0) if self._said else b""

    async def receive_stderr(self, max_bytes: int = 65536) -> bytes:
        return b""


async def nothing(_path: str) -> Answer:
    return NOT_HERE


class Fetched:
    """Keeps the addresses that were asked for, and answers each with `body`."""

    def __init__(self, body: bytes = b"{}", kind: str = "application/json") -> None:
        self.urls: list[str] = []
        self._answer = Answer(status=200, type=kind, body=body)

    async def get(self, url: str, **_: object) -> Answer:
        self.urls.append(url)
        return self._answer


async def test_what_it_finds_is_returned() -> None:
    process = Resolver({"done": {"lock": 1}})
    assert await consult(process, {"do": "npm"}, answer=nothing) == {"lock": 1}
    assert process.told == [{"do": "npm"}]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ([{"failed": "no such package\x1b[2J"}], "no such package"),
        ([], "without a word"),
        ([b"not json\n"], "never says"),
        ([b"[1]\n"], "never says"),
        ([b'{"a":' * 100_000 + b"\n"], "never says"),
        ([{"get": number, "path": "/x"} for number in range(20)], "more than 10 times"),
        ([b"x" * 100, b"x" * 100], "said too much"),
    ],
)
async def test_a_resolver_that_fails_or_misbehaves_is_an_error_in_safe_words(said, why, monkeypatch) -> None:
    monkeypatch.setattr(resolving, "REQUESTS", 10)
    monkeypatch.setattr(resolving, "LINE_BYTES", 150)
    with pytest.raises(SkillError, match=why) as error:
        await consult(Resolver(*said), {}, answer=nothing)
    assert "\x1b" not in str(error.value)


async def test_a_registry_that_cannot_be_asked_ends_it_at_once_and_is_the_reason() -> None:
    async def fails(_path: str) -> Answer:
        raise SkillError("h.example could not be asked")

    class Waiting(Resolver):
        async def receive(self, max_bytes: int = 65536) -> bytes:
            if not self._said:
                await anyio.sleep_forever()
            return await super().receive(max_bytes)

    with anyio.fail_after(10), pytest.raises(SkillError, match=r"h\.example could not be asked"):
        await consult(Waiting({"get": 1, "path": "/npm/a"}), {}, answer=fails)


@pytest.mark.parametrize(
    "path",
    [
        "/npm/../../secret",
        "/npm/..%2f..%2fsecret",
        "/npm/a/b/c",
        "/npm/%2e%2e",
        "/npm/",
        "/other/a",
        "/npm/a%0d%0aX: 1",
        "/npm/-/npm/v1/security/advisories/bulk",
        "/npm/a@b.example/",
    ],
)
async def test_AN3_npm_can_ask_for_the_metadata_of_a_package_and_for_nothing_else(path) -> None:
    fetched = Fetched()
    known = Registries(ecosystem="npm", known=(Registry(url="https://h.example/npm/"),))
    answers = NpmAnswers(NpmRegistry(known, fetched))
    assert await answers(path) == NOT_HERE
    assert fetched.urls == []
    assert (await answers("/npm/@a%2fb")).status == 200, "the control"
    assert fetched.urls == ["https://h.example/npm/@a%2Fb"]


@pytest.mark.parametrize(
    "path",
    [
        "/pypi/../secret/",
        "/pypi/a%2f..%2fb/",
        "/file/a/other.whl",
        "/file/a/%2e%2e/x",
        "/other/a/",
        "/pypi/a b/",
        "/pypi/",
    ],
)
async def test_AN3_uv_can_ask_for_the_files_of_a_package_and_for_nothing_else(path) -> None:
    page = b'<a href="https://files.example/a-1-py3-none-any.whl#sha256=00">a</a><a href="a-1.tar.gz">b</a>'
    fetched = Fetched(page, "text/html")
    known = Registries(ecosystem="pypi", known=(Registry(url="https://h.example/simple/"),))
    answers = PythonAnswers(PythonIndex(known, fetched), fetched.get)
    assert await answers(path) == NOT_HERE
    assert set(fetched.urls) <= {"https://h.example/simple/a/"}
    listed = json.loads((await answers("/pypi/a/")).body)
    assert [file["filename"] for file in listed["files"]] == ["a-1-py3-none-any.whl"], "the control; no sdists"
    await answers("/file/a/a-1-py3-none-any.whl.metadata")
    assert fetched.urls[-1] == "https://files.example/a-1-py3-none-any.whl.metadata"


def test_compiled_files_are_kept_beside_their_sources_and_nowhere_else(tmp_path: Path) -> None:
    root = tmp_path / "site"
    (root / "p").mkdir(parents=True)
    for path in (root / "p/m.py", root / "p/data.txt", tmp_path / "outside.py"):
        path.write_text("")
    keep = compiled_into(root)
    body = base64.b64encode(b"compiled").decode()
    for path, tag in (
        ("../outside.py", "cpython-311"),
        ("/etc/passwd", "cpython-311"),
        ("p/data.txt", "cpython-311"),
        ("p/missing.py", "cpython-311"),
        ("p/m.py", "../../x"),
        ("p/m.py", "cpython-311.pyc/../x"),
        (7, "cpython-311"),
        ("p/m\0.py", "cpython-311"),
    ):
        keep({"compiled": path, "tag": tag, "body": body})
    keep({"compiled": "p/m.py", "tag": "cpython-311", "body": "a"})
    assert list(tmp_path.rglob("*.pyc")) == []
    keep({"compiled": "p/m.py", "tag": "cpython-311", "body": body})
    assert (root / "p/__pycache__/m.cpython-311.pyc").read_bytes() == b"compiled", "the control"
