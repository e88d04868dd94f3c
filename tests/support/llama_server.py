"""llama.cpp's own HTTP server as a process: prints its address and serves until its input ends.

python llama_server.py WEIGHTS TEMPLATE
"""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.chat_template = Path(sys.argv[2]).read_text(encoding="utf-8")
    params.use_jinja = True
    params.n_ctx = 4096
    params.n_parallel = 1
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.sampling.temp = 0
    params.port = 0
    params.verbosity = -1
    server = xllamacpp.Server(params)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
