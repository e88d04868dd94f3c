"""The page on events says what the events are."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import msgspec
from perstack import events
from repository import ROOT

PAGE = (ROOT / "docs" / "reference" / "events.md").read_text(encoding="utf-8")


def test_W_63_the_page_on_events_is_what_their_source_says() -> None:
    script = [sys.executable, str(ROOT / "scripts" / "event-docs"), "--check"]
    checked = subprocess.run(script, capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0, checked.stderr


def test_W_63_every_event_stands_there_with_its_fields_and_whether_it_is_kept() -> None:
    sections = dict(part.split("\n", 1) for part in PAGE.split("\n### ")[1:])
    kinds = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, events.Event)]
    tagged = {kind.__struct_config__.tag: kind for kind in kinds}
    journaled = {kind.__struct_config__.tag for kind in get_args(events.JournalEvent)}
    common = {"id", "timestamp", "jobId", "runId", "expertKey", "stepNumber"}
    for tag in journaled | {"streamRunResult", "resolveToolResults"}:
        for field in msgspec.structs.fields(tagged[tag]):
            assert field.encode_name in common or f"| `{field.encode_name}" in sections[tag], (tag, field)
        assert ("not journaled" in sections[tag]) is (tag not in journaled)
