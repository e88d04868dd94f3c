"""Search by content and by name: as ripgrep does it, bounded, and without leaving the workspace."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import time

import pytest

RG = shutil.which("rg")
needs_rg = pytest.mark.skipif(RG is None, reason="needs ripgrep to compare with")


@pytest.fixture
def tree(workspace):
    """A project with ignored, hidden, binary and odd files."""
    files = {
        "a.py": "import os\n\ndef foo(x):\n    return x  # Foo\n",
        "src/b.py": "def bar():\r\n    return foo(1)\r\n",
        "src/deep/c.txt": "ünï foo\nFOO foo foo\nlast foo",
        "src/deep/.hidden": "foo",
        ".config/x": "foo",
        "build/out.txt": "foo",
        "notes.log": "foo",
        "keep.log": "foo",
        "binary": "foo\0foo",
        "empty": "",
        "sub/vendor/v.py": "foo",
        "sub/only.tmp": "foo",
        "x/y/z.md": "foo.bar\nfooXbar\n",
    }
    for path, text in files.items():
        (workspace / path).parent.mkdir(parents=True, exist_ok=True)
        (workspace / path).write_bytes(text.encode())
    (workspace / ".gitignore").write_text("# comment\n*.log\n!keep.log\nbuild/\n/sub/vendor\n")
    (workspace / "sub/.gitignore").write_text("*.tmp\n")
    return workspace


def lines(result):
    return [(file["path"], match["line"], match["text"]) for file in result["files"] for match in file["matches"]]


def of_ripgrep(workspace, *options):
    command = [
        RG,
        "--json",
        "--no-config",
        "--no-require-git",
        "--no-ignore-global",
        "--no-ignore-parent",
        "--sort=path",
    ]
    done = subprocess.run([*command, *options, "."], cwd=workspace, capture_output=True, check=False, timeout=60)
    found = []
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message["type"] == "match":
            data = message["data"]
            text = data["lines"].get("text", "").rstrip("\n").removesuffix("\r")
            found.append((data["path"]["text"].removeprefix("./"), data["line_number"], text))
    return found


@needs_rg
@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ({"pattern": "foo"}, ["foo"]),
        ({"pattern": "foo", "ignoreCase": True}, ["-i", "foo"]),
        ({"pattern": "foo.bar", "literal": True}, ["-F", "foo.bar"]),
        ({"pattern": r"^\s*return\b"}, [r"^\s*return\b"]),
        ({"pattern": r"foo$"}, ["foo$"]),
        ({"pattern": r"f(o+)\W"}, [r"f(o+)\W"]),
        ({"pattern": r"foo\s*$"}, [r"foo\s*$"]),
        ({"pattern": r"x\s+return"}, [r"x\s+return"]),
        ({"pattern": "foo", "hidden": True}, ["--hidden", "--glob=!.git", "foo"]),
        ({"pattern": "foo", "noIgnore": True}, ["--no-ignore", "foo"]),
        ({"pattern": "foo", "glob": ["*.py", "*.md"]}, ["-g*.py", "-g*.md", "foo"]),
        ({"pattern": "foo", "glob": ["*.{py,md}", "!src/**"]}, ["-g*.{py,md}", "-g!src/**", "foo"]),
        ({"pattern": "ü"}, ["ü"]),
    ],
    ids=str,
)
def test_the_same_lines_are_found_as_by_ripgrep(server, tree, arguments, options):
    expected = of_ripgrep(tree, *options)
    found = lines(server.ok("searchFiles", **arguments))
    assert sorted(found) == sorted(expected)
    assert bool(expected) == (arguments["pattern"] != r"x\s+return")  # which would match across lines


@needs_rg
def test_random_trees_with_random_ignore_files_are_searched_as_by_ripgrep(server, workspace):
    """Fixed seed; the patterns are those that people write."""
    rng = random.Random(20_261_122)
    names = ["a", "b", "lib", "src", "x.py", "y.js", "tmp", "out.log", "Ä.txt", "a b"]
    rules = [
        "*.py",
        "!x.py",
        "lib/",
        "/src",
        "a/**/b",
        "**/tmp",
        "src/*.js",
        "[ab]",
        "?.js",
        "out*",
        "\\!x",
        "a b",
        "tmp/**",
    ]
    for number in range(12):
        root = workspace / f"case{number}"
        for _ in range(25):
            folder = root.joinpath(*(rng.choice(names[:5]) + "d" * rng.randrange(2) for _ in range(rng.randrange(4))))
            try:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / rng.choice(names)).write_text("needle\n")
                if rng.random() < 0.3:
                    (folder / ".gitignore").write_text("\n".join(rng.sample(rules, 3)))
            except OSError:
                continue  # a file stands where a folder was wanted
        found = lines(server.ok("searchFiles", pattern="needle", path=root.name))
        expected = of_ripgrep(root, "needle")
        assert sorted(found) == sorted((f"{root.name}/{path}", line, text) for path, line, text in expected), number


def test_context_paths_and_kinds_of_answers(server, tree):
    (file,) = server.ok("searchFiles", pattern="return x", context=1)["files"]
    assert file["matches"] == [{"line": 4, "text": "    return x  # Foo", "before": ["def foo(x):"], "after": [""]}]
    assert server.ok("searchFiles", pattern="foo", path="src", filesOnly=True)["files"] == [
        "src/b.py",
        "src/deep/c.txt",
    ]
    assert lines(server.ok("searchFiles", pattern="foo", path="notes.log")) == [("notes.log", 1, "foo")]
    assert server.ok("findFiles", pattern="*.py")["files"] == ["a.py", "src/b.py"]
    assert server.ok("findFiles", pattern="src/**/*.{txt,md}")["files"] == ["src/deep/c.txt"]
    assert server.ok("findFiles", pattern="**/c.txt", path="src")["files"] == ["src/deep/c.txt"]


def test_the_ignore_files_above_the_searched_directory_hold_too(server, tree):
    (tree / "src/deep/more.log").write_text("foo")
    assert [line[0] for line in lines(server.ok("searchFiles", pattern="foo", path="src/deep"))] == [
        "src/deep/c.txt"
    ] * 3
    assert server.ok("findFiles", pattern="*", path="sub")["files"] == []


@pytest.mark.parametrize("pattern", ["(", "[z-a]", "a{2,1}", "(?P<n>a)(?P<n>b)", "", "a\nb", "x" * 1_001])
def test_a_pattern_that_is_none_is_an_error_that_says_why(server, pattern):
    assert server.refused("searchFiles", pattern=pattern)[0] == "InvalidArguments"
    server.ok("searchFiles", pattern="(a)")


def test_a_class_that_ripgrep_knows_and_python_does_not_is_no_silent_miss(server, tree):
    kind, message = server.refused("searchFiles", pattern="foo[[:space:]]+")
    assert (kind, "[:alpha:]" in message) == ("InvalidArguments", True)
    assert lines(server.ok("searchFiles", pattern="[[]:alpha:|os$")) == [("a.py", 1, "import os")]
    assert lines(server.ok("searchFiles", pattern="[[:alpha:]]", literal=True)) == []


def test_an_expression_that_runs_for_ever_is_ended_and_the_server_goes_on(launch, workspace):
    (workspace / "a").write_text("a" * 60 + "!\n")
    policy = json.dumps({"bounds": {"searchMs": 700}})
    server = launch(workspace, command=[*launch.command, "--policy", policy])
    started = time.monotonic()
    kind, message = server.refused("searchFiles", pattern=r"^(a+)+$")
    assert kind == "TimedOut"
    assert "700 ms" in message
    assert time.monotonic() - started < 5
    assert lines(server.ok("searchFiles", pattern="a!"))[0][:2] == ("a", 1)


def test_results_are_bounded_in_number_in_bytes_and_in_length(server, workspace):
    (workspace / "many").write_text("hit\n" * 5_000)
    (workspace / "wide").write_text("wide " + "x" * 100_000 + "\n")
    result = server.ok("searchFiles", pattern="hit")
    assert len(lines(result)) == 500
    assert result["truncated"]
    assert "more matches" in result["hint"]
    assert len(lines(server.ok("searchFiles", pattern="hit", maxResults=3))) == 3
    assert len(lines(server.ok("searchFiles", pattern="wide"))[0][2]) < 600
    (workspace / "broad").write_text(f"hit {'y' * 490}\n" * 500)
    assert len(json.dumps(server.ok("searchFiles", pattern="hit y").data)) < 100_000


def test_a_tree_with_too_many_entries_or_levels_is_searched_in_part_and_says_so(launch, workspace):
    policy = json.dumps({"bounds": {"treeEntries": 50, "treeDepth": 3}})
    server = launch(workspace, command=[*launch.command, "--policy", policy])
    (workspace / "a/b/c/d").mkdir(parents=True)
    (workspace / "top").write_text("hit")
    (workspace / "a/b/c/d/e").write_text("hit")
    assert "3 levels" in server.ok("searchFiles", pattern="hit")["hint"]
    shutil.rmtree(workspace / "a")
    for number in range(60):
        (workspace / f"f{number}").write_text("hit")
    assert "50 entries" in server.ok("searchFiles", pattern="hit")["hint"]


def test_a_search_beside_a_command_is_not_taken_for_one_of_its_leftovers(server, workspace):
    for number in range(300):
        (workspace / f"f{number}").write_text("needle\n" * 100)
    for _ in range(5):
        results = server.together(*[("exec", {"command": "true"})] * 3, *[("searchFiles", {"pattern": "needle$"})] * 3)
        assert not any(result.is_error for result in results)
