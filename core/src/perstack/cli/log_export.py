"""``perstack log --export``: a job, or one of its runs, as one document on standard output."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from perstack.journal.export import examine, json_lines
from perstack.journal.files import FileStore
from perstack.journal.query import entries
from perstack.terminal.log_markdown import markdown
from perstack.terminal.output import Output, ascii_json

if TYPE_CHECKING:
    from perstack.protocols import JournalStore


def export(store: JournalStore, job_id: str, args: argparse.Namespace) -> None:
    """Write the document; of a journal that was changed nothing is written.

    Raises:
        JournalCorrupt: The chain does not hold.
        UsageError: The job has no such run.
    """
    found = examine(entries(store.read(job_id)), job_id=job_id, run=args.run)
    found.job.settled(active=isinstance(store, FileStore) and store.is_active(job_id))
    if args.export == "json":
        for line in json_lines(found, entries(store.read(job_id))):
            sys.stdout.write("\n".join(map(ascii_json, line.split(b"\n"))))
        sys.stdout.flush()
        return
    output = Output(sys.stdout, os.environ)
    for part in markdown(found, entries(store.read(job_id))):
        output.write(part)
