"""Commands in hints mean the same project and the same jobs as the command that gave them."""

from __future__ import annotations

from argparse import Namespace

import pytest
from perstack.cli.hints import with_given

GIVEN = Namespace(config="my project/p.toml", runtime="local", state_dir="/s", workspace="w")


@pytest.mark.parametrize(
    ("hint", "shown"),
    [
        (
            "See: perstack run a Q",
            "See: perstack run --config 'my project/p.toml' --runtime local --state-dir /s a Q",
        ),
        ("perstack install a", "perstack install --config 'my project/p.toml' --runtime local a"),
        ("See: perstack log --jobs", "See: perstack log --state-dir /s --jobs"),
        ("perstack check --config FILE --review", "perstack check --runtime local --config FILE --review"),
        ("See: perstack run --help", "See: perstack run --help"),
        ("See: perstack doctor", "See: perstack doctor"),
        ("Give it as the query, and add -i.", "Give it as the query, and add -i."),
    ],
)
def test_a_command_in_a_hint_carries_the_options_that_it_takes_and_does_not_have(hint: str, shown: str) -> None:
    assert with_given(hint, GIVEN) == shown


def test_what_was_not_given_is_in_no_hint() -> None:
    assert with_given("perstack run a Q", Namespace(config=None, runtime=["a", "b"])) == "perstack run a Q"
