"""What stands where Docker should be, and does not answer as an engine does."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from perstack.testing.model_server import ModelServer, Turn
from perstack.testing.project import Project
from perstack_containers.http import ANSWER_BYTES

FIT = {"ServerVersion": "20.10.24", "SecurityOptions": ["name=seccomp"], "CgroupVersion": "2", "Architecture": "x86_64"}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
Answer = Callable[[socketserver.StreamRequestHandler], object]


@contextmanager
def engine(folder: Path, rest: Answer, *, fit: int = 1000) -> Iterator[str]:
    """The address of something that tells of itself as Docker does, `fit` times, and answers all else as `rest`."""
    told: list[bytes] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                line = self.rfile.readline()
                while self.rfile.readline().strip():
                    pass
                if b" /info" in line and len(told) < fit:
                    told.append(line)
                    self.wfile.write(said(FIT))
                else:
                    rest(self)

    path = str(folder / "engine.sock")
    with socketserver.ThreadingUnixStreamServer(path, Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"unix://{path}"
        server.shutdown()


def said(value: object) -> bytes:
    body = json.dumps(value).encode()
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


def without_end(handler: socketserver.StreamRequestHandler) -> None:
    handler.wfile.write(HEAD + b"\r\n")
    for _ in range(ANSWER_BYTES // 2**20 + 2):
        handler.wfile.write(b" " * 2**20)


ANSWERS: dict[str, Answer] = {
    "hangs up": lambda _: None,
    "no HTTP": lambda handler: handler.wfile.write(b"\x00\xff\r\n\r\n"),
    "no JSON": lambda handler: handler.wfile.write(HEAD + b"Content-Length: 6\r\n\r\n<html>"),
    "nothing": lambda handler: handler.wfile.write(said({})),
    "without end": without_end,
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_AH3_what_does_not_answer_as_an_engine_is_refused_in_words_and_never_a_weaker_run(tmp_path, answer) -> None:
    project = Project(tmp_path, '[experts.box]\ninstruction = "Try."\n')
    for fit in (0, 1000):
        with engine(tmp_path, ANSWERS[answer], fit=fit) as address, ModelServer([Turn(text="not reached")]) as server:
            env = {"DOCKER_HOST": address}
            refused = project.perstack("run", "box", "go", "--runtime", "docker", server=server, env=env)
            checked = project.perstack("doctor", "docker", env=env)
            assert server.requests == []
        (tmp_path / "engine.sock").unlink()
        assert refused.exit_code == checked.exit_code == 2
        assert "internal error" not in refused.stderr
        assert "itself failed" not in checked.stdout
        assert "Docker" in refused.stderr
        assert "fix: " in checked.stdout


def test_AH3_an_engine_that_ends_after_it_was_asked_ends_the_run_in_words(tmp_path) -> None:
    project = Project(tmp_path, '[experts.box]\ninstruction = "Try."\n')
    with engine(tmp_path, ANSWERS["hangs up"], fit=1) as address, ModelServer([Turn(text="not reached")]) as server:
        env = {"DOCKER_HOST": address}
        ended = project.perstack("run", "box", "go", "--runtime", "docker", server=server, env=env)
        assert server.requests == []
    assert ended.exit_code == 2
    assert "Docker could not run skill '@perstack/base'" in ended.stderr
    assert "perstack doctor" in ended.stderr


def test_AH2_cleaning_up_says_which_engine_could_not_be_asked(tmp_path) -> None:
    project = Project(tmp_path, '[experts.box]\ninstruction = "Try."\n')
    with engine(tmp_path, ANSWERS["hangs up"]) as address:
        for words in (("gc", "--runtime", "docker"), ("image", "list", "--runtime", "docker")):
            failed = project.perstack(*words, env={"DOCKER_HOST": address})
            assert failed.exit_code == 2, failed.stderr
            assert "Docker " in failed.stderr
            assert "internal error" not in failed.stderr
    (tmp_path / "engine.sock").unlink()
    listed: Answer = lambda handler: handler.wfile.write(said([]))  # noqa: E731
    with engine(tmp_path, listed) as address:
        cleaned = project.perstack("gc", "--runtime", "docker", env={"DOCKER_HOST": address})
        assert cleaned.exit_code == 0, "the control"
