"""A journal after its writer was killed at any moment."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from perstack.journal.files import FileStore

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")

WRITE = """
import sys
from pathlib import Path
from perstack.journal.files import FileStore
journal = FileStore(Path(sys.argv[1])).create("job")
number = 0
while True:
    number += 1
    journal.append(b'{"type":"retry","number":%d,"text":"%s"}' % (number, b"z" * (20_000 + number % 3 * number)))
    journal.sync()
    print(number, flush=True)
"""


@pytest.mark.parametrize("confirmed", [1, 2, 7, 30])
def test_W_40_AO5_what_was_synced_survives_a_kill_and_the_job_goes_on(tmp_path: Path, confirmed: int):
    process = subprocess.Popen([sys.executable, "-c", WRITE, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    for number in range(1, confirmed + 1):
        assert int(process.stdout.readline()) == number
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL

    store = FileStore(tmp_path)
    assert not store.is_active("job")
    journal = store.reopen("job")
    journal.append(b'{"type":"retry","number":0}')
    journal.close()
    numbers = [json.loads(record.event)["number"] for record in store.read("job")]
    assert numbers == [*range(1, len(numbers)), 0]
    assert len(numbers) > confirmed
    assert store.verify("job", journal.head).records == len(numbers)
    assert list(tmp_path.rglob("*.tmp")) == []
